package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/hold"
)

// What a client says by HTTP/2 is one request to a pod, whatever is in it: the pod, too, sees where it ends and whom it is for.
func TestWhatComesByHTTP2IsOneRequestOfHTTP1(t *testing.T) {
	heads := make(chan string, 10)
	pod := bytePod(t, func(conn net.Conn) {
		var all []byte
		for in := make([]byte, 4096); !strings.Contains(string(all), "\r\n\r\n"); {
			n, err := conn.Read(in)
			if err != nil {
				return
			}
			all = append(all, in[:n]...)
		}
		heads <- string(all)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	w := newWorld(t)
	w.app("a")
	w.ready("a", "", pod)
	w.eventually("there is a pod", func() bool { return w.backend("a").Pods.Available() })
	bare := []string{":method", "GET", ":scheme", "http", ":path", "/"}
	for what, fields := range map[string][]string{
		"two Hosts":                  append(slices.Clone(bare), "host", "a.test", "host", "b.test"),
		"two Hosts, one empty":       append(slices.Clone(bare), "host", "a.test", "host", ""),
		"two Hosts, the first empty": append(slices.Clone(bare), "host", "", "host", "a.test"),
		"no Host":                    bare,
		"a line end in the path":     to("GET", "/ HTTP/1.1\r\nX: y"),
		"a space in the path":        to("GET", "/a b"),
		"a NUL in the path":          to("GET", "/\x00"),
		"a space in the method":      to("GET / HTTP/1.1\r\nX:", "/"),
		"a line end in the host":     {":method", "GET", ":scheme", "http", ":authority", "a.test\r\nX: y", ":path", "/"},
		"a user in the host":         {":method", "GET", ":scheme", "http", ":authority", "u@a.test", ":path", "/"},
		"a line end in a value":      with("x-a", "b\r\nx-c: d"),
		"a NUL in a value":           with("x-a", "b\x00"),
		"a line end in a name":       with("x-a: b\r\nx-c", "d"),
		"a colon in a name":          with("x-a:", "d"),
		"a space in a name":          with("content-length ", "5"),
		"Transfer-Encoding":          with("transfer-encoding", "chunked"),
		"Connection":                 with("connection", "content-length"),
		"Upgrade":                    with("upgrade", "h2c"),
		"another TE":                 with("te", "trailers, chunked"),
		"a length with a sign":       with("content-length", "+0"),
		"a length with a space":      with("content-length", "0 "),
		"an empty length":            with("content-length", ""),
		"lengths that disagree":      with("content-length", "0", "content-length", "1"),
		"a length and no body":       with("content-length", "1"),
	} {
		got := ask2(t, w.address, sent2{fields: fields}.frames2())
		require.True(t, got.reset || strings.HasPrefix(got.status, "4"), "%s: %+v", what, got)
	}
	require.Empty(t, heads)
	require.Equal(t, "200", ask2(t, w.address, sent2{fields: with("host", "a.test", "content-length", "0", "content-length", "0")}.frames2()).status)
	head := strings.ToLower(await(t, heads))
	require.Equal(t, 1, strings.Count(head, "\r\nhost: "))
	require.Equal(t, 1, strings.Count(head, "\r\ncontent-length: "))
	w.is("a", 0, 0)
}

func TestAFixedResponseByHTTP2HasTheRequestsID(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RequestIDs = RequestIDsReturn })
	w.app("a", func(a *v1alpha1.HTTPApp) {
		a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{Hosts: []string{"a.test"}, PathPrefix: "/healthz", Static: &v1alpha1.StaticResponse{Body: "ok"}})
	})
	got := ask2(t, w.address, sent2{fields: to("GET", "/healthz", "x-request-id", "an-id")}.frames2())
	require.Equal(t, "ok", got.body)
	require.Equal(t, "an-id", got.header.Get("X-Request-Id"))
}

// Many short fields take far more memory than their letters.
func TestRequestsOfHTTP2ThatWaitAreCountedWithTheMemoryOfTheirFields(t *testing.T) {
	w := newWorldIn(t, hold.NewSpace(10, 1<<20), &http.Server{})
	w.app("a")
	var many []string
	for range 5000 {
		many = append(many, "x", "")
	}
	got := ask2(t, w.address, sent2{fields: with(many...)}.frames2())
	require.Equal(t, "503", got.status)
	require.Contains(t, got.body, "--max-held-bytes")
	w.is("a", 0, 0)
}

// A client may send as much of a body as its window allows, whether it is read or not.
func TestBodiesOfHTTP2ThatWaitTakeOnlySoMuch(t *testing.T) {
	for how, fields := range map[string][]string{"in place": nil, "by the standard library": {"expect", "100-continue"}} {
		t.Run(how, func(t *testing.T) {
			space := hold.NewSpace(10, 1<<20)
			w := newWorldIn(t, space, &http.Server{})
			w.app("a")
			send := func(size, parts int) <-chan answer2 {
				done := make(chan answer2, 1)
				body := sent2{fields: to("POST", "/", fields...), body: strings.Repeat("x", size), parts: parts}
				go func() { done <- ask2(t, w.address, body.frames2()) }()
				return done
			}
			got := await(t, send(200<<10, 20))
			require.Equal(t, "503", got.status)
			require.NotEmpty(t, got.header.Get("Retry-After"))
			require.Contains(t, got.body, "--max-held-bytes")
			w.is("a", 0, 0)

			fits := func(n int) bool {
				line := w.backend("a").Line
				if !line.Buffer(n) {
					return false
				}
				line.Unbuffer(n)
				return true
			}
			const most = 100 << 10 // of an eighth of the space
			first := send(most, 10)
			w.is("a", 1, 0)
			w.eventually("all of the body has come", func() bool { return !fits(1<<17 - most + 1) })
			require.Equal(t, "503", await(t, send(most, 10)).status)
			w.is("a", 1, 0)
			w.ready("a", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
				n, err := io.Copy(io.Discard, r.Body)
				fmt.Fprint(rw, n, err)
			})))
			require.Equal(t, fmt.Sprint(most, nil), await(t, first).body)
			w.is("a", 0, 0)
			require.True(t, fits(1<<17), "all space was given back")
		})
	}
}
