// Package monitoring tests the alert rules, and holds the chart's monitors, rules and dashboard to those for kustomize.
package monitoring

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const component = "../../artifacts/components/monitoring"

// promtool is the program, of the version that hack/tools/prometheus names.
func promtool(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	program := filepath.Join(root, "bin", "tools", "promtool")
	// Without the clients of the clouds where it could look for what to scrape.
	out, err := exec.CommandContext(t.Context(), "go", "-C", filepath.Join(root, "hack", "tools", "prometheus"), "build", "-tags", "remove_all_sd", "-o", program,
		"github.com/prometheus/prometheus/cmd/promtool").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// rules is the PrometheusRule as far as it is looked at here.
type rules struct {
	Spec struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      struct{ Severity string }
				Annotations map[string]string
			}
		}
	}
}

func read(t *testing.T, into any, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, into))
	return text
}

func TestEachAlertRingsWhenItShouldAndNotBefore(t *testing.T) {
	var rule struct {
		Spec any `json:"spec"`
	}
	read(t, &rule, component, "alerts.yaml")
	spec, err := yaml.Marshal(rule.Spec)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "alerts.yaml"), spec, 0o600))
	tests, err := os.ReadFile("alerts_test.yaml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "alerts_test.yaml"), tests, 0o600))
	program := promtool(t)
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", filepath.Join(dir, "alerts.yaml")}, {"test", "rules", filepath.Join(dir, "alerts_test.yaml")}} {
		out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}

	var all rules
	read(t, &all, component, "alerts.yaml")
	for _, g := range all.Spec.Groups {
		for _, r := range g.Rules {
			require.Contains(t, string(tests), r.Alert, "no test names it")
		}
	}
}

func TestEachAlertSaysWhatToDo(t *testing.T) {
	operations, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	var all rules
	read(t, &all, component, "alerts.yaml")
	require.NotEmpty(t, all.Spec.Groups)
	for _, g := range all.Spec.Groups {
		for _, r := range g.Rules {
			require.Regexp(t, `^KedaHTTP[A-Za-z]+$`, r.Alert)
			require.Contains(t, []string{"warning", "critical"}, r.Labels.Severity, r.Alert)
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			require.NotEmpty(t, r.Annotations["description"], r.Alert)
			require.True(t, strings.HasSuffix(r.Annotations["runbook_url"], "/docs/operations.md#"+strings.ToLower(r.Alert)), r.Annotations["runbook_url"])
			require.Contains(t, string(operations), fmt.Sprintf("\n### %s\n", r.Alert), "the runbook")
		}
	}
	for _, section := range regexp.MustCompile(`(?m)^### (KedaHTTP\w+)$`).FindAllStringSubmatch(string(operations), -1) {
		require.True(t, strings.Contains(fmt.Sprint(all), section[1]), "a runbook for %s, which does not exist", section[1])
	}
}
