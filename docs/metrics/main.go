// Command metrics writes the table of all metrics, from the registries that the programs themselves serve.
package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	apiserver "github.com/kedahttp/kedahttp/apiserver/server"
	interceptor "github.com/kedahttp/kedahttp/interceptor/command"
	scaler "github.com/kedahttp/kedahttp/scaler/command"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: metrics FILE")
		os.Exit(2)
	}
	var page bytes.Buffer
	err := write(&page)
	if err == nil {
		err = os.WriteFile(os.Args[1], page.Bytes(), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const prefix = "kedahttp_"

// part is a program.
type part struct {
	name, where string
	registry    *prometheus.Registry
}

func parts() []part {
	return []part{
		{"interceptor", "port 9901", interceptor.Metrics()},
		{"scaler", "port 9901", scaler.Metrics()},
		{"apiserver", "port 8443 with TLS, for whoever may get the path /metrics", apiserver.Metrics()},
	}
}

// families are a part's own metrics, by name, each with a sample.
func (p part) families() ([]*dto.MetricFamily, error) {
	gathered, err := p.registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("the %s: %w", p.name, err)
	}
	gathered = slices.DeleteFunc(gathered, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), prefix) })
	// What is registered and has no sample would be missing without a word.
	described := make(chan *prometheus.Desc)
	go func() {
		defer close(described)
		p.registry.Describe(described)
	}()
	var missing []string
	for d := range described {
		_, name, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ = strings.Cut(name, `"`)
		if strings.HasPrefix(name, prefix) && !slices.ContainsFunc(gathered, func(f *dto.MetricFamily) bool { return f.GetName() == name }) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the %s registers %s, and its Metrics have no sample", p.name, strings.Join(missing, ", "))
	}
	return gathered, nil
}

const introduction = `# Metrics

What each part serves at ` + "`/metrics`" + ` for Prometheus, made by ` + "`make generate`" + ` from what the programs register.

A name is ` + "`kedahttp_PART_WHAT`" + ` with a unit of Prometheus' (` + "`seconds`, `timestamp_seconds`" + `) if it is not a number of things, and
` + "`_total`" + ` if it only grows. An app is always in the labels ` + "`namespace` and `app`" + `: whoever scrapes them has to leave labels as they
are (` + "`honor_labels`" + `; the chart's monitors do). No label has a value that clients choose.

The names of external metrics, which HPAs use, are others: ` + "`http_pending`, `http_in_flight`, `http_concurrency`, `http_request_rate`" + `.
`

const libraries = `
Beside these there are those of libraries: Go's (` + "`go_*`, `process_*`" + `) in all parts, and in the API server Kubernetes' own, as every API
server has them (` + "`apiserver_*`, `authentication_*`, `rest_client_*`, `workqueue_*`" + ` and others).
`

func write(out io.Writer) error {
	fmt.Fprint(out, introduction)
	for _, p := range parts() {
		families, err := p.families()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\n## %s\n\nAt %s.\n\n| metric | type | unit | labels | |\n| --- | --- | --- | --- | --- |\n", p.name, p.where)
		for _, f := range families {
			fmt.Fprintf(out, "| `%s` | %s | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), unit(f.GetName()), strings.Join(labels(f), ", "),
				strings.ReplaceAll(f.GetHelp(), "|", `\|`))
		}
	}
	_, err := fmt.Fprint(out, libraries)
	return err
}

func unit(name string) string {
	name = strings.TrimSuffix(name, "_total")
	switch {
	case strings.HasSuffix(name, "_timestamp_seconds"):
		return "seconds since 1970"
	case strings.HasSuffix(name, "_seconds"):
		return "seconds"
	}
	return ""
}

// labels are a family's, the namespace before the app.
func labels(f *dto.MetricFamily) []string {
	var names []string
	for _, l := range f.GetMetric()[0].GetLabel() {
		names = append(names, "`"+l.GetName()+"`")
	}
	first := []string{"`namespace`", "`app`"}
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(uint(slices.Index(first, a)), uint(slices.Index(first, b)))
	})
	return names
}
