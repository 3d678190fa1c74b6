//go:build e2e && long

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// What takes long and stands for what takes longer still: make test-long. E2E_COLD_STARTS and E2E_IDLE_FOR make it shorter, or longer.

// starts is how often an app is woken in a row.
func starts(t *testing.T) int {
	n, err := strconv.Atoi(setting("E2E_COLD_STARTS", "50"))
	if err != nil {
		t.Fatalf("E2E_COLD_STARTS: %v", err)
	}
	return n
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// scalers are who takes an app to zero, and how an app says so.
var scalers = map[string]string{
	"keda":      "  scaling: {maxReplicas: 3, cooldown: 1s}",
	"ourselves": "  scaling: {autoscaler: HPA, maxReplicas: 3, cooldown: 1s}",
}

// made waits until there is all that an app needs to be woken: with KEDA in the cluster the HPA has nobody to ask, and is not ready.
func (u user) made(app string) {
	u.Helper()
	for _, condition := range []string{"WorkloadReady", "RoutesAccepted"} {
		u.kubectl("wait", "--for=condition="+condition, "httpapp/"+app, "--timeout=2m")
	}
}

func TestLongRowsOfColdStartsAnswerEveryRequest(t *testing.T) {
	for who, scaling := range scalers {
		t.Run(who, func(t *testing.T) {
			u := newUser(t)
			u.apply(manifest("woken", container, scaling))
			u.made("woken")
			all := u.plain("woken")
			kinds := slices.Sorted(maps.Keys(all))
			var took []time.Duration
			for n := range starts(t) {
				kind := kinds[n/2%len(kinds)]
				u.waitReplicas("woken", 0, later)
				// Each kind of request comes once when there is no pod, and once while the last one is going.
				if n%2 == 0 {
					u.kubectl("wait", "--for=delete", "pod", "-l", "apps.http.keda.sh/httpapp=woken", "--timeout=2m")
				}
				ctx, cancel := context.WithTimeout(t.Context(), soon)
				began := time.Now()
				err := all[kind](ctx)
				cancel()
				if err != nil {
					t.Errorf("start %d, with %s: %v", n, kind, err)
				}
				if n%2 == 0 {
					took = append(took, time.Since(began))
				}
			}
			if err := u.field("httpapp/woken", "{.status.traffic.pending} {.status.traffic.inFlight}", "0 0"); err != nil {
				t.Error(err)
			}
			started, err := strconv.Atoi(u.kubectl("get", "httpapp", "woken", "-o", "jsonpath={.status.traffic.coldStarts}"))
			if err != nil || started < len(took) {
				t.Errorf("%d cold starts are counted, of at least %d: %v", started, len(took), err)
			}
			slices.Sort(took)
			t.Logf("answered without a pod: median %v, slowest %v", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
		})
	}
}

// What is open for all that time - watches, the counts' and KEDA's streams, clients' connections - has to work at once, or to be
// opened anew unnoticed.
func TestLongIdlingIsOverWithTheFirstRequest(t *testing.T) {
	u := onlyUser(t)
	idleFor, err := time.ParseDuration(setting("E2E_IDLE_FOR", "30m"))
	if err != nil {
		t.Fatalf("E2E_IDLE_FOR: %v", err)
	}
	apps := map[string]kinds{}
	for who, scaling := range scalers {
		u.apply(manifest(who, container, scaling))
		u.made(who)
		apps[who] = u.plain(who)
	}
	// All kinds of requests at once, by the same clients before and after.
	ask := func() {
		var wg sync.WaitGroup
		for app, all := range apps {
			for kind, once := range all {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), soon)
					defer cancel()
					began := time.Now()
					if err := once(ctx); err != nil {
						t.Errorf("%s, with %s, after %v: %v", app, kind, time.Since(began).Round(time.Millisecond), err)
					}
				})
			}
		}
		wg.Wait()
	}
	ask()
	for app := range apps {
		u.waitReplicas(app, 0, later)
	}
	t.Logf("idle for %v", idleFor)
	select {
	case <-time.After(idleFor): // the time is what is tested
	case <-t.Context().Done():
		return
	}
	for app := range apps {
		if err := u.field("deployment/"+app, "{.spec.replicas}", "0"); err != nil {
			t.Errorf("nobody asked: %v", err)
		}
	}
	began := time.Now()
	ask()
	t.Logf("all answered after %v", time.Since(began).Round(time.Millisecond))
	for app := range apps {
		u.eventually(soon, app+" without requests", func() error {
			if err := u.field("httpapp/"+app, "{.status.traffic.pending} {.status.traffic.inFlight}", "0 0"); err != nil {
				return fmt.Errorf("its counts: %w", err)
			}
			return nil
		})
	}
}

// Beside what TestEveryKindOfTraffic… does: with TLS on either side, and exchanges that last.
func TestLongEveryKindOfTrafficWithTLSSurvivesWhatDeploymentsDo(t *testing.T) {
	u := newUser(t)
	s := u.secure()
	s.secret("front", u.host("web"), u.host("calls"))
	s.secret("sealed", "pods.example")
	u.pods("web", "http1", 3, "  tls: {secretName: front}")
	u.pods("calls", "h2c", 3, "  tls: {secretName: front}")
	u.pods("sealed", "https", 3)
	withTLS := s.entered()
	u.eventually(soon, "served with TLS", func() error {
		return withTLS.ask(t.Context(), withTLS.protocol(func(t *http.Transport) { t.DisableKeepAlives = true }), "web", "/", nil)
	})
	all := u.long("web", "calls")
	for _, more := range []kinds{
		withTLS.plain("web").named(" with TLS", "GET on connections that stay", "POST on a connection each", "POST by HTTP/2", "both ways at once by HTTP/2", "WebSocket", "a protocol of their own"),
		withTLS.calls("calls").named(" with TLS", "a unary call", "a stream both ways"),
		u.plain("sealed").named(" to pods with TLS", "GET on connections that stay", "POST on a connection each", "POST by HTTP/2", "a large body by HTTP/1.1", "both ways at once", "events", "WebSocket"),
	} {
		maps.Copy(all, more)
	}
	u.survive(all, "web", "calls", "sealed")
}

// long are exchanges that take longer than it takes to replace the pods, and that the pods finish before they end, but for
// WebSockets: to those a pod says goodbye when it has to end.
func (u user) long(app, calls string) kinds {
	const n, pause = 100, 50 * time.Millisecond
	c := u.channel(calls)
	one, two := u.protocol(func(*http.Transport) {}), u.protocol(h2c)
	return kinds{
		lasting + "events":                  func(ctx context.Context) error { return u.events(ctx, one, app, n) },
		lasting + "events by HTTP/2":        func(ctx context.Context) error { return u.events(ctx, two, app, n) },
		lasting + "a stream both ways":      func(ctx context.Context) error { return converse(ctx, c, n, pause, nil) },
		lasting + "a protocol of their own": func(ctx context.Context) error { return u.talk(ctx, app, n, pause) },
		lasting + "WebSocket": func(ctx context.Context) error {
			c, pod, err := u.dialChat(ctx, app)
			if err != nil {
				return err
			}
			defer c.Close()
			for i := range n {
				err := say(c, fmt.Sprint("message ", i))
				if websocket.IsCloseError(err, websocket.CloseGoingAway) {
					return u.ending(pod)
				}
				if err != nil {
					return err
				}
				<-time.After(pause)
			}
			return nil
		},
	}
}

// ending returns an error unless a pod was told to end.
func (u user) ending(pod string) error {
	at, err := u.try("", "get", "pod", pod, "--ignore-not-found", "-o", "jsonpath={.metadata.name} {.metadata.deletionTimestamp}")
	if name, told, _ := strings.Cut(at, " "); err == nil && name != "" && told == "" {
		err = fmt.Errorf("a goodbye of %s, which nobody has told to end", pod)
	}
	return err
}

// named are those of the kinds that have a name, under names of their own.
func (k kinds) named(as string, names ...string) kinds {
	some := kinds{}
	for _, name := range names {
		some[name+as] = k[name]
	}
	return some
}

// entered is the user, who asks with TLS.
func (s secure) entered() user {
	u := s.user
	u.tls, u.entrance = s.config(), s.address
	return u
}
