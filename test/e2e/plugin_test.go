//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// plugin runs a command of the plugin and returns what it printed on stdout.
func (u user) plugin(args ...string) string {
	u.Helper()
	return u.kubectl(append([]string{"http"}, args...)...)
}

// fails runs a command of the plugin that is to end with an exit code, and returns what it said.
func (u user) fails(code int, args ...string) string {
	u.Helper()
	out, err := u.try("", append([]string{"http"}, args...)...)
	if exitCode(err) != code {
		u.Errorf("kubectl http %s should end with %d: %v\n%s", strings.Join(args, " "), code, err, out)
	}
	return fmt.Sprint(out, err)
}

// says fails the test unless a text has all of the parts.
func (u user) says(text string, parts ...string) {
	u.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			u.Errorf("it does not say %q:\n%s", part, text)
		}
	}
}

// One app's life by the plugin alone, from its first deployment to the end of it.
func TestThePluginLeadsAnAppThroughItsLife(t *testing.T) {
	u := newUser(t)
	u.deploy("life", "--scale", "0..3", "--env", "STEP=1")
	if got, want := strings.TrimSpace(u.plugin("url", "life")), "http://"+u.host("life"); !strings.HasPrefix(got, want) {
		t.Errorf("its URL is %q, not %q", got, want)
	}

	// What is not said stays.
	u.plugin("deploy", "life", "--env", "OTHER=2", "--idle", "10m")
	spec := u.kubectl("get", "httpapp", "life", "-o", "jsonpath={.spec}")
	u.says(spec, `"maxReplicas":3`, `"name":"STEP"`, `"name":"OTHER"`, `"cooldown":"10m0s"`, "/healthz")

	u.says(u.plugin("wake", "life"), "life woken")
	u.eventually(soon, "serving", func() error {
		if out := u.plugin("status", "life"); !strings.Contains(out, "serving") {
			return fmt.Errorf("it says\n%s", out)
		}
		return nil
	})
	u.says(u.fails(1, "scale", "life", "9"), "maxReplicas", "scale life --min N --max N")

	u.plugin("pause", "life")
	u.kubectl("wait", "--for=delete", "hpa/keda-hpa-life", "--timeout=2m") // which would take replicas away again that nobody calls for
	u.says(u.plugin("scale", "life", "2"), "life scaled")
	u.waitReplicas("life", 2, soon)
	u.plugin("sleep", "life")
	u.waitReplicas("life", 0, soon)
	u.eventually(soon, "paused", func() error {
		if out := u.plugin("status", "life"); !strings.Contains(out, "paused: ") {
			return fmt.Errorf("it says\n%s", out)
		}
		return nil
	})
	u.plugin("resume", "life")
	// Changes that come quickly one after the other are one revision.
	revision := func(current string) {
		t.Helper()
		u.eventually(soon, "revision "+current, func() error {
			if out := u.plugin("history", "life"); !strings.Contains(out, current+" (current)") {
				return fmt.Errorf("it says\n%s", out)
			}
			return nil
		})
	}
	revision("2")
	u.plugin("restart", "life")
	revision("3")
	u.plugin("set", "env", "life", "STEP=2", "OTHER-")
	revision("4")
	u.plugin("rollback", "life", "1")
	u.says(u.plugin("export", "life"), "value: \"1\"", "maxReplicas: 3")

	// What is exported makes the same app elsewhere.
	exported := u.plugin("export", "life")
	other := u.another()
	file := filepath.Join(t.TempDir(), "life.yaml")
	if err := os.WriteFile(file, []byte(exported), 0o600); err != nil {
		t.Fatal(err)
	}
	other.plugin("deploy", "-f", file)
	if again := other.plugin("export", "life"); again != exported {
		t.Errorf("exported and deployed it is\n%s\nnot\n%s", again, exported)
	}

	u.says(u.plugin("delete", "life", "--keep-workload"), "life deleted")
	if out := u.kubectl("get", "deployments,services", "-o", "name"); !strings.Contains(out, "deployment.apps/life") || !strings.Contains(out, "service/life") {
		t.Errorf("what stays is\n%s", out)
	}
	u.eventually(soon, "nothing that scales it", func() error {
		if out := u.kubectl("get", "scaledobjects,hpa,httpapps", "-o", "name"); out != "" {
			return fmt.Errorf("there is\n%s", out)
		}
		return nil
	})

	// What stays becomes an app again.
	u.plugin("deploy", "life", "--from", "deployment/life")
	u.says(u.plugin("history", "life"), "(current)")
	u.plugin("delete", "life")
	u.kubectl("get", "deployment", "life")
}

const statefulSet = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: kept}
spec:
  serviceName: kept
  replicas: 1
  selector: {matchLabels: {app: kept}}
  template:
    metadata: {labels: {app: kept}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: app, image: "kedahttp/test-echo:dev", imagePullPolicy: Never, ports: [{containerPort: 8080}], env: [{name: VERSION, value: "%d"}]}
`

// Revisions of a StatefulSet are kept otherwise than those of a Deployment, and going back changes it and not the app.
func TestAnAdoptedWorkloadGoesBackToAnEarlierRevision(t *testing.T) {
	u := newUser(t)
	u.kubectl("create", "deployment", "lent", "--image=kedahttp/test-echo:dev", "--port=8080", "--replicas=0")
	u.kubectl("set", "env", "deployment/lent", "VERSION=1")
	u.apply(fmt.Sprintf(statefulSet, 1))
	for app, workload := range map[string]string{"lent": "deployment/lent", "kept": "statefulset/kept"} {
		const version = "{.spec.template.spec.containers[0].env[0].value}"
		u.eventually(soon, "its controller to have seen it", func() error {
			return u.field(workload, "{.status.observedGeneration}", u.kubectl("get", workload, "-o", "jsonpath={.metadata.generation}"))
		})
		u.plugin("deploy", app, "--from", workload, "--port", "8080", "--no-wait")
		u.kubectl("set", "env", workload, "VERSION=2")
		var history string
		u.eventually(soon, "the new revision", func() (err error) {
			history, err = u.try("", "http", "history", app)
			if err == nil && (strings.Count(history, "(current)") != 1 || !strings.Contains(history[strings.LastIndex(strings.TrimSpace(history), "\n"):], "(current)") || strings.Count(history, "\n") < 3) {
				err = fmt.Errorf("it says\n%s", history)
			}
			return err
		})
		u.says(u.plugin("rollback", app, "--dry-run=server"), workload[strings.Index(workload, "/"):], "(server dry run)")
		if err := u.field(workload, version, "2"); err != nil {
			t.Errorf("a dry run changes it: %v", err)
		}
		u.says(u.plugin("rollback", app), "/"+app+" rolled back")
		if err := u.field(workload, version, "1"); err != nil {
			t.Errorf("%s after the rollback: %v", workload, err)
		}
		u.says(u.fails(1, "rollback", app, "77"), "there is no revision 77")
	}
}

func TestThePluginTriesBeforeItWrites(t *testing.T) {
	u := newUser(t)
	for _, strategy := range []string{"client", "server"} {
		out := u.plugin("deploy", "tried", "--image", "example.com/tried:1", "--dry-run="+strategy, "-o", "json")
		var app struct{ Kind string }
		if err := json.Unmarshal([]byte(out), &app); err != nil || app.Kind != "HTTPApp" {
			t.Errorf("--dry-run=%s prints %s (%v)", strategy, out, err)
		}
	}
	if out := u.kubectl("get", "httpapps", "-o", "name"); out != "" {
		t.Errorf("a dry run made %s", out)
	}
	u.says(u.fails(2, "deploy", "tried", "--idle", "1m"), "--image is needed: there is no app tried")
	u.deploy("tried")
	version := u.kubectl("get", "httpapp", "tried", "-o", "jsonpath={.metadata.resourceVersion}")
	for _, command := range []string{"pause tried", "scale tried --max 7", "scale tried 1", "restart tried", "set image tried example.com/tried:2", "wake tried", "delete tried", "delete tried --keep-workload"} {
		u.plugin(append(strings.Fields(command), "--dry-run=server")...)
	}
	if now := u.kubectl("get", "httpapp", "tried", "-o", "jsonpath={.metadata.resourceVersion}"); now != version {
		t.Errorf("the dry runs changed the app: its version went from %s to %s", version, now)
	}
	u.says(u.fails(1, "status", "tired"), "did you mean tried?")
}

// What does not come up is told with the words of whoever knows why.
func TestDeploySaysWhyAnAppDoesNotComeUp(t *testing.T) {
	u := newUser(t)
	image := []string{"--image", "kedahttp/test-echo:dev", "--image-pull-policy", "Never"}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		u.says(u.fails(1, append([]string{"deploy", "crashing", "--try", "--env", "LISTEN_AFTER=never"}, image...)...),
			"CrashLoopBackOff", "The last lines of container app", `time: invalid duration "never"`)
	})
	waiting.Go(func() {
		u.says(u.fails(1, "deploy", "absent", "--try", "--image", "kedahttp/there-is-none:dev", "--image-pull-policy", "Never"), "ErrImageNeverPull")
	})
	waiting.Go(func() {
		u.says(u.fails(3, append([]string{"deploy", "deaf", "--try", "--wait-timeout", "30s", "--port", "9999", "--env", "PORT=8080"}, image...)...),
			"connection refused", "Nobody listens on that port")
	})
	waiting.Wait()
	u.plugin(append([]string{"deploy", "owner", "--host", "taken." + u.namespace + ".test"}, image...)...)
	// Of two that were made in the same second the first by name goes first.
	u.says(u.fails(1, append([]string{"deploy", "squatter", "--host", "taken." + u.namespace + ".test"}, image...)...), "HostConflict", u.namespace+"/owner")
}
