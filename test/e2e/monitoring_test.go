//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

const monitoring = "../../artifacts/components/monitoring"

// prometheus is one that scrapes the cluster's parts, from inside of its network, as the monitors for the Prometheus operator say.
type prometheus struct {
	user
	client  *http.Client
	address string
}

// monitor is a PodMonitor or a ServiceMonitor.
type monitor struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Selector                       struct{ MatchLabels map[string]string }
		PodMetricsEndpoints, Endpoints []struct {
			Port, Path, Scheme string
			HonorLabels        bool
			TLSConfig          struct {
				CA         struct{ Secret struct{ Name, Key string } }
				ServerName string
			}
			BearerTokenFile string
		}
	}
}

func (u user) monitors() (all []monitor) {
	u.Helper()
	file, err := os.Open(filepath.Join(monitoring, "monitors.yaml"))
	if err != nil {
		u.Fatal(err)
	}
	defer file.Close()
	for decoder := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		var m monitor
		switch err := decoder.Decode(&m); err {
		case nil:
			all = append(all, m)
		case io.EOF:
			return all
		default:
			u.Fatal(err)
		}
	}
}

// jobs is what the operator would make of the monitors, with the kube-apiserver besides, which everybody's Prometheus scrapes.
func (u user) jobs(token string) []any {
	u.Helper()
	authorization := map[string]any{"credentials_file": token}
	insecure := map[string]any{"insecure_skip_verify": true}
	host := operator(u.T).kubectl("get", "endpointslices", "--namespace", "default", "kubernetes", "-o", "jsonpath={.endpoints[0].addresses[0]}:{.ports[0].port}")
	jobs := []any{map[string]any{
		"job_name": "apiserver", "scheme": "https", "scrape_interval": "10s", "scrape_timeout": "10s", "authorization": authorization, "tls_config": insecure,
		"static_configs": []any{map[string]any{"targets": []string{host}}},
	}}
	for _, m := range u.monitors() {
		var selector []string
		for key, value := range m.Spec.Selector.MatchLabels {
			selector = append(selector, key+"="+value)
		}
		for _, e := range append(m.Spec.PodMetricsEndpoints, m.Spec.Endpoints...) {
			var targets []any
			for _, pod := range u.running(strings.Join(selector, ",")) {
				container := pod.Spec.Containers[0]
				i := slices.IndexFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == e.Port })
				if i < 0 {
					u.Fatalf("%s has no port %s, which %s is to be scraped at", pod.Name, e.Port, m.Metadata.Name)
				}
				targets = append(targets, map[string]any{
					"targets": []string{net.JoinHostPort(pod.Status.PodIP, fmt.Sprint(container.Ports[i].ContainerPort))},
					"labels":  map[string]string{"namespace": pod.Namespace, "pod": pod.Name, "container": container.Name, "endpoint": e.Port},
				})
			}
			if len(targets) == 0 {
				u.Fatalf("%s selects nothing", m.Metadata.Name)
			}
			job := map[string]any{
				"job_name": m.Kind + "/" + m.Metadata.Name, "scheme": cmp.Or(e.Scheme, "http"), "metrics_path": e.Path, "honor_labels": e.HonorLabels, "static_configs": targets,
			}
			if e.BearerTokenFile != "" {
				job["authorization"] = authorization
			}
			if ca := e.TLSConfig.CA.Secret; ca.Name != "" {
				job["tls_config"] = map[string]any{"ca": string(u.secret(systemNamespace, ca.Name).Data[ca.Key]), "server_name": e.TLSConfig.ServerName}
			}
			jobs = append(jobs, job)
		}
	}
	return jobs
}

func (u user) prometheus() *prometheus {
	u.Helper()
	// Its data is on a disk of the host; what it needs to know is written beside it.
	dir := u.TempDir()
	write := func(name string, content any) string {
		text, err := sigsyaml.Marshal(content)
		if s, ok := content.(string); ok {
			text = []byte(s)
		}
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
		if err != nil {
			u.Fatal(err)
		}
		return path
	}
	var rule struct {
		Spec any `json:"spec"`
	}
	text, err := os.ReadFile(filepath.Join(monitoring, "alerts.yaml"))
	if err == nil {
		err = sigsyaml.Unmarshal(text, &rule)
	}
	if err != nil {
		u.Fatal(err)
	}
	o := operator(u.T)
	name := u.namespace // of what lets it read metrics
	u.Cleanup(func() {
		o.kubectl("delete", "clusterrole,clusterrolebinding,serviceaccount", name, "--ignore-not-found")
	})
	o.apply(fmt.Sprintf(`apiVersion: v1
kind: ServiceAccount
metadata: {name: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s}
rules: [{nonResourceURLs: [/metrics], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}
subjects: [{kind: ServiceAccount, name: %[1]s, namespace: %[2]s}]
`, name, systemNamespace))
	token := write("token", o.kubectl("create", "token", name))
	config := write("prometheus.yaml", map[string]any{
		"global":         map[string]any{"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
		"rule_files":     []string{write("alerts.yaml", rule.Spec)},
		"scrape_configs": u.jobs(token),
	})

	p := &prometheus{
		user: u, address: "127.0.0.1:9790",
		client: &http.Client{Transport: &http.Transport{DialContext: inside}, Timeout: soon},
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		u.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+os.Getenv("KEDAHTTP_NETNS"), "../../bin/tools/prometheus", "--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.address)
	cmd.Stdout, cmd.Stderr = log, log
	// Its data is removed after it.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = soon
	if err := cmd.Start(); err != nil {
		u.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	u.Cleanup(func() {
		cancel()
		<-ended
		if text, err := os.ReadFile(log.Name()); err == nil && u.Failed() {
			u.Logf("Prometheus' log:\n%s", text)
		}
	})
	u.eventually(soon, "Prometheus is ready", func() error {
		select {
		case err := <-ended:
			ended <- err
			u.Fatalf("Prometheus ended: %v", err)
		default:
		}
		return p.get("/-/ready", nil, nil)
	})
	return p
}

func (p *prometheus) get(path string, query url.Values, into any) error {
	resp, err := p.client.Get("http://" + p.address + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	if into == nil {
		return nil
	}
	var answer struct{ Data json.RawMessage }
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %w", body, err)
	}
	return json.Unmarshal(answer.Data, into)
}

// series is how many a query returns, of which the values are numbers.
func (p *prometheus) series(query string) (int, error) {
	var data struct {
		Result []struct{ Value [2]any }
	}
	if err := p.get("/api/v1/query", url.Values{"query": {query}}, &data); err != nil {
		return 0, fmt.Errorf("%s: %w", query, err)
	}
	n := 0
	for _, r := range data.Result {
		if r.Value[1] != "NaN" {
			n++
		}
	}
	return n, nil
}

// dashboardQueries are the queries of all panels and variables, for all apps.
func (u user) dashboardQueries() (queries []string) {
	u.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, "dashboard.json"))
	if err != nil {
		u.Fatal(err)
	}
	var dashboard struct {
		Templating struct{ List []struct{ Definition string } }
		Panels     []struct {
			ID      int
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		u.Fatal(err)
	}
	of := strings.NewReplacer("$namespace", ".*", "$app", ".*", "$__rate_interval", "1m")
	for _, v := range dashboard.Templating.List {
		if selector, is := strings.CutPrefix(v.Definition, "label_values("); is {
			queries = append(queries, of.Replace(selector[:strings.LastIndex(selector, ",")]))
		}
	}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Type != "row" && len(p.Targets) == 0 {
			u.Errorf("panel %d has no query, or there are two of it", p.ID)
		}
		ids[p.ID] = true
		for _, t := range p.Targets {
			queries = append(queries, of.Replace(t.Expr))
		}
	}
	return queries
}

// Whatever the dashboard and the alert rules ask for is what the parts tell, by the names that docs/metrics.md has.
func TestEveryQueryOfTheDashboardAndTheAlertsReturnsSomething(t *testing.T) {
	u := newUser(t)
	u.deploy("seen", "--scale", "0..1", "--idle", "1h")
	u.secure().secret("seen", u.host("seen"))
	u.kubectl("patch", "httpapp", "seen", "--type=merge", `--patch={"spec":{"tls":{"secretName":"seen"}}}`)
	p := u.prometheus()

	var targets struct {
		ActiveTargets []struct{ ScrapePool, ScrapeURL, Health, LastError string }
	}
	u.eventually(later, "every part has been scraped", func() error {
		if err := p.get("/api/v1/targets", nil, &targets); err != nil {
			return err
		}
		for _, at := range targets.ActiveTargets {
			if at.Health != "up" {
				return fmt.Errorf("%s at %s is %s: %s", at.ScrapePool, at.ScrapeURL, at.Health, at.LastError)
			}
		}
		return nil
	})

	ask := func(host string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
	// What must not occur, or does not in a test: there is nothing to be seen of it.
	absent := regexp.MustCompile(`kedahttp_interceptor_retries_total|code="5xx"`)
	missing := u.dashboardQueries()
	rounds := 0
	u.eventually(later, "an answer to each query of the dashboard", func() error {
		// Each time a cold start, so that what is counted goes on.
		if rounds%5 == 0 {
			u.plugin("sleep", "seen")
		}
		rounds++
		ask(u.host("seen"))
		ask("nobody." + u.namespace + ".localhost")
		left := missing[:0:0]
		for _, query := range missing {
			n, err := p.series(query)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 && !absent.MatchString(query) {
				left = append(left, query)
			}
		}
		if missing = left; len(missing) > 0 {
			return fmt.Errorf("nothing for %s", strings.Join(missing, "\n"))
		}
		return nil
	})

	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Query, Health, LastError string }
		}
	}
	u.eventually(soon, "every rule has been evaluated", func() error {
		if err := p.get("/api/v1/rules", nil, &rules); err != nil {
			return err
		}
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				if r.Health != "ok" {
					return fmt.Errorf("%s: %s %s", r.Name, r.Health, r.LastError)
				}
			}
		}
		return nil
	})
	// The alerts are silent; what they look at is there. Reasons of refusals are of things that do not happen here.
	selector := regexp.MustCompile(`[a-z_]+(_[a-z]+)+(\{[^}]*\})?`)
	of := regexp.MustCompile(`,?\s*reason=~?"[^"]*"`)
	seen := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			for _, s := range selector.FindAllString(r.Query, -1) {
				if !strings.HasPrefix(s, "kedahttp_") && !strings.HasPrefix(s, "aggregator_") {
					continue
				}
				seen++
				u.eventually(soon, fmt.Sprintf("anything of %s, which %s looks at", s, r.Name), func() error {
					n, err := p.series(of.ReplaceAllString(s, ""))
					if err == nil && n == 0 {
						err = errors.New("nothing")
					}
					return err
				})
			}
		}
	}
	if seen < 10 {
		t.Errorf("the rules look at %d series", seen)
	}

	// And one of them is not silent when it should not be.
	u.apply(manifest("broken", strings.Replace(container, "kedahttp/test-echo:dev", "kedahttp/there-is-none:dev", 1)))
	u.eventually(later, "an alert for the app that cannot start", func() error {
		ask(u.host("broken"))
		n, err := p.series(fmt.Sprintf(`ALERTS{alertname="KedaHTTPAppDoesNotWake", namespace=%q, app="broken"}`, u.namespace))
		if err == nil && n != 1 {
			err = fmt.Errorf("there are %d", n)
		}
		return err
	})

	// No other metrics than the documented ones, and of their types.
	documented, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var metadata map[string][]struct{ Type, Help string }
	if err := p.get("/api/v1/metadata", nil, &metadata); err != nil {
		t.Fatal(err)
	}
	ours := 0
	for name, m := range metadata {
		if !strings.HasPrefix(name, "kedahttp_") {
			continue
		}
		ours++
		row := fmt.Sprintf("| `%s` | %s |", name, m[0].Type)
		if len(m) != 1 || !strings.Contains(string(documented), row) || !strings.Contains(string(documented), "| "+m[0].Help+" |") {
			t.Errorf("%s is served as %v, which docs/metrics.md does not say", name, m)
		}
	}
	if ours < 15 {
		t.Errorf("%d metrics are ours", ours)
	}
}
