package plugin

import (
	"bytes"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// call runs the plugin as a user would, without a cluster.
func call(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	cmd := NewCommand("kubectl http", streams)
	cmd.SetArgs(append(args, "--namespace=shop"))
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestDeploySaysWhatItWasToldAndNothingElse(t *testing.T) {
	got, err := call(t, "deploy", "hello", "--image", "example.com/hello:1", "--port", "9000", "--env", "B=2", "--env", "A=1=1",
		"--scale", "1..7", "--concurrency", "5", "--idle", "90s", "--health", "/ok", "--host", "hello.example.com", "--tls-secret", "hello-cert",
		"--dry-run=client", "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	const want = `apiVersion: apps.http.keda.sh/v1alpha1
kind: HTTPApp
metadata:
  name: hello
  namespace: shop
spec:
  port: 9000
  routes:
  - hosts:
    - hello.example.com
  scaling:
    cooldown: 1m30s
    maxReplicas: 7
    metric: concurrency
    minReplicas: 1
    target: "5"
  template:
    spec:
      containers:
      - env:
        - name: A
          value: 1=1
        - name: B
          value: "2"
        image: example.com/hello:1
        name: app
        ports:
        - containerPort: 9000
          name: http
          protocol: TCP
        readinessProbe:
          httpGet:
            path: /ok
            port: 9000
          periodSeconds: 1
  tls:
    secretName: hello-cert
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWordsAfterTheDashesAreArgumentsOrTheCommand(t *testing.T) {
	for _, c := range []struct{ flag, want string }{
		{"--command=false", "      - args:\n        - serve\n        - --fast\n"},
		{"--command", "      - command:\n        - serve\n        - --fast\n"},
	} {
		streams, _, out, _ := genericiooptions.NewTestIOStreams()
		cmd := NewCommand("kubectl http", streams)
		cmd.SetArgs([]string{"deploy", "hello", "--image", "i", c.flag, "--dry-run=client", "-o", "yaml", "--namespace=shop", "--", "serve", "--fast"})
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%s makes\n%s", c.flag, out)
		}
	}
}

func TestWrongUsageIsRefusedBeforeTheClusterIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no name":             {[]string{"deploy"}, "which NAME?"},
		"two names":           {[]string{"deploy", "a", "b", "--image=i"}, "too much: b"},
		"no image":            {[]string{"deploy", "a"}, "--image is needed"},
		"a name with capital": {[]string{"deploy", "A", "--image=i"}, `"A" does not fit into a host name`},
		"a name too long":     {[]string{"deploy", strings.Repeat("a", 64), "--image=i"}, "63"},
		"min over max":        {[]string{"deploy", "a", "--image=i", "--scale=3..2"}, "the fewest replicas are more than the most"},
		"no range":            {[]string{"deploy", "a", "--image=i", "--scale=3"}, "MIN..MAX"},
		"max of zero":         {[]string{"deploy", "a", "--image=i", "--scale=0..0"}, "at least 1"},
		"a wrong port":        {[]string{"deploy", "a", "--image=i", "--port=70000"}, "65535"},
		"a wrong policy":      {[]string{"deploy", "a", "--image=i", "--image-pull-policy=Sometimes"}, "Never"},
		"a nameless variable": {[]string{"deploy", "a", "--image=i", "--env==1"}, "NAME=VALUE"},
		"no concurrency":      {[]string{"deploy", "a", "--image=i", "--concurrency=0"}, "at least 1"},
		"a relative path":     {[]string{"deploy", "a", "--image=i", "--health=ok"}, "begins with /"},
		"an unknown flag":     {[]string{"deploy", "a", "--picture=i"}, "unknown flag"},
		"an unknown command":  {[]string{"launch"}, "no command launch"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := call(t, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, without %q", err, c.want)
			}
			if got := ExitCode(err); got != ExitUsage {
				t.Errorf("the exit code is %d, not %d", got, ExitUsage)
			}
		})
	}
}

func TestProgressIsToldOnChangeOnly(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{out: &out, started: now, now: func() time.Time { return now }}
	p.say("waiting for %s", "a pod")
	now = now.Add(1500 * time.Millisecond)
	p.say("waiting for %s", "a pod")
	p.say("ready")
	if want := "  0.0s  waiting for a pod\n  1.5s  ready\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestAnAppIsDescribedByOneWordAndTheReason(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: "Because", Message: "it is so"}
	}
	ready := []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionTrue)}
	for name, c := range map[string]struct {
		status v1alpha1.HTTPAppStatus
		want   state
	}{
		"nothing seen yet":      {v1alpha1.HTTPAppStatus{}, starting},
		"a part fails":          {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: []metav1.Condition{condition(v1alpha1.ConditionScalerReady, metav1.ConditionFalse)}}, failing},
		"a part is not known":   {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: []metav1.Condition{condition(v1alpha1.ConditionScalerReady, metav1.ConditionUnknown)}}, starting},
		"no replica":            {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: ready}, idle},
		"requests, no replica":  {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: ready, Traffic: &v1alpha1.Traffic{Pending: 2}}, waking},
		"a replica that starts": {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: ready, Replicas: 1}, waking},
		"a ready replica":       {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: ready, Replicas: 2, ReadyReplicas: 1}, serving},
	} {
		t.Run(name, func(t *testing.T) {
			app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Generation: 1}, Status: c.status}
			if got, why := stateOf(app); got != c.want || why == "" {
				t.Errorf("it is %s (%s), not %s", got, why, c.want)
			}
		})
	}
}

func TestTheHelpFollowsTheExecutablesName(t *testing.T) {
	for executable, want := range map[string]string{
		"/usr/bin/kubectl-http":  "kubectl http",
		"kubectl-keda_http.exe":  "kubectl keda-http",
		"/somewhere/called/else": "else",
	} {
		if got := CalledAs(executable); got != want {
			t.Errorf("%s is called as %q, not %q", executable, got, want)
		}
	}
}
