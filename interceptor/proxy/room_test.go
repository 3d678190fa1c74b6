package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"
)

const overLimit = "kedahttp_interceptor_connections_over_limit_total"

// While all have requests the next one is told so; as soon as one has none it ends for the next.
func TestAConnectionWithoutARequestEndsForTheNextOne(t *testing.T) {
	t.Parallel()
	for path, request := range map[string]string{"in place": inPlace, "by net/http": byNetHTTP} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *Config) { c.MaxConnections = 2 })
			w.app("shop")
			end := make(chan struct{})
			w.ready("shop", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					w.awaitInPod(end)
				}
			})))
			a, b := w.dial(t), w.dial(t)
			a.say(request)
			b.say(request)
			w.is("shop", 0, 2)

			refused := w.dial(t)
			answer := refused.hear("GET")
			require.Equal(t, http.StatusServiceUnavailable, answer.status)
			require.Equal(t, "The interceptor has as many connections as it may.\n", answer.body)
			require.Equal(t, "1", answer.header.Get("Retry-After"))
			refused.ends()
			w.shows(1, overLimit, "outcome=refused")
			w.shows(0, overLimit, "outcome=made_room")

			close(end)
			require.Equal(t, 200, a.hear("GET").status)
			require.Equal(t, 200, b.hear("GET").status)
			w.served(t)
			w.shows(1, overLimit, "outcome=made_room")
		})
	}
}

// served tries until a new connection is served.
func (w *world) served(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", w.address)
		require.NoError(t, err)
		defer conn.Close() //nolint:errcheck // it has been of use
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		d := &dialogue{t: t, Conn: conn}
		if _, err := io.WriteString(conn, "GET /quick HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"); err != nil {
			return false
		}
		said, err := io.ReadAll(d.Conn)
		return err == nil && strings.HasPrefix(string(said), "HTTP/1.1 200 ")
	}, patience, 50*time.Millisecond, "a new connection is served")
}

// Whoever says nothing, half of a head or no more than that he speaks HTTP/2 keeps nobody out.
func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]string{
		"nothing": "", "half a head": "GET / HTTP/1.1\r\nHost: sh", "the preface of HTTP/2": xhttp2.ClientPreface,
		"HTTP/2's first words": xhttp2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *Config) { c.MaxConnections = 3 })
			w.app("shop")
			w.ready("shop", "", at(w.pod(hello)))
			var all []*dialogue
			for range 3 {
				d := w.dial(t)
				d.say(said)
				all = append(all, d)
			}
			w.served(t)
			gone := make(chan error, len(all))
			for _, d := range all {
				go func() {
					_, err := io.Copy(io.Discard, d.in)
					gone <- err
				}()
			}
			err := await(t, gone)
			var timeout net.Error
			require.False(t, errors.As(err, &timeout) && timeout.Timeout(), err)
		})
	}
}
