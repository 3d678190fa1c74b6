//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// pods makes an app with ready pods that nobody scales.
func (u user) pods(app, protocol string, replicas int, more ...string) {
	u.Helper()
	how := container + `
        readinessProbe: {periodSeconds: 1, httpGet: {port: web, path: /healthz}}`
	if protocol == "https" { // with the certificate of the Secret of its name
		how = container + `
        readinessProbe: {periodSeconds: 1, httpGet: {port: web, path: /healthz, scheme: HTTPS}}
        env: [{name: TLS_DIR, value: /cert}]
        volumeMounts: [{name: cert, mountPath: /cert}]
      volumes: [{name: cert, secret: {secretName: ` + app + `}}]`
	}
	u.apply(manifest(app, append([]string{how, "  protocol: " + protocol, "  scaling: {autoscaler: None, maxReplicas: 5}"}, more...)...))
	u.routed(app)
	u.kubectl("scale", "httpapp/"+app, fmt.Sprint("--replicas=", replicas))
	u.kubectl("rollout", "status", "deployment/"+app, "--timeout=2m")
}

func TestEveryKindOfTrafficSurvivesWhatDeploymentsDo(t *testing.T) {
	u := newUser(t)
	u.pods("web", "http1", 3)
	u.pods("calls", "h2c", 3)
	all := u.plain("web")
	maps.Copy(all, u.calls("calls"))
	u.survive(all, "web", "calls")
}

// survive checks that no exchange fails while the apps' pods are replaced, and become fewer and more.
func (u user) survive(all kinds, apps ...string) {
	u.Helper()
	l := u.traffic(all)
	began := time.Now()
	step := func(what string) { u.Logf("%5.1fs %s", time.Since(began).Seconds(), what) }
	for _, app := range apps {
		u.kubectl("rollout", "restart", "deployment/"+app)
	}
	for _, app := range apps {
		u.kubectl("rollout", "status", "deployment/"+app, "--timeout=2m")
	}
	step("restarted")
	for _, replicas := range []int{1, 3} {
		for _, app := range apps {
			u.kubectl("scale", "httpapp/"+app, fmt.Sprint("--replicas=", replicas))
		}
		for _, app := range apps {
			u.eventually(later, "as many pods as there are to be", func() error {
				pods, err := u.try("", "get", "pods", "-l", "apps.http.keda.sh/httpapp="+app, "-o", "name")
				if err != nil {
					return err
				}
				if n := strings.Count(pods, "\n"); n != replicas {
					return fmt.Errorf("%s has %d pods and not %d", app, n, replicas)
				}
				return nil
			})
			u.kubectl("rollout", "status", "deployment/"+app, "--timeout=2m")
		}
		step(fmt.Sprint("scaled to ", replicas))
	}
	l.check(u, all)
}

// The pods of the app go on for a while after they were told to end, as apps do: so do all exchanges.
func TestStreamsLiveAsLongAsTheirPods(t *testing.T) {
	u := newUser(t)
	u.pods("web", "http1", 1)
	u.pods("calls", "h2c", 1)
	names := map[string]string{}
	for _, app := range []string{"web", "calls"} {
		names[app] = strings.TrimSpace(u.kubectl("get", "pods", "-l", "apps.http.keda.sh/httpapp="+app, "-o", "name"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()

	var wg sync.WaitGroup
	flowing, ending := make(chan string), make(chan struct{})
	var goodbye, told time.Time
	wg.Go(func() {
		c, _, err := u.dialChat(ctx, "web")
		if err != nil {
			t.Errorf("WebSocket: %v", err)
			flowing <- ""
			return
		}
		defer c.Close()
		begun := sync.OnceFunc(func() { flowing <- "WebSocket" })
		for {
			if err := say(c, "hello"); err != nil {
				goodbye = time.Now()
				if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
					t.Errorf("WebSocket: %v", err)
				}
				return
			}
			begun()
			<-time.After(50 * time.Millisecond) // as people do
		}
	})
	wg.Go(func() {
		begun := sync.OnceFunc(func() { flowing <- "gRPC" })
		defer begun()
		if err := converse(ctx, u.channel("calls"), 160, 50*time.Millisecond, func(int) { begun() }); err != nil {
			t.Errorf("gRPC: %v", err)
		}
	})
	for what, c := range map[string]*http.Client{"HTTP/1.1": u.protocol(func(*http.Transport) {}), "HTTP/2": u.protocol(h2c)} {
		wg.Go(func() {
			flowing <- "events by " + what
			if err := u.events(ctx, c, "web", 160); err != nil {
				t.Errorf("events by %s: %v", what, err)
			}
		})
		wg.Go(func() {
			flowing <- "both ways by " + what
			after := 0
			err := u.mirrorWhile(ctx, c, "web", func(int) bool {
				select {
				case <-ending:
					after++
				default:
				}
				return after <= 100
			})
			if err != nil {
				t.Errorf("both ways by %s: %v", what, err)
			}
		})
	}
	for range 6 {
		t.Log(<-flowing)
	}
	u.eventually(soon, "all of them in flight", func() error {
		if err := u.field("httpapp/calls", "{.status.traffic.inFlight}", "1"); err != nil {
			return err
		}
		return u.field("httpapp/web", "{.status.traffic.inFlight}", "5")
	})
	for _, app := range []string{"calls", "web"} {
		u.kubectl("scale", "httpapp/"+app, "--replicas=0")
	}
	for _, app := range []string{"web", "calls"} {
		u.eventually(soon, app+"'s pod told to end", func() error {
			at, err := u.value(names[app], "{.metadata.deletionTimestamp} {.metadata.deletionGracePeriodSeconds}")
			if err != nil {
				return err
			}
			by, grace, _ := strings.Cut(strings.TrimSpace(at), " ")
			if by == "" {
				return errors.New("it is not")
			}
			if app == "web" {
				end, err := time.Parse(time.RFC3339, by)
				seconds, ofGrace := strconv.Atoi(grace)
				if err := errors.Join(err, ofGrace); err != nil {
					u.Fatal(err)
				}
				told = end.Add(-time.Duration(seconds) * time.Second) // to the second, and not after
			}
			return nil
		})
	}
	close(ending)
	wg.Wait()
	// The pod says goodbye to WebSockets three seconds after it was told to end.
	if went := goodbye.Sub(told); !goodbye.IsZero() && went < 3*time.Second {
		t.Errorf("WebSocket: it went on for %v after the pod was told to end", went)
	}
	for _, app := range []string{"web", "calls"} {
		u.eventually(soon, "nothing in flight for "+app, func() error {
			return u.field("httpapp/"+app, "{.status.traffic.inFlight}", "0")
		})
	}
}

func TestARollingRestartOfTheInterceptorsFailsNoRequest(t *testing.T) {
	u := onlyUser(t)
	u.pods("web", "http1", 1)
	u.pods("calls", "h2c", 1)
	all := u.plain("web")
	for what, once := range u.calls("calls") {
		all[what] = once
	}
	before := u.running(interceptors)
	l := u.traffic(all)
	o := operator(t)
	o.kubectl("rollout", "restart", "deployment/kedahttp-interceptor")
	o.kubectl("rollout", "status", "deployment/kedahttp-interceptor", "--timeout=2m")
	for _, p := range before {
		o.kubectl("wait", "--for=delete", "pod/"+p.Name, "--timeout=2m")
	}
	l.check(u, all)
}

func TestSomebodyElseAnswersWhileAnAppWakes(t *testing.T) {
	u := newUser(t)
	u.pods("static", "http1", 1)
	slow := strings.Replace(container, "        ports:", "        env: [{name: LISTEN_AFTER, value: 2s}]\n        ports:", 1) + `
        readinessProbe: {periodSeconds: 1, httpGet: {port: web, path: /healthz}}`
	u.apply(manifest("shown", slow, "  coldStart: {placeholder: {body: <p>soon</p>, statusCode: 202}}"))
	u.apply(manifest("replaced", slow, "  coldStart: {fallback: {serviceName: static, port: 8080}}"))
	u.routed("shown")
	u.routed("replaced")

	ask := func(app, accept string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+u.host(app)+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var body strings.Builder
		if err := res.Write(&body); err != nil {
			t.Fatal(err)
		}
		return res, body.String()
	}
	const says = "X-KedaHTTP-Cold-Start"
	res, body := ask("shown", "text/html, */*;q=0.5")
	if res.StatusCode != http.StatusAccepted || !strings.Contains(body, "<p>soon</p>") || res.Header.Get("Retry-After") == "" || res.Header.Get(says) != "placeholder" {
		t.Errorf("the placeholder is %s", body)
	}
	if res, body := ask("shown", "application/json"); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"name":"shown"`) {
		t.Errorf("who wants JSON gets %s", body)
	}
	if res, body := ask("replaced", "*/*"); res.StatusCode != http.StatusOK || !strings.Contains(body, `"pod":"static-`) || res.Header.Get(says) != "fallback" {
		t.Errorf("the fallback answers %s", body)
	}
	for _, app := range []string{"shown", "replaced"} {
		u.eventually(later, app+" itself", func() error {
			res, body := ask(app, "text/html, */*")
			if res.StatusCode != http.StatusOK || !strings.Contains(body, `"pod":"`+app+"-") {
				return fmt.Errorf("%s by %q", res.Status, res.Header.Get(says))
			}
			return nil
		})
	}
}
