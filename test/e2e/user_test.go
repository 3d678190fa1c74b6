//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// The bounds of the waits. They are generous: a test that waits for as long has failed, and says for what.
const (
	soon  = time.Minute
	later = 3 * time.Minute
)

// user is somebody with kubectl and a namespace of their own.
type user struct {
	*testing.T
	namespace string
	// deletion is a flag of the namespace's deletion.
	deletion string
	// editor is what kubectl edit runs.
	editor string
	// tls and entrance are how and where the interceptors are asked with TLS, if they are.
	tls      *tls.Config
	entrance string
}

// newUser makes a namespace for the test, which runs beside others.
func newUser(t *testing.T) user {
	t.Helper()
	beside(t)
	return namespaced(t, "--wait=false")
}

// onlyUser is newUser of a test that runs alone.
func onlyUser(t *testing.T) user {
	t.Helper()
	alone(t)
	return namespaced(t, "--timeout=2m")
}

// beside is for a test that runs beside others, which neither disturb the system nor notice each other.
func beside(t *testing.T) {
	t.Helper()
	if environment.only == "alone" {
		t.Skip("it is one of those that run beside others")
	}
	t.Parallel()
}

// alone is for a test that disturbs the system, or measures what every other test would disturb. It has the cluster to itself: go test
// begins with those that are to run beside others when all that are not have ended.
func alone(t *testing.T) {
	t.Helper()
	if environment.only == "beside" {
		t.Skip("it is one of those that run alone")
	}
}

// together runs subtests at once where one test would run: all that they do is wait. With t.Parallel they would begin after all other tests.
func together(t *testing.T, tests map[string]func(*testing.T)) {
	t.Helper()
	var all sync.WaitGroup
	for name, test := range tests {
		all.Go(func() { t.Run(name, test) })
	}
	all.Wait()
}

// another is a user of the same test, with a namespace of their own.
func (u user) another() user {
	u.Helper()
	return namespaced(u.T, u.deletion)
}

// namespaced makes a namespace for the test and deletes it at the end. When the test fails, everything that could say why is
// logged first.
func namespaced(t *testing.T, deletion string) user {
	t.Helper()
	u := user{T: t, namespace: fmt.Sprintf("e2e-%x", time.Now().UnixNano()&0xffffffffff), deletion: deletion}
	u.kubectl("create", "namespace", u.namespace)
	deleted.Lock()
	defer deleted.Unlock()
	deleted.namespaces = append(deleted.namespaces, "namespace/"+u.namespace)
	t.Cleanup(func() {
		if t.Failed() {
			u.diagnose()
		}
		u.kubectl("delete", "namespace", u.namespace, deletion)
	})
	return u
}

// deleted are the tests' namespaces.
var deleted struct {
	sync.Mutex
	namespaces []string
}

// allGone waits until the tests' namespaces, which nobody waited for while there were others to run, have gone with all that was in them.
func allGone() error {
	deleted.Lock()
	defer deleted.Unlock()
	if len(deleted.namespaces) == 0 {
		return nil
	}
	out, err := exec.Command("kubectl", append([]string{"wait", "--for=delete", "--timeout=3m"}, deleted.namespaces...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("the tests are over, and not all of their namespaces go: %w\n%s", err, out)
	}
	return err
}

// kubectl runs kubectl in the user's namespace and returns what it printed on stdout.
func (u user) kubectl(args ...string) string {
	u.Helper()
	out, err := u.try("", args...)
	if err != nil {
		u.Fatal(err)
	}
	return out
}

// apply gives a manifest to kubectl apply and returns what it said.
func (u user) apply(manifest string, flags ...string) string {
	u.Helper()
	out, err := u.try(manifest, append([]string{"apply", "-f", "-"}, flags...)...)
	if err != nil {
		u.Fatal(err)
	}
	return out
}

// try runs kubectl with the given stdin. The error holds what it said on stderr.
func (u user) try(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), later)
	defer cancel()
	cmd := u.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

func (u user) command(ctx context.Context, args ...string) *exec.Cmd {
	if args[0] == "http" {
		note(args[1:])
	}
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	// In the environment rather than a flag, because a plugin's flags come after its name.
	cmd.Args = append([]string{"kubectl"}, args...)
	if u.editor != "" {
		cmd.Env = append(os.Environ(), "KUBE_EDITOR="+u.editor)
	}
	if u.namespace != "" && args[0] != "http" {
		cmd.Args = append([]string{"kubectl", "--namespace", u.namespace}, args...)
	} else if u.namespace != "" {
		cmd.Args = append(cmd.Args[:2:2], append([]string{args[1], "--namespace", u.namespace}, args[2:]...)...)
	}
	return cmd
}

// eventually waits until the condition holds, that is, until check returns no error.
func (u user) eventually(within time.Duration, what string, check func() error) {
	u.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			u.Fatalf("after %v, not yet %s: %v", within, what, err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

func (u user) waitReplicas(deployment string, want int, within time.Duration) {
	u.Helper()
	u.eventually(within, fmt.Sprintf("%s at %d replicas", deployment, want), func() error {
		return u.field("deployment/"+deployment, "{.spec.replicas}", fmt.Sprint(want))
	})
}

// host is the default host of one of the user's apps.
func (u user) host(app string) string { return app + "." + u.namespace + ".localhost" }

// client sends every request to the interceptors, whatever its host.
var client = &http.Client{Transport: &http.Transport{
	DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, environment.interceptor)
	},
	MaxIdleConnsPerHost: 64,
}}

// echo is what the test image answers.
type echo struct {
	Pod    string
	Method string
	Proto  string
	TLS    bool
	Host   string
	Header http.Header
	Bytes  int64
	SHA256 string
	Seen   int
	Most   int
}

// get sends a GET and returns the app's answer.
func (u user) get(app, path string) (echo, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+u.host(app)+path, nil)
	if err != nil {
		return echo{}, err
	}
	return send(req)
}

func send(req *http.Request) (echo, error) {
	ctx, cancel := context.WithTimeout(req.Context(), later)
	defer cancel()
	return exchange(req.WithContext(ctx))
}

// exchange is send without a bound but the request's own.
func exchange(req *http.Request) (echo, error) {
	resp, err := client.Do(req)
	if err != nil {
		return echo{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return echo{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return echo{}, fmt.Errorf("%s %s: %s: %s", req.Method, req.URL, resp.Status, body)
	}
	var answer echo
	return answer, json.Unmarshal(body, &answer)
}

// routed waits until the interceptors know the app's route: an app is deployed before its route has reached all of them.
func (u user) routed(app string) {
	u.Helper()
	u.kubectl("wait", "--for=condition=Ready", "httpapp/"+app, "--timeout=2m")
}

// deploy makes an app of the echo image by the plugin, idle at zero replicas.
func (u user) deploy(app string, flags ...string) {
	u.Helper()
	out := u.kubectl(append([]string{"http", "deploy", app, "--image", "kedahttp/test-echo:dev", "--image-pull-policy", "Never", "--health", "/healthz"}, flags...)...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if url := lines[len(lines)-1]; !strings.HasPrefix(url, "http://"+u.host(app)) {
		u.Fatalf("the last line of deploy is %q, not the app's URL", url)
	}
}

// diagnose logs what could say why the test failed.
func (u user) diagnose() {
	everybody := user{T: u.T}
	for _, question := range [][]string{
		{"get", "httpapps,deployments,pods,services,endpointslices,scaledobjects,hpa", "-n", u.namespace, "-o", "wide"},
		{"get", "httpapps", "-n", u.namespace, "-o", "yaml"},
		{"get", "events", "-n", u.namespace, "--sort-by=.lastTimestamp"},
		{"get", "pods", "-n", "kedahttp-system", "-o", "wide"},
		{"logs", "-n", "kedahttp-system", "deployment/kedahttp-apiserver", "--all-pods", "--tail=60", "--prefix"},
		{"logs", "-n", "kedahttp-system", "deployment/kedahttp-interceptor", "--all-pods", "--tail=60", "--prefix"},
		{"logs", "-n", "kedahttp-system", "deployment/kedahttp-scaler", "--all-pods", "--tail=60", "--prefix"},
		{"logs", "-n", "keda", "deployment/keda-operator", "--tail=40"},
	} {
		out, err := everybody.try("", question...)
		if err != nil {
			out += err.Error()
		}
		u.Logf("kubectl %s\n%s", strings.Join(question, " "), out)
	}
}

// exitCode returns the exit code behind an error of try, or -1.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
