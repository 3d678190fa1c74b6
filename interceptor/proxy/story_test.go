package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/accesslog"
)

// journal is an access log that a test reads.
type journal struct {
	t   testing.TB
	log *accesslog.Log

	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func newJournal(t testing.TB, change ...func(*accesslog.Config)) *journal {
	j := &journal{t: t}
	config := accesslog.Config{To: j, OneIn: 1}
	for _, c := range change {
		c(&config)
	}
	j.log = accesslog.New(config)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { j.log.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return j
}

type line map[string]any

// take waits for so many lines and takes them.
func (j *journal) take(n int) (lines []line) {
	j.t.Helper()
	require.Eventually(j.t, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return strings.Count(j.text.String(), "\n") >= n
	}, patience, time.Millisecond, "the lines are written")
	j.mu.Lock()
	defer j.mu.Unlock()
	for text := range strings.Lines(j.text.String()) {
		l := line{}
		require.NoError(j.t, json.Unmarshal([]byte(text), &l), text)
		lines = append(lines, l)
	}
	require.Len(j.t, lines, n, j.text.String())
	j.text.Reset()
	return lines
}

func TestTheAccessLogTellsOfEachRequest(t *testing.T) {
	for path, request := range bothPaths {
		t.Run(path, func(t *testing.T) {
			j := newJournal(t)
			w := newWorld(t, func(c *Config) { c.AccessLog, c.RequestIDs = j.log, RequestIDsForward })
			w.app("shop")
			pod := at(w.pod(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if r.URL.Path == "/chunks" {
					fmt.Fprint(w, "hel") //nolint:errcheck // the test sees
					_ = http.NewResponseController(w).Flush()
					fmt.Fprint(w, "lo") //nolint:errcheck // the test sees
					return
				}
				hello(w, r)
			}))
			w.ready("shop", "", pod)
			w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
			d := w.dial(t)
			ask := func(method, request, more string) line {
				t.Helper()
				d.say(request + more)
				d.hear(method)
				l := j.take(1)[0]
				require.Positive(t, l["duration"])
				at, err := time.Parse(time.RFC3339Nano, l["time"].(string))
				require.NoError(t, err)
				require.WithinDuration(t, time.Now(), at, patience)
				delete(l, "duration")
				delete(l, "time")
				return l
			}
			want := func(change line) line {
				l := line{
					"app": "default/shop", "client": "127.0.0.1", "method": "GET", "scheme": "http", "host": "shop.test", "path": "/a", "protocol": "HTTP/1.1",
					"status": 200., "bytesIn": 0., "bytesOut": 5., "pod": pod, "requestId": "mine",
				}
				for k, v := range change {
					if l[k] = v; v == nil {
						delete(l, k)
					}
				}
				return l
			}
			secrets := "X-Request-Id: mine\r\nAuthorization: Bearer secret\r\nCookie: secret=1\r\nX-Forwarded-For: 6.6.6.6\r\n"
			require.Equal(t, want(nil), ask("GET", fmt.Sprintf(request, secrets), ""))

			head := strings.Replace(fmt.Sprintf(request, secrets), "GET", "HEAD", 1)
			require.Equal(t, want(line{"method": "HEAD", "bytesOut": 0.}), ask("HEAD", head, ""))

			post := strings.Replace(request, "GET /a", "POST /%%22%%0a/b", 1)
			require.Equal(t, want(line{"method": "POST", "path": "/%22%0a/b", "bytesIn": 9.}),
				ask("POST", fmt.Sprintf(post, secrets+"Content-Length: 9\r\n"), "my secret"))
			require.Equal(t, want(line{"method": "POST", "path": "/%22%0a/b", "bytesIn": 9.}),
				ask("POST", fmt.Sprintf(post, secrets+"Transfer-Encoding: chunked\r\n"), "3\r\nmy \r\n6\r\nsecret\r\n0\r\n\r\n"))

			large := strings.Repeat("x", 300_000)
			require.Equal(t, want(line{"method": "POST", "path": "/%22%0a/b", "bytesIn": 300_000.}),
				ask("POST", fmt.Sprintf(post, secrets+"Content-Length: 300000\r\n"), large))
			require.Equal(t, want(line{"method": "POST", "path": "/%22%0a/b", "bytesIn": 300_000.}),
				ask("POST", fmt.Sprintf(post, secrets+"Transfer-Encoding: chunked\r\n"), "493e0\r\n"+large+"\r\n0\r\n\r\n"))

			chunks := strings.Replace(request, "/a", "/chunks", 1)
			require.Equal(t, want(line{"path": "/chunks"}), ask("GET", fmt.Sprintf(chunks, secrets), ""))

			nobody := strings.Replace(request, "shop.test", "nobody.test", 1)
			got := ask("GET", fmt.Sprintf(nobody, secrets), "")
			require.Positive(t, got["bytesOut"])
			delete(got, "bytesOut")
			require.Equal(t, want(line{"app": nil, "host": "nobody.test", "status": 404., "reason": "no_route", "pod": nil, "bytesOut": nil}), got)
		})
	}
}

func TestTheAccessLogTellsWhyARequestTookLong(t *testing.T) {
	for path, request := range bothPaths {
		t.Run(path, func(t *testing.T) {
			j := newJournal(t)
			w := newWorld(t, func(c *Config) { c.AccessLog = j.log })
			w.app("shop")
			d := w.dial(t)
			d.say(fmt.Sprintf(request, ""))
			w.is("shop", 1, 0)
			w.ready("shop", "", at(w.pod(hello)))
			require.Equal(t, 200, d.hear("GET").status)
			l := j.take(1)[0]
			require.Equal(t, "waited", l["coldStart"])
			require.Positive(t, l["held"])
			require.LessOrEqual(t, l["held"], l["duration"])

			// A pod that breaks the connection, each time.
			w.ready("shop", "")
			w.eventually("there is no pod", func() bool { return w.backend("shop").Pods.Ready() == 0 })
			w.ready("shop", "", bytePod(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }))
			w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
			d.say(fmt.Sprintf(request, ""))
			require.Equal(t, http.StatusBadGateway, d.hear("GET").status)
			l = j.take(1)[0]
			require.Equal(t, 1., l["retries"])
			require.Equal(t, "backend", l["reason"])
			require.Equal(t, 502., l["status"])

			// A client that leaves.
			w.ready("shop", "")
			w.eventually("there is no pod", func() bool { return w.backend("shop").Pods.Ready() == 0 })
			d = w.dial(t)
			d.say(fmt.Sprintf(request, ""))
			w.is("shop", 1, 0)
			require.NoError(t, d.Close())
			l = j.take(1)[0]
			require.Equal(t, "client_gone", l["reason"])
			require.Equal(t, 499., l["status"])
		})
	}
}

func TestTheAccessLogTellsOfWhatWasNotUnderstoodAndWhoAnsweredInstead(t *testing.T) {
	j := newJournal(t)
	w := newWorld(t, func(c *Config) { c.AccessLog = j.log })
	d := w.dial(t)
	d.say("GET http://user:secret@shop.test/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
	require.Equal(t, http.StatusBadRequest, d.hear("GET").status)
	l := j.take(1)[0]
	require.Equal(t, "malformed", l["reason"])
	require.NotContains(t, fmt.Sprint(l), "secret")

	w.app("page", func(a *v1alpha1.HTTPApp) {
		a.Spec.ColdStart = &v1alpha1.ColdStart{Placeholder: &v1alpha1.Placeholder{Body: "wait"}}
		a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{Hosts: []string{"page.test"}, PathPrefix: "/static", Static: &v1alpha1.StaticResponse{Body: "ok"}})
	})
	for path, request := range bothPaths {
		request = strings.Replace(fmt.Sprintf(request, ""), "shop.test", "page.test", 1)
		d = w.dial(t)
		d.say(request)
		require.Equal(t, "wait", d.hear("GET").body, path)
		l = j.take(1)[0]
		require.Equal(t, []any{"placeholder", "default/page", 4.}, []any{l["coldStart"], l["app"], l["bytesOut"]}, path)
		d.say(strings.Replace(request, "/a", "/static", 1))
		require.Equal(t, "ok", d.hear("GET").body, path)
		l = j.take(1)[0]
		require.Equal(t, []any{nil, "default/page", 200., 2.}, []any{l["reason"], l["app"], l["status"], l["bytesOut"]}, path)
	}
}

func TestTheAccessLogBelievesTrustedProxiesAlone(t *testing.T) {
	j := newJournal(t)
	w := newWorld(t, trustLoopback, func(c *Config) { c.AccessLog = j.log })
	for path, request := range bothPaths {
		for given, want := range map[string]string{
			"": "127.0.0.1", "6.6.6.6": "6.6.6.6", "5.5.5.5, 6.6.6.6, 127.0.0.9": "6.6.6.6", "5.5.5.5, nonsense": "127.0.0.1", "fd00::1": "fd00::1", "127.0.0.3, 127.0.0.2": "127.0.0.3",
		} {
			d := w.dial(t)
			d.say(fmt.Sprintf(request, "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: "+given+"\r\n"))
			require.Equal(t, http.StatusNotFound, d.hear("GET").status)
			require.Equal(t, want, j.take(1)[0]["client"], path+" "+given)
		}
	}
}

func TestUpgradesAndHTTP2AreInTheAccessLog(t *testing.T) {
	j := newJournal(t)
	w := newWorld(t, func(c *Config) { c.AccessLog = j.log })
	w.app("shop")
	w.ready("shop", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })))
	a := doWith(h2cClient(t), w.request("POST", "shop", "/x", strings.NewReader("hello")))
	require.Equal(t, "hello", a.body)
	l := j.take(1)[0]
	require.Equal(t, []any{"HTTP/2.0", 5., 5.}, []any{l["protocol"], l["bytesIn"], l["bytesOut"]})

	w.ready("shop", "", bytePod(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n")
		_, _ = c.Read(make([]byte, 1))
	}))
	w.eventually("the other pod answers", func() bool {
		d := w.dial(t)
		d.say("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n")
		status := d.hear("HEAD").status
		require.NoError(t, d.Close())
		return j.take(1)[0]["status"] == 101. && status == 101
	})
}

func TestOnlySomeRequestsAreSampled(t *testing.T) {
	j := newJournal(t, func(c *accesslog.Config) { c.OneIn = 1 << 31 })
	w := newWorld(t, func(c *Config) { c.AccessLog = j.log })
	w.app("shop")
	w.ready("shop", "", at(w.pod(hello)))
	for range 20 {
		require.Equal(t, 200, do(w.request("GET", "shop", "/", nil)).status)
	}
	require.Equal(t, 404, do(w.request("GET", "nobody", "/", nil)).status)
	require.Equal(t, "no_route", j.take(1)[0]["reason"])
}

func TestWhatIsToldOfRequestsWithTLSIsTheSame(t *testing.T) {
	for path, request := range bothPaths {
		t.Run(path, func(t *testing.T) {
			j := newJournal(t)
			w := newWorld(t, tellMore, func(c *Config) { c.AccessLog = j.log })
			w.app("shop")
			seen := make(chan http.Header, 1)
			w.ready("shop", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) {
				seen <- r.Header
				hello(w, r)
			})))
			w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
			w.address = w.secure().tunnel(t)
			d := w.dial(t)
			d.say(fmt.Sprintf(request, "Forwarded: for=6.6.6.6\r\n"))
			a := d.hear("GET")
			require.Equal(t, "hello", a.body)
			got := await(t, seen)
			require.Equal(t, []string{"for=127.0.0.1;host=shop.test;proto=https"}, got["Forwarded"])
			require.Equal(t, got["X-Request-Id"], a.header["X-Request-Id"])
			l := j.take(1)[0]
			require.Equal(t, []any{"https", "127.0.0.1", "/a", "HTTP/1.1", 5., a.header.Get("X-Request-Id")},
				[]any{l["scheme"], l["client"], l["path"], l["protocol"], l["bytesOut"], l["requestId"]})
		})
	}
}
