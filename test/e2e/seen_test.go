//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// forward forwards a port of a pod to one of the host's loopback, for as long as the test runs, and returns the address.
func (u user) forward(pod string, port int) string {
	u.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := u.command(ctx, "port-forward", "--namespace", systemNamespace, "pod/"+pod, fmt.Sprintf(":%d", port))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		u.Fatal(err)
	}
	u.Cleanup(func() { cancel(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if at := regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+)`).FindStringSubmatch(lines.Text()); at != nil {
			go io.Copy(io.Discard, out) //nolint:errcheck // it goes on telling
			return at[1]
		}
	}
	u.Fatalf("kubectl port-forward of %s ended: %v", pod, lines.Err())
	return ""
}

// read gets what an interceptor tells at its admin port.
func (u user) read(address, path string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, res.Status, body)
	}
	return string(body), err
}

// The admin port's numbers are for everybody who may reach it, and what helps to debug for those who may forward its port.
func TestARequestIsSeenInTheLogTheMetricsAndTheDump(t *testing.T) {
	u := newUser(t)
	u.deploy("seen", "--scale", "0..1")
	req, err := http.NewRequest(http.MethodGet, "http://"+u.host("seen")+"/some/path?key=secret-of-a-test", nil)
	if err != nil {
		t.Fatal(err)
	}
	id := u.namespace + "-1"
	req.Header.Set("X-Request-Id", id)
	req.Header.Set("Authorization", "Bearer secret-of-a-test")
	answer, err := send(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.Header.Get("X-Request-Id"); got != id {
		t.Errorf("the app got the request id %q, not %q", got, id)
	}

	// It waited for the app to start, so it is slow enough to be in a sampled log.
	system := user{T: t}
	u.eventually(soon, "a line of the request in the access log", func() error {
		out, err := system.try("", "logs", "--namespace", systemNamespace, "--selector", "app.kubernetes.io/name=kedahttp-interceptor", "--tail=-1")
		if err != nil {
			return err
		}
		if strings.Contains(out, "secret-of-a-test") {
			t.Fatal("the log has a secret")
		}
		for line := range strings.Lines(out) {
			if !strings.Contains(line, id) || !strings.HasPrefix(line, "{") {
				continue
			}
			var said struct {
				App, Path, Pod, ColdStart, RequestID string
				Status                               int
				Duration, Held                       float64
			}
			if err := json.Unmarshal([]byte(line), &said); err != nil {
				return fmt.Errorf("%s: %w", line, err)
			}
			if said.App != u.namespace+"/seen" || said.Path != "/some/path" || said.Status != 200 || said.ColdStart != "waited" || said.Pod == "" ||
				said.Held <= 0 || said.Held > said.Duration {
				t.Fatalf("the line is %s", line)
			}
			return nil
		}
		return fmt.Errorf("%d bytes of log without it", len(out))
	})

	// One of the interceptors had the request, and all know where the next one would go.
	labels := fmt.Sprintf(`{app="seen",code="2xx",namespace=%q}`, u.namespace)
	counted := 0
	for _, pod := range u.running("app.kubernetes.io/name=kedahttp-interceptor") {
		address := u.forward(pod.Name, 9901)
		metrics, err := u.read(address, "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(metrics, "kedahttp_interceptor_requests_total"+labels+" 1\n") {
			counted++
		}
		if !strings.Contains(metrics, `kedahttp_interceptor_open_connections{peer="client",state="idle"} `) {
			t.Error("the metrics do not tell open connections")
		}
		u.eventually(soon, "the ready pod in the dump", func() error {
			text, err := u.read(address, "/debug/routes?app="+u.namespace+"/seen")
			if err != nil {
				return err
			}
			var dump struct {
				Ready bool
				Apps  []struct {
					Name      string
					Routes    []struct{ Host string }
					Endpoints []struct{ Address, State string }
				}
			}
			if err := json.Unmarshal([]byte(text), &dump); err != nil {
				return err
			}
			if !dump.Ready || len(dump.Apps) != 1 || len(dump.Apps[0].Routes) != 1 || dump.Apps[0].Routes[0].Host != u.host("seen") ||
				len(dump.Apps[0].Endpoints) != 1 || dump.Apps[0].Endpoints[0].State != "ready" {
				return fmt.Errorf("the dump is %s", text)
			}
			return nil
		})

		// The API server asks from elsewhere, as any pod would.
		through := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:9901/proxy", systemNamespace, pod.Name)
		if _, err := system.try("", "get", "--raw", through+"/debug/routes"); err == nil || !strings.Contains(err.Error(), "only from inside of the pod") {
			t.Errorf("a stranger asks for the dump and gets %v", err)
		}
		if _, err := system.try("", "get", "--raw", through+"/metrics"); err != nil {
			t.Error(err)
		}
	}
	if counted != 1 {
		t.Errorf("the request is in the metrics of %d interceptors", counted)
	}
}
