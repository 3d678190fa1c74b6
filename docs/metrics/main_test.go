package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
)

func TestNamesAreOfOneScheme(t *testing.T) {
	words := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for _, p := range parts() {
		families, err := p.families()
		require.NoError(t, err)
		require.NotEmpty(t, families, p.name)
		for _, f := range families {
			name := f.GetName()
			require.True(t, strings.HasPrefix(name, prefix+p.name+"_"), "%s is not named after its part, %s", name, p.name)
			require.Regexp(t, words, name)
			require.Equal(t, f.GetType() == dto.MetricType_COUNTER, strings.HasSuffix(name, "_total"), "%s: what only grows, and nothing else, ends with _total", name)
			require.Regexp(t, `^[A-Z0-9].*\.$`, f.GetHelp(), "the help of %s is a sentence", name)
			var has []string
			for _, l := range f.GetMetric()[0].GetLabel() {
				has = append(has, l.GetName())
				require.Regexp(t, words, l.GetName(), name)
			}
			if strings.Contains(strings.Join(has, " "), "app") {
				require.Subset(t, has, []string{"namespace", "app"}, "%s: an app is its namespace and its name", name)
			}
		}
		problems, err := promlint.NewWithMetricFamilies(families).Lint()
		require.NoError(t, err)
		require.Empty(t, problems)
	}
}

func TestThePageIsWhatTheProgramsRegister(t *testing.T) {
	var page bytes.Buffer
	require.NoError(t, write(&page))
	written, err := os.ReadFile("../metrics.md")
	require.NoError(t, err)
	require.Equal(t, page.String(), string(written), "make generate")
}
