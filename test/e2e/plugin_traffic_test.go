//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// output is what a command that goes on has printed so far.
type output struct {
	mu    sync.Mutex
	lines []string
	cmd   *exec.Cmd
	ended chan struct{}
}

func (o *output) all() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "\n")
}

// interrupt is Ctrl-C. It returns the exit code.
func (o *output) interrupt() int { return o.end(os.Interrupt) }

func (o *output) kill() { o.end(os.Kill) }

func (o *output) end(signal os.Signal) int {
	_ = o.cmd.Process.Signal(signal) // it may have ended
	<-o.ended
	return o.cmd.ProcessState.ExitCode()
}

func (o *output) has(parts ...string) error {
	all := o.all()
	for _, part := range parts {
		if !strings.Contains(all, part) {
			return fmt.Errorf("no %q in\n%s", part, all)
		}
	}
	return nil
}

// first is the first line that begins with something, or nothing.
func (o *output) first(prefix string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, line := range o.lines {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}

// goesOn runs a command of the plugin until the test ends.
func (u user) goesOn(args ...string) *output {
	u.Helper()
	cmd := u.command(context.Background(), append([]string{"http"}, args...)...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		u.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		u.Fatal(err)
	}
	out := &output{cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(out.ended)
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			out.mu.Lock()
			out.lines = append(out.lines, lines.Text())
			out.mu.Unlock()
		}
		_ = cmd.Wait() // how it ended is its exit code
	}()
	u.Cleanup(out.kill)
	return out
}

func TestThePluginReachesAnAppThatNoNameLeadsTo(t *testing.T) {
	u := newUser(t)
	host := "nowhere." + u.namespace + ".test"
	u.plugin("deploy", "far", "--image", "kedahttp/test-echo:dev", "--image-pull-policy", "Never", "--health", "/healthz", "--host", host)

	logs := u.goesOn("logs", "far", "-f")
	u.eventually(soon, "logs that wait", func() error { return logs.has("waiting for a replica") })

	out, err := u.try("", "http", "curl", "far", "/hello", "--", "--fail")
	if err != nil {
		t.Fatal(err)
	}
	u.says(out, `"host":"`+host, `"path":"/hello"`)
	u.eventually(soon, "the log of the pod that came", func() error { return logs.has("has come", "answers on :8080") })
	if _, err := u.try("", "http", "curl", "far", "/", "--", "--no-such-flag"); exitCode(err) != 2 {
		t.Errorf("curl's own exit code is not passed on: %v", err)
	}

	forward := u.goesOn("port-forward", "far")
	var address string
	u.eventually(soon, "the address of the port-forward", func() error {
		if address = forward.first("http://127.0.0.1:"); address == "" {
			return forward.has("http://")
		}
		return nil
	})
	u.plugin("sleep", "far")
	u.eventually(soon, "the pod gone from the log", func() error { return logs.has("has gone") })
	res, err := http.Get(address + "/woken")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	// By then KEDA may have woken it: it still remembers the requests of a moment ago.
	if res.StatusCode != http.StatusOK {
		t.Errorf("through the port-forward: %s with %v", res.Status, res.Header)
	}
	u.eventually(soon, "the log of the second pod", func() error {
		logs.mu.Lock()
		defer logs.mu.Unlock()
		if n := strings.Count(strings.Join(logs.lines, "\n"), "answers on :8080"); n < 2 {
			return fmt.Errorf("%d pods have written", n)
		}
		return nil
	})
	u.says(u.plugin("logs", "far"), "answers on :8080")
	u.eventually(soon, "the access log of the cold start", func() error {
		if out := u.plugin("logs", "far", "--interceptor"); !strings.Contains(out, `"path":"/woken"`) {
			return fmt.Errorf("it has\n%s", out)
		}
		return nil
	})
	u.eventually(soon, "said to be serving, which the cluster knows after its first answer", func() error {
		if out, err := u.try("", "http", "status", "far"); err != nil || !strings.Contains(out, "serving") || !strings.Contains(out, "Last cold start") {
			return fmt.Errorf("it says\n%s (%v)", out, err)
		}
		return nil
	})
}

func TestStatusFollowsWhatHappens(t *testing.T) {
	u := newUser(t)
	u.deploy("seen", "--env", "LISTEN_AFTER=2s")
	status := u.goesOn("status", "seen", "--watch")
	u.eventually(soon, "an idle app", func() error { return status.has("idle: ") })
	stop := u.hold("seen", 1, "/?delay=10m") // until it was seen
	u.eventually(soon, "what happened", func() error { return status.has("waking: ", "serving: ", "1 in flight") })
	stop()
	u.plugin("delete", "seen")
	u.eventually(soon, "its end", func() error { return status.has("was deleted") })
}
