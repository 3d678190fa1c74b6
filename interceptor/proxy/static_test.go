package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

func TestAFixedResponseNeitherWakesTheAppNorCounts(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RequestIDs = RequestIDsReturn })
	w.app("shop", func(a *v1alpha1.HTTPApp) {
		hosts := []string{"shop.test"}
		a.Spec.Routes = append(a.Spec.Routes,
			v1alpha1.Route{Hosts: hosts, PathPrefix: "/healthz", Static: &v1alpha1.StaticResponse{Body: "ok"}},
			v1alpha1.Route{Hosts: hosts, PathPrefix: "/old", Static: &v1alpha1.StaticResponse{
				StatusCode: http.StatusPermanentRedirect,
				Headers:    []v1alpha1.ResponseHeader{{Name: "location", Value: "/new"}, {Name: "cache-control", Value: "max-age=60"}},
			}},
			v1alpha1.Route{Hosts: hosts, PathPrefix: "/healthz", Headers: []v1alpha1.HeaderMatch{{Name: "X-Deep", Value: "1"}}},
			v1alpha1.Route{Hosts: hosts, PathPrefix: "/empty", Static: &v1alpha1.StaticResponse{StatusCode: http.StatusNoContent, Body: "not to be seen"}},
		)
	})
	direct := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, in := range []struct {
		place  string
		change func(*http.Request)
	}{
		{"in place", func(*http.Request) {}},
		{"by net/http", func(r *http.Request) { r.Header.Set("Expect", "100-continue") }},
	} {
		t.Run(in.place, func(t *testing.T) {
			ask := func(method, path string) answer {
				r := w.request(method, "shop", path, nil)
				if method == "POST" {
					r = w.request(method, "shop", path, strings.NewReader("a body"))
				}
				r.Header.Set("X-Request-Id", "an-id")
				in.change(r)
				a := doWith(direct, r)
				require.NoError(t, a.err)
				return a
			}
			for _, method := range []string{"GET", "POST", "HEAD"} {
				a := ask(method, "/healthz/x")
				require.Equal(t, 200, a.status)
				require.Equal(t, "text/plain; charset=utf-8", a.header.Get("Content-Type"))
				require.Equal(t, "2", a.header.Get("Content-Length"))
				require.NotEmpty(t, a.header.Get("Date"))
				require.Equal(t, "an-id", a.header.Get("X-Request-Id"))
				require.Equal(t, map[bool]string{true: "", false: "ok"}[method == "HEAD"], a.body)
			}
			a := ask("GET", "/old")
			require.Equal(t, http.StatusPermanentRedirect, a.status)
			require.Equal(t, "/new", a.header.Get("Location"))
			require.Equal(t, "max-age=60", a.header.Get("Cache-Control"))
			a = ask("GET", "/empty")
			require.Equal(t, http.StatusNoContent, a.status)
			require.Empty(t, a.header.Get("Content-Length"))
			require.Empty(t, a.body)
		})
	}
	require.Equal(t, queue.Reading{}, w.counts("shop").Read(), "nobody needs the app")

	d := w.dial(t)
	for range 3 {
		d.say("GET /healthz HTTP/1.1\r\nHost: shop.test\r\n\r\n")
		require.Equal(t, "ok", d.hear("GET").body)
	}
	waits := background(func() *http.Request {
		r := w.request("GET", "shop", "/healthz", nil)
		r.Header.Set("X-Deep", "1")
		return r
	}())
	w.is("shop", 1, 0)
	w.ready("shop", "", at(w.pod(hello)))
	require.Equal(t, "hello", await(t, waits).body, "more headers go first")
	n, err := testutil.GatherAndCount(w.registry, "kedahttp_interceptor_rejections_total")
	require.NoError(t, err)
	require.Zero(t, n)
}

// A client may say all that it has to say together with its request.
func TestAConnectionEndsBehindTheAnswerToAClientThatSaysNoMore(t *testing.T) {
	w := newWorld(t)
	w.app("shop", func(a *v1alpha1.HTTPApp) {
		a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{Hosts: []string{"shop.test"}, PathPrefix: "/healthz", Static: &v1alpha1.StaticResponse{Body: "ok"}})
	})
	for what, c := range map[string]struct {
		request string
		status  int
	}{
		"static":   {"GET /healthz HTTP/1.1\r\nHost: shop.test\r\n\r\n", 200},
		"no route": {"GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n", 404},
	} {
		for _, how := range []string{"plain", "TLS"} {
			t.Run(what+" "+how, func(t *testing.T) {
				for range 20 { // the end is heard of with the request, before it or behind
					conn := w.dialBy(t, how)
					for range 2 {
						conn.say(c.request)
						require.Equal(t, c.status, conn.hear(http.MethodGet).status)
					}
					conn.say(c.request)
					require.NoError(t, closeWrite(conn.Conn))
					require.Equal(t, c.status, conn.hear(http.MethodGet).status)
					conn.ends()
				}
			})
		}
	}
}
