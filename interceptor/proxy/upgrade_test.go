package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// upgrading are the heads of the same request, by the ways that it takes.
var upgrading = map[string]string{
	"in place":          "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
	"in place with TLS": "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
	"by net/http":       "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"

// halfCloser is a connection of which one direction can be ended alone.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// upgrade has a client ask for another protocol by each of the ways, of a pod that is given its connection behind the head.
func upgrade(t *testing.T, pod func(in *bufio.Reader, conn *net.TCPConn), client func(t *testing.T, w *world, d *dialogue, head string), change ...func(*v1alpha1.HTTPApp)) {
	for how, head := range upgrading {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			w.app("a", change...)
			w.ready("a", "", bytePod(t, func(conn net.Conn) {
				in := bufio.NewReader(conn)
				if _, err := http.ReadRequest(in); err == nil {
					pod(in, conn.(*net.TCPConn))
				}
			}))
			w.eventually("there is a pod", func() bool { return w.backend("a").Pods.Available() })
			d := w.dialBy(t, how)
			client(t, w, d, head)
			_ = d.Close()
			w.is("a", 0, 0)
			w.shows(0, "kedahttp_interceptor_open_connections", "peer=client", "state=upgraded")
			w.shows(0, "kedahttp_interceptor_open_connections", "peer=pod")
		})
	}
}

// dialBy connects by one of the ways.
func (w *world) dialBy(t *testing.T, how string) *dialogue {
	if !strings.HasSuffix(how, "TLS") {
		return w.dial(t)
	}
	s := w.secure()
	s.client.ServerName = "a.test"
	conn, err := tls.Dial("tcp", s.address, s.client)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return &dialogue{t, conn, bufio.NewReader(conn)}
}

// rest is what comes until the other end has said all.
func (d *dialogue) rest() string {
	d.t.Helper()
	all, err := io.ReadAll(d.in)
	require.NoError(d.t, err)
	return string(all)
}

func (d *dialogue) closeWrite() {
	d.t.Helper()
	require.NoError(d.t, d.Conn.(halfCloser).CloseWrite())
}

func TestWhatComesBehindTheHeadsOfAnUpgradeBelongsToTheOtherProtocol(t *testing.T) {
	upgrade(t, func(in *bufio.Reader, conn *net.TCPConn) {
		early := make([]byte, 5)
		_, _ = io.WriteString(conn, switching+"hi")
		_, _ = io.ReadFull(in, early)
		_, _ = fmt.Fprintf(conn, " %s", early)
	}, func(t *testing.T, _ *world, d *dialogue, head string) {
		d.say(head + "early")
		got := d.hear("HEAD")
		require.Equal(t, 101, got.status)
		require.Equal(t, []string{"foo", "Upgrade"}, []string{got.header.Get("Upgrade"), got.header.Get("Connection")})
		require.Equal(t, "hi early", d.rest())
	})
}

func TestEitherSideOfAnUpgradedConnectionMayHaveSaidAllBeforeTheOther(t *testing.T) {
	t.Run("the client", func(t *testing.T) {
		upgrade(t, func(in *bufio.Reader, conn *net.TCPConn) {
			_, _ = io.WriteString(conn, switching)
			all, _ := io.ReadAll(in)
			_, _ = fmt.Fprintf(conn, "you said %s", all)
		}, func(t *testing.T, _ *world, d *dialogue, head string) {
			d.say(head)
			require.Equal(t, 101, d.hear("HEAD").status)
			d.say("all")
			d.closeWrite()
			require.Equal(t, "you said all", d.rest())
		})
	})
	t.Run("the pod", func(t *testing.T) {
		said := make(chan string, 1)
		upgrade(t, func(in *bufio.Reader, conn *net.TCPConn) {
			_, _ = io.WriteString(conn, switching+"all")
			_ = conn.CloseWrite()
			all, _ := io.ReadAll(in)
			said <- string(all)
		}, func(t *testing.T, w *world, d *dialogue, head string) {
			d.say(head)
			require.Equal(t, 101, d.hear("HEAD").status)
			require.Equal(t, "all", d.rest())
			w.is("a", 0, 1)
			d.say("and I ")
			d.say("listened")
			d.closeWrite()
			require.Equal(t, "and I listened", await(t, said))
		})
	})
}

// The end of what one says may come together with the last of it, or after any silence.
func TestTheEndOfAnUpgradedConnectionIsNotMissed(t *testing.T) {
	next := make(chan bool)
	upgrade(t, func(in *bufio.Reader, conn *net.TCPConn) {
		_, _ = io.WriteString(conn, switching)
		_, _ = in.ReadByte()
		_, _ = io.WriteString(conn, "b")
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, in)
		next <- true
	}, func(t *testing.T, _ *world, d *dialogue, head string) {
		for range 50 {
			other := &dialogue{d.t, d.Conn, d.in}
			if _, ok := d.Conn.(*net.TCPConn); ok {
				conn, err := net.Dial("tcp", d.RemoteAddr().String())
				require.NoError(t, err)
				require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
				other = &dialogue{t, conn, bufio.NewReader(conn)}
			}
			other.say(head)
			require.Equal(t, 101, other.hear("HEAD").status)
			other.say("a")
			require.Equal(t, "b", other.rest())
			other.closeWrite()
			await(t, next)
			require.NoError(t, other.Close())
			if other.Conn == d.Conn {
				return
			}
		}
		require.NoError(t, d.Close())
	})
}

func TestWhoeverIsGoneTakesTheOtherSideOfAnUpgradedConnectionAlong(t *testing.T) {
	t.Run("the client", func(t *testing.T) {
		ended := make(chan bool)
		upgrade(t, func(in *bufio.Reader, conn *net.TCPConn) {
			_, _ = io.WriteString(conn, switching)
			_, _ = io.Copy(io.Discard, in)
			ended <- true
		}, func(t *testing.T, w *world, d *dialogue, head string) {
			d.say(head)
			require.Equal(t, 101, d.hear("HEAD").status)
			w.is("a", 0, 1)
			w.shows(1, "kedahttp_interceptor_open_connections", "peer=client", "state=upgraded")
			w.shows(0, "kedahttp_interceptor_open_connections", "peer=client", "state=busy")
			require.NoError(t, d.Close())
			await(t, ended)
		})
	})
	t.Run("the pod", func(t *testing.T) {
		upgrade(t, func(in *bufio.Reader, conn *net.TCPConn) {
			_, _ = io.WriteString(conn, switching)
			_, _ = in.ReadByte()
			_ = conn.SetLinger(0) // as a process that was killed with something unread
		}, func(t *testing.T, _ *world, d *dialogue, head string) {
			d.say(head)
			require.Equal(t, 101, d.hear("HEAD").status)
			d.say("x")
			_, err := io.Copy(io.Discard, d.in)
			var timeout net.Error
			if err != nil {
				require.NotErrorAs(t, err, &timeout)
			}
		})
	})
}

// With one side that has said all, too.
func TestAnUpgradedConnectionThatIsHalfClosedEndsWhenNothingMoves(t *testing.T) {
	ended := make(chan bool)
	upgrade(t, func(in *bufio.Reader, conn *net.TCPConn) {
		_, _ = io.WriteString(conn, switching)
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, in)
		ended <- true
	}, func(t *testing.T, w *world, d *dialogue, head string) {
		d.say(head)
		require.Equal(t, 101, d.hear("HEAD").status)
		require.Empty(t, d.rest())
		await(t, ended)
		w.is("a", 0, 0)
	}, timed(0, 0, 200*time.Millisecond))
}

func TestMuchIsSaidBothWaysAtOnceOnAnUpgradedConnection(t *testing.T) {
	much := make([]byte, 8<<20)
	for i := range much {
		much[i] = byte(rand.Uint32())
	}
	upgrade(t, func(in *bufio.Reader, conn *net.TCPConn) {
		_, _ = io.WriteString(conn, switching)
		_, _ = io.Copy(conn, in)
	}, func(t *testing.T, _ *world, d *dialogue, head string) {
		d.say(head)
		require.Equal(t, 101, d.hear("HEAD").status)
		go func() {
			_, _ = d.Write(much)
			_ = d.Conn.(halfCloser).CloseWrite()
		}()
		require.True(t, bytes.Equal(much, []byte(d.rest())))
	})
}

// A shutdown does not wait for connections that were upgraded, and does not end them either: whoever drains knows them by their count.
func TestAShutdownLeavesUpgradedConnectionsToWhoeverDrains(t *testing.T) {
	upgrade(t, func(in *bufio.Reader, conn *net.TCPConn) {
		_, _ = io.WriteString(conn, switching)
		_, _ = io.Copy(conn, in)
	}, func(t *testing.T, w *world, d *dialogue, head string) {
		d.say(head)
		require.Equal(t, 101, d.hear("HEAD").status)
		w.shows(1, "kedahttp_interceptor_open_connections", "peer=client", "state=upgraded")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, w.server.Shutdown(ctx))
		w.is("a", 0, 1)
		d.say("still here")
		d.closeWrite()
		require.Equal(t, "still here", d.rest())
	})
}

func TestAnUpgradeWaitsForAPod(t *testing.T) {
	for how, head := range upgrading {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			w.app("a")
			d := w.dialBy(t, how)
			d.say(head)
			w.is("a", 1, 0)
			w.ready("a", "", bytePod(t, func(conn net.Conn) {
				in := bufio.NewReader(conn)
				if _, err := http.ReadRequest(in); err == nil {
					_, _ = io.WriteString(conn, switching)
					_, _ = io.Copy(conn, in)
				}
			}))
			got := d.hear("HEAD")
			require.Equal(t, 101, got.status)
			require.NotEmpty(t, got.header.Get("X-KedaHTTP-Cold-Start"))
			w.is("a", 0, 1)
			d.say("hello")
			d.closeWrite()
			require.Equal(t, "hello", d.rest())
			w.is("a", 0, 0)
		})
	}
}

func TestTheAccessLogSaysHowMuchWasSaidOnUpgradedConnections(t *testing.T) {
	for how, head := range upgrading {
		t.Run(how, func(t *testing.T) {
			j := newJournal(t)
			w := newWorld(t, func(c *Config) { c.AccessLog = j.log })
			w.app("a")
			w.ready("a", "", bytePod(t, func(conn net.Conn) {
				in := bufio.NewReader(conn)
				if _, err := http.ReadRequest(in); err == nil {
					_, _ = io.WriteString(conn, switching+"hello")
					_, _ = io.Copy(io.Discard, in)
				}
			}))
			d := w.dialBy(t, how)
			d.say(head)
			require.Equal(t, 101, d.hear("HEAD").status)
			d.say("hi")
			d.closeWrite()
			require.Equal(t, "hello", d.rest())
			l := j.take(1)[0]
			require.Equal(t, []any{"GET", "/", 101., 2., 5.}, []any{l["method"], l["path"], l["status"], l["bytesIn"], l["bytesOut"]})
		})
	}
}

// Apps and clients are told of an upgrade what the standard library tells them.
func TestUpgradesAreTheSameAsByTheStandardLibrary(t *testing.T) {
	const ok = "Connection: Upgrade\r\nUpgrade: foo\r\n"
	type told struct {
		app          http.Header
		status       int
		header       http.Header
		interim      int
		conversation string
	}
	for what, c := range map[string]struct{ fields, response string }{
		"an upgrade":                {ok, switching},
		"in another case":           {"connection: keep-alive, uPGRADE\r\nUPGRADE: Foo/1\r\n", "HTTP/1.1 101 Yes\r\nconnection: upgrade\r\nupgrade: fOO/1\r\n\r\n"},
		"one of several":            {"Connection: Upgrade\r\nUpgrade: foo, bar\r\n", "HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: foo, bar\r\n\r\n"},
		"two fields":                {ok + "Upgrade: bar\r\n", switching},
		"two fields, one of HTTP/2": {ok + "Upgrade: h2c\r\n", switching},
		"with a length":             {ok + "Content-Length: 0\r\n", switching},
		"with fields for this hop":  {ok + "Connection: X-A\r\nX-A: b\r\nKeep-Alive: 5\r\nTE: trailers\r\n", switching},
		"with fields for the other": {ok + "Sec-WebSocket-Key: a\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\nSec-WebSocket-Accept: b\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"},
		"with hints before":         {ok, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + switching},
		"refused":                   {ok, "HTTP/1.1 426 No\r\nUpgrade: bar\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello"},
		"ignored":                   {ok, "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello"},
		"to another protocol":       {ok, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bar\r\n\r\n"},
		"to none":                   {ok, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n"},
		"not of this connection":    {ok, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\n\r\n"},
		"not asked for":             {"Upgrade: foo\r\n", switching},
	} {
		t.Run(what, func(t *testing.T) {
			apps := make(chan http.Header, 1)
			pod := bytePod(t, func(conn net.Conn) {
				in := bufio.NewReader(conn)
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				apps <- r.Header
				_, _ = io.WriteString(conn, c.response)
				if strings.Contains(c.response, "/1.1 101 ") {
					_, _ = io.Copy(conn, in)
				}
			})
			w := newWorld(t)
			w.app("a")
			w.ready("a", "", pod)
			w.eventually("there is a pod", func() bool { return w.backend("a").Pods.Available() })
			ask := func(address, target string) (got told) {
				conn, err := net.Dial("tcp", address)
				require.NoError(t, err)
				defer conn.Close() //nolint:errcheck // the test is over
				require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
				d := &dialogue{t, conn, bufio.NewReader(conn)}
				d.say("GET " + target + " HTTP/1.1\r\nHost: a.test\r\n" + c.fields + "\r\n")
				res := &http.Response{}
				for {
					res, err = http.ReadResponse(d.in, &http.Request{Method: "GET"})
					require.NoError(t, err)
					if res.StatusCode == 101 || res.StatusCode >= 200 {
						break
					}
					got.interim = res.StatusCode
				}
				got.app, got.status, got.header = await(t, apps), res.StatusCode, res.Header
				got.header.Del("Date")
				got.app.Del("User-Agent")
				if got.app.Get("Content-Length") == "0" {
					got.app.Del("Content-Length") // without a body it says nothing
				}
				got.app.Del("X-Forwarded-Proto")
				if v := got.header["Connection"]; len(v) > 0 {
					v[0] = strings.ToLower(v[0])
				}
				if v := got.app["Connection"]; len(v) > 0 {
					v[0] = strings.ToLower(v[0])
				}
				switch {
				case got.status == 101:
					d.say("hello")
					d.closeWrite()
					got.conversation = strings.ToLower(d.rest())
				case got.status == 502: // ours says more
					got.header = nil
				default:
					body, err := io.ReadAll(res.Body)
					require.NoError(t, err)
					got.conversation = string(body)
				}
				if got.header != nil && got.status != 101 {
					got.header.Del("Connection") // it may be closed or not
				}
				return got
			}
			want := ask(reference(t, pod, false), "/")
			require.Equal(t, want, ask(w.address, "/"), "in place")
			require.Equal(t, want, ask(w.address, "http://a.test/"), "by net/http")
			require.Equal(t, want, ask(w.secure().tunnel(t), "/"), "in place with TLS")
		})
	}
}
