//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// What the plugin prints for other programs is what they read, of an app that runs, too.
func TestThePluginsOutputsAreReadByOtherPrograms(t *testing.T) {
	u := newUser(t)
	u.deploy("outputs", "--env", "STEP=1")
	decode := func(text string, value any) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), value); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	var asked struct {
		URL    string
		Status int
		Cold   bool
		Stages map[string]float64
	}
	decode(u.plugin("curl", "outputs", "/first", "-o", "json"), &asked)
	if asked.Status != 200 || !asked.Cold || asked.Stages["total"] <= 0 || !strings.HasSuffix(asked.URL, "/first") {
		t.Errorf("the first request is %+v", asked)
	}
	for line := range strings.Lines(u.plugin("logs", "outputs", "-o", "json")) {
		var one struct{ Pod, Container, Time, Line string }
		decode(line, &one)
		if _, err := time.Parse(time.RFC3339Nano, one.Time); err != nil || !strings.HasPrefix(one.Pod, "outputs-") || one.Container != "app" || one.Line == "" {
			t.Errorf("a line is %+v (%v)", one, err)
		}
	}
	u.eventually(soon, "said in colours to be ready, which the cluster knows after its first answer", func() error {
		if out := u.plugin("list", "outputs", "--color=always"); !strings.Contains(out, "\033[32mReady\033[0m") {
			return fmt.Errorf("in colours it is\n%q", out)
		}
		return nil
	})

	// A rollback leaves nothing behind that nobody has written.
	before := u.plugin("export", "outputs")
	u.plugin("set", "env", "outputs", "STEP=2")
	u.eventually(soon, "a second revision", func() error {
		if out := u.plugin("history", "outputs"); !strings.Contains(out, "2 (current)") {
			return fmt.Errorf("it says\n%s", out)
		}
		return nil
	})
	u.plugin("rollback", "outputs")
	if after := u.plugin("export", "outputs"); after != before {
		t.Errorf("after a rollback it exports\n%s\nnot\n%s", after, before)
	}

	u.plugin("pause", "outputs")
	u.plugin("sleep", "outputs")
	u.eventually(soon, "said to be paused", func() error {
		out := u.plugin("status", "outputs")
		if !strings.Contains(out, "it is paused, and none wakes it") || strings.Contains(out, "m/s") {
			return fmt.Errorf("it says\n%s", out)
		}
		return nil
	})

	if out := u.plugin("delete", "outputs", "--dry-run=server", "-o", "yaml"); !strings.Contains(out, "kind: HTTPApp\n") {
		t.Errorf("what would be deleted is\n%s", out)
	}
	if out := u.plugin("delete", "outputs", "-o", "name"); out != "httpapp.apps.http.keda.sh/outputs\n" {
		t.Errorf("what was deleted is %q", out)
	}
}
