package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/backend"
)

func TestEachTimeoutCountsWhatItIsFor(t *testing.T) {
	type step struct {
		at time.Duration
		is func(*timeouts)
	}
	const second = time.Second
	moves := func(*timeouts) {}
	hold := (*timeouts).hold
	whole := func(t *timeouts) { t.forward(true) }
	part := func(t *timeouts) { t.forward(false) }
	arrive, ask := (*timeouts).arrive, (*timeouts).ask
	begin := func(t *timeouts) { _ = t.begin() }
	all := backend.Timeouts{Request: 10 * second, ResponseHeader: 4 * second, Idle: 8 * second}
	request, header, idle := backend.Timeouts{Request: 10 * second}, backend.Timeouts{ResponseHeader: 4 * second}, backend.Timeouts{Idle: 8 * second}
	for what, c := range map[string]struct {
		limits  backend.Timeouts
		arrived bool
		steps   []step // each moves something
		cause   error
		at      time.Duration
	}{
		"a request that waits":                             {request, true, nil, errHeldTimeout, 10 * second},
		"one whose body did not arrive":                    {request, false, nil, errHeldTimeout, 10 * second},
		"one that waits again":                             {request, true, []step{{5 * second, whole}, {9 * second, hold}}, errHeldTimeout, 10 * second},
		"one that a pod has":                               {request, true, []step{{5 * second, whole}}, errRequestTimeout, 10 * second},
		"one that a second pod has":                        {request, true, []step{{second, whole}, {2 * second, whole}}, errRequestTimeout, 10 * second},
		"a body that takes long":                           {request, false, []step{{second, part}, {20 * second, arrive}, {20 * second, ask}}, errRequestTimeout, 30 * second},
		"a body without an end":                            {request, false, []step{{second, part}}, nil, 0},
		"a body that arrived while the request waited":     {request, false, []step{{second, arrive}, {5 * second, part}, {6 * second, ask}}, errRequestTimeout, 11 * second},
		"a response that takes long":                       {request, true, []step{{second, whole}, {9 * second, begin}}, nil, 0},
		"a header that is late":                            {header, true, []step{{20 * second, whole}}, errHeaderTimeout, 24 * second},
		"a header that is late at the second pod":          {header, true, []step{{second, whole}, {4 * second, hold}, {20 * second, whole}}, errHeaderTimeout, 24 * second},
		"a header that need not come before the body":      {header, false, []step{{second, part}, {20 * second, arrive}, {30 * second, ask}}, errHeaderTimeout, 34 * second},
		"a header in time":                                 {header, true, []step{{second, whole}, {4 * second, begin}}, nil, 0},
		"silence of a body":                                {idle, false, []step{{second, part}}, errIdleTimeout, 9 * second},
		"silence of a body after a while":                  {idle, false, []step{{second, part}, {8 * second, moves}}, errIdleTimeout, 16 * second},
		"silence of an app that thinks":                    {idle, true, []step{{second, whole}}, nil, 0},
		"silence of an app that thinks about a body":       {idle, false, []step{{second, part}, {8 * second, ask}}, nil, 0},
		"silence of a response":                            {idle, true, []step{{second, whole}, {30 * second, begin}, {35 * second, moves}}, errIdleTimeout, 43 * second},
		"silence of a request that waits":                  {idle, true, nil, nil, 0},
		"the response's header before the others":          {all, true, []step{{second, whole}}, errHeaderTimeout, 5 * second},
		"the request before the response's header":         {all, true, []step{{8 * second, whole}}, errRequestTimeout, 10 * second},
		"the request before the silence of its body":       {all, false, []step{{9 * second, part}}, errIdleTimeout, 17 * second},
		"the silence of a response that came just in time": {all, true, []step{{7 * second, whole}, {9 * second, begin}}, errIdleTimeout, 17 * second},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var cause error
				var at time.Duration
				var moved atomic.Uint64
				limits := newTimeouts(c.limits, c.arrived, func(err error, begun bool) { cause, at = err, time.Since(began) }, moved.Load)
				for _, s := range c.steps {
					time.Sleep(s.at - time.Since(began))
					synctest.Wait()
					moved.Add(1)
					s.is(limits)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				require.Equal(t, c.cause, cause)
				require.GreaterOrEqual(t, at, c.at)
				late := time.Duration(0)
				if errors.Is(cause, errIdleTimeout) {
					late = 2 * c.limits.Idle / looks // one until it is seen that something moved, one until it is seen that nothing did
				}
				require.LessOrEqual(t, at, c.at+late)
				require.Equal(t, cause, limits.begin(), "nothing begins that was cut")
				require.Equal(t, cause, limits.end())
			})
		})
	}
}

func TestNothingIsCutThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut := false
		limits := newTimeouts(backend.Timeouts{Request: time.Second}, true, func(error, bool) { cut = true }, func() uint64 { return 0 })
		require.NoError(t, limits.end())
		limits.forward(true)
		time.Sleep(time.Hour)
		require.False(t, cut)
		var none *timeouts
		none.forward(true)
		require.NoError(t, errors.Join(none.begin(), none.end()))
	})
}

// carriers are the ways in which a request can come: answered in place, by net/http, and by HTTP/2.
func (w *world) carriers(t *testing.T, each func(t *testing.T, do func(*http.Request) answer)) {
	h2c := h2cClient(t)
	for what, do := range map[string]func(*http.Request) answer{
		"in place": do,
		"handed over": func(r *http.Request) answer {
			r.Header.Set("Trailer", "X-Sum")
			return do(r)
		},
		"HTTP/2": func(r *http.Request) answer { return doWith(h2c, r) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			each(t, do)
		})
	}
}

func timed(request, header, idle time.Duration) func(*v1alpha1.HTTPApp) {
	return func(a *v1alpha1.HTTPApp) {
		for _, c := range []struct {
			to **metav1.Duration
			d  time.Duration
		}{{&a.Spec.Timeouts.Request, request}, {&a.Spec.Timeouts.ResponseHeader, header}, {&a.Spec.Timeouts.Idle, idle}} {
			if c.d > 0 {
				*c.to = &metav1.Duration{Duration: c.d}
			}
		}
	}
}

// drops gives a part of what flows at a time: no pause between two of them is as long as the timeouts of what is to flow, and all
// together are longer.
const (
	drops  = 30
	pause  = 50 * time.Millisecond
	enough = time.Second
)

// dripping is a body that comes in drops.
func dripping() io.Reader {
	in, out := io.Pipe()
	go func() {
		for range drops {
			<-time.After(pause)
			if _, err := out.Write([]byte("drop\n")); err != nil {
				return
			}
		}
		_ = out.Close()
	}()
	return in
}

func TestWhatIsLateIsAnsweredWith504ThatSaysWhy(t *testing.T) {
	w := newWorld(t)
	const short = 200 * time.Millisecond
	w.app("request", timed(short, 0, 0))
	w.app("header", timed(0, short, 0))
	w.app("idle", timed(0, 0, short))
	w.app("held", timed(short, 0, 0))
	stuck := at(w.pod(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else a server does not hear that its client left
		<-r.Context().Done()
	}))
	for _, app := range []string{"request", "header", "idle"} {
		w.ready(app, "", stuck)
		w.eventually("there is a pod", func() bool { return w.backend(app).Pods.Available() }) // which must not take a request's time
	}
	t.Run("each", func(t *testing.T) {
		w.carriers(t, func(t *testing.T, do func(*http.Request) answer) {
			for _, c := range []struct{ app, reason, says string }{
				{"request", reasonRequestTimeout, "app default/request did not begin its response within 200ms, as long as spec.timeouts.request allows"},
				{"header", reasonHeaderTimeout, "app default/header did not begin its response within 200ms of getting the request, as long as spec.timeouts.responseHeader allows"},
				{"held", reasonRequestTimeout, "app default/held had no ready pod for 200ms, as long as spec.timeouts.request allows"},
				{"idle", reasonIdleTimeout, "nothing more of the request's body came to app default/idle for 200ms, as long as spec.timeouts.idle allows"},
			} {
				var body io.Reader
				if c.app == "idle" {
					in, out := io.Pipe()
					defer out.Close() //nolint:errcheck // it never ends by itself
					go out.Write([]byte("beginning"))
					body = in
				}
				r := w.request("POST", c.app, "/", body)
				a := do(r)
				require.NoError(t, a.err)
				require.Equal(t, http.StatusGatewayTimeout, a.status, c.app)
				require.Equal(t, c.says+"\n", a.body)
				if body != nil {
					continue
				}
				r.Header.Set("Accept", "application/json")
				a = do(r)
				var said struct{ Reason, Message string }
				require.NoError(t, json.Unmarshal([]byte(a.body), &said))
				require.Equal(t, c.reason, said.Reason)
				require.Equal(t, c.says, said.Message)
			}
		})
	})
	for app := range map[string]string{"request": "", "header": "", "idle": "", "held": ""} {
		w.is(app, 0, 0)
	}
}

func TestWhatFlowsIsNotCut(t *testing.T) {
	w := newWorld(t)
	w.app("all", timed(enough, enough, enough))
	w.ready("all", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/down":
			for range drops {
				fmt.Fprintln(rw, "drop") //nolint:errcheck // the test sees
				rw.(http.Flusher).Flush()
				<-time.After(pause)
			}
		case "/known":
			rw.Header().Set("Content-Length", fmt.Sprint(drops*5))
			for range drops {
				fmt.Fprintln(rw, "drop") //nolint:errcheck // the test sees
				rw.(http.Flusher).Flush()
				<-time.After(pause)
			}
		default:
			_ = http.NewResponseController(rw).EnableFullDuplex()
			if r.URL.Path == "/both" {
				rw.(http.Flusher).Flush()
			}
			_, _ = io.Copy(rw, r.Body)
		}
	})))
	want := answer{status: 200, body: strings.Repeat("drop\n", drops)}
	t.Run("each", func(t *testing.T) {
		w.carriers(t, func(t *testing.T, do func(*http.Request) answer) {
			answers := make(chan answer)
			paths := []string{"/down", "/known", "/up", "/both"}
			for _, path := range paths {
				go func() {
					r := w.request("GET", "all", path, nil)
					if path == "/up" || path == "/both" {
						r = w.request("POST", "all", path, dripping())
					}
					a := do(r)
					a.header = nil
					answers <- a
				}()
			}
			for range paths {
				require.Equal(t, want, await(t, answers))
			}
		})
	})
	w.is("all", 0, 0)
}

func TestAResponseOnWhichNothingMovesEnds(t *testing.T) {
	w := newWorld(t)
	w.app("news", timed(0, 0, 300*time.Millisecond))
	left := make(chan struct{}, 3)
	w.ready("news", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) {
		<-time.After(400 * time.Millisecond) // to think is not to be silent
		fmt.Fprint(w, "beginning")           //nolint:errcheck // the test sees
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		left <- struct{}{}
	})))
	t.Run("each", func(t *testing.T) {
		w.carriers(t, func(t *testing.T, do func(*http.Request) answer) {
			a := do(w.request("GET", "news", "/", nil))
			require.Equal(t, 200, a.status)
			require.Equal(t, "beginning", a.body)
			requireBroken(t, a) // not taken for the end
		})
	})
	for range 3 {
		await(t, left)
	}
	w.is("news", 0, 0)
	require.NoError(t, testutil.GatherAndCompare(w.registry, strings.NewReader(`
# HELP kedahttp_interceptor_rejections_total Requests that the interceptor answered itself or could not answer, by reason: malformed, no_route, starting, queue_full, interceptor_full, queue_timeout, app_failing, app_asleep, app_gone, response_header_timeout, request_timeout, idle_timeout, backend, client_gone, placeholder, redirect.
# TYPE kedahttp_interceptor_rejections_total counter
kedahttp_interceptor_rejections_total{app="news",namespace="default",reason="idle_timeout"} 3
`), "kedahttp_interceptor_rejections_total"))
}

// What was written to a connection moves as long as the client takes of it, though nothing can be written for long.
func TestASlowClientIsNotASilentOne(t *testing.T) {
	const size, piece = 16 << 20, 512 << 10
	w := newWorld(t)
	w.app("files", timed(0, 0, enough))
	w.ready("files", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", fmt.Sprint(size))
		chunk := make([]byte, 64<<10)
		for range size / len(chunk) {
			if _, err := rw.Write(chunk); err != nil {
				return
			}
		}
	})))
	for what, more := range map[string]string{"in place": "", "handed over": "Trailer: X-Sum\r\n"} {
		t.Run(what, func(t *testing.T) {
			request := "GET / HTTP/1.1\r\nHost: files.test\r\nConnection: close\r\n" + more + "\r\n"
			slow, silent := w.dial(t), w.dial(t)
			for _, d := range []*dialogue{slow, silent} {
				require.NoError(t, d.Conn.(*net.TCPConn).SetReadBuffer(64<<10))
				d.say(request)
			}
			res, err := http.ReadResponse(slow.in, nil)
			require.NoError(t, err)
			for range size / piece {
				_, err := io.CopyN(io.Discard, res.Body, piece)
				require.NoError(t, err)
				<-time.After(pause)
			}
			w.is("files", 0, 0)
			_, err = io.Copy(io.Discard, silent)
			require.True(t, err == nil || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "reset"), "the other one has ended: %v", err)
		})
	}
}

func TestAnUpgradedConnectionEndsWhenNothingMovesInEitherDirection(t *testing.T) {
	w := newWorld(t)
	w.app("chat", timed(enough, enough, enough))
	upgrader := websocket.Upgrader{}
	w.ready("chat", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(rw, r, nil)
		if err != nil {
			return
		}
		defer c.Close() //nolint:errcheck // the test is over
		if r.URL.Path == "/down" {
			for range drops {
				<-time.After(pause)
				_ = c.WriteMessage(websocket.TextMessage, []byte("drop"))
			}
		}
		for {
			if _, _, err := c.ReadMessage(); err != nil {
				return
			}
		}
	})))
	dialer := websocket.Dialer{NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, w.address)
	}}
	t.Run("each", func(t *testing.T) {
		for _, path := range []string{"/down", "/up"} {
			t.Run(path[1:], func(t *testing.T) {
				t.Parallel()
				c, _, err := dialer.Dial("ws://chat.test"+path, nil)
				require.NoError(t, err)
				defer c.Close() //nolint:errcheck // the test is over
				for range drops {
					if path == "/up" {
						<-time.After(pause)
						require.NoError(t, c.WriteMessage(websocket.TextMessage, []byte("drop")))
						continue
					}
					_, m, err := c.ReadMessage()
					require.NoError(t, err)
					require.Equal(t, "drop", string(m))
				}
				require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
				_, _, err = c.ReadMessage()
				var timeout net.Error
				require.Error(t, err)
				require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "it ends by itself: %v", err)
			})
		}
	})
	w.is("chat", 0, 0)
}
