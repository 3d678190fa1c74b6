//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// An app that takes too long is not waited for, and what flows is never cut, however long it takes.
func TestTheTimesOfAnAppBoundItsSilenceAndNotItsStreams(t *testing.T) {
	u := newUser(t)
	// Each pause of what flows is a sixth of what is allowed, and all together are twice as long.
	const allowed, pause, parts = 3 * time.Second, 500 * time.Millisecond, 12
	for app, timeouts := range map[string]string{"header": "responseHeader: 3s", "request": "request: 3s", "idle": "idle: 3s"} {
		u.apply(manifest(app, container, "  scaling: {autoscaler: None, maxReplicas: 1}", "  timeouts: {"+timeouts+"}"))
		u.routed(app)
	}
	timedOut := func(app, path, reason, message string) {
		t.Helper()
		s, err := u.say(client, app, path)
		if err != nil || s.status != http.StatusGatewayTimeout || s.Reason != reason || !strings.Contains(s.Message, message) {
			t.Errorf("%s%s: %v, %v", app, path, s, err)
		}
	}
	u.apply(manifest("never", container+`
        readinessProbe: {periodSeconds: 1, tcpSocket: {port: 9}}`, "  scaling: {autoscaler: None, maxReplicas: 1}", "  timeouts: {request: 3s}"))
	u.routed("never")
	for _, app := range []string{"header", "request", "idle"} {
		u.kubectl("scale", "httpapp/"+app, "--replicas=1")
		u.kubectl("rollout", "status", "deployment/"+app, "--timeout=2m")
	}
	tests := map[string]func(*testing.T){
		"a response that is late": func(*testing.T) {
			timedOut("header", "/?delay=1m", "response_header_timeout", "did not begin its response within 3s of getting the request")
		},
		"a pod that is late": func(*testing.T) {
			timedOut("never", "/", "request_timeout", "had no ready pod for 3s, as long as spec.timeouts.request allows")
		},
		"a request that is late": func(*testing.T) {
			timedOut("request", "/?delay=1m", "request_timeout", "did not begin its response within 3s")
		},
		"an idle response": func(t *testing.T) {
			res, err := u.stream(t.Context(), client, "idle", "/events?count=1&every=1ms&stay=true", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			lines := bufio.NewScanner(res.Body)
			for lines.Scan() {
			}
			if lines.Err() == nil {
				t.Error("it ended as if it had been whole")
			}
		},
		"an idle WebSocket": func(t *testing.T) {
			c, _, err := u.dialChat(t.Context(), "idle")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, _, err := c.ReadMessage(); err == nil {
				t.Error("somebody said something")
			}
		},
	}
	for _, app := range []string{"header", "request", "idle"} {
		for how, c := range map[string]*http.Client{"HTTP/1.1": u.protocol(func(*http.Transport) {}), "HTTP/2": u.protocol(h2c)} {
			tests["events of "+app+" by "+how] = func(t *testing.T) {
				if err := u.listen(t.Context(), c, app, fmt.Sprintf("/events?count=%d&every=%v", parts, pause), parts, false); err != nil {
					t.Error(err)
				}
			}
		}
		tests["a WebSocket of "+app] = func(t *testing.T) {
			c, _, err := u.dialChat(t.Context(), app)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for began := time.Now(); time.Since(began) < 2*allowed; {
				if err := say(c, "hello"); err != nil {
					t.Fatalf("after %v: %v", time.Since(began), err)
				}
				<-time.After(pause) // as people do
			}
		}
	}
	together(t, tests)
}
