package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/http1"
	"github.com/kedahttp/kedahttp/interceptor/http2"
)

// closing is a pod that closes a connection when nobody can know it yet: after it was looked at, and before anything is sent.
type closing struct {
	t     testing.TB
	mu    sync.Mutex
	conns map[string]net.Conn
	// next is closed when the next connection is that is used, if it is to be.
	next atomic.Pointer[chan struct{}]
	// seen are the requests that have come to it whole.
	seen atomic.Int64
}

func newClosing(t testing.TB) *closing { return &closing{t: t, conns: map[string]net.Conn{}} }

// configure makes a server such a pod.
func (c *closing) configure(s *http.Server) {
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conns[conn.RemoteAddr().String()] = conn
		return ctx
	}
	s.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		c.seen.Add(1)
		if r.URL.Path == "/break" {
			panic(http.ErrAbortHandler)
		}
		rw.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
		_, _ = rw.Write(body)
	})
}

// strike closes the pod's end of a connection, if that is to be done, and waits until this end has heard of it.
func (c *closing) strike(conn *net.TCPConn) {
	next := c.next.Swap(nil)
	if next == nil {
		return
	}
	defer close(*next)
	c.mu.Lock()
	pods := c.conns[conn.LocalAddr().String()]
	c.mu.Unlock()
	raw, err := conn.SyscallConn()
	if err == nil {
		err = c.hasRead(pods, raw)
	}
	if err == nil {
		err = pods.Close()
	}
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
			_, err := unix.Poll(poll, int(patience.Milliseconds()))
			if err != nil || poll[0].Revents&unix.POLLRDHUP == 0 {
				c.t.Errorf("no end came: %v", err)
			}
		})
	}
	if err != nil && !errors.Is(err, net.ErrClosed) { // with TLS it may have heard of the end otherwise
		c.t.Error(err)
	}
}

// hasRead waits until the pod has read all that was sent to it. Else its system would reset the connection, as it does when a pod is killed:
// then nobody can know what the pod has read, and nothing is sent again.
func (c *closing) hasRead(pods net.Conn, sent syscall.RawConn) error {
	if over, ok := pods.(*tls.Conn); ok {
		pods = over.NetConn()
	}
	raw, err := pods.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // between two looks
		unread := -1
		if unacknowledged(sent) == 0 {
			var failed error
			if err := raw.Control(func(fd uintptr) { unread, failed = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }); err != nil || failed != nil {
				return errors.Join(err, failed)
			}
		}
		if unread == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the pod does not read what was sent to it: %d bytes", unread)
		}
	}
}

// strikes has the next connection that is used closed.
func (c *closing) strikes(w *world) (closed <-chan struct{}) {
	next := make(chan struct{})
	c.next.Store(&next)
	w.server.links.pods.Range(func(_, of any) bool {
		of.(*linksOf).mu.Lock()
		defer of.(*linksOf).mu.Unlock()
		for _, l := range of.(*linksOf).idle {
			peeked := l.peeked
			l.peeked = func(fd uintptr) {
				peeked(fd)
				l.peeked = peeked
				c.strike(l.conn)
			}
		}
		return true
	})
	return next
}

// handed has those of net/http closed so.
func (c *closing) handed(config *Config) {
	for _, t := range []*transport{config.Transports.http1, config.Transports.https, config.Transports.h2c} {
		dial := t.DialContext
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &closingConn{podConn: conn.(*podConn), by: c}, nil
		}
	}
}

// closingConn keeps the end to itself until something was written.
type closingConn struct {
	*podConn
	by *closing
	mu sync.Mutex
}

func (c *closingConn) NetConn() net.Conn { return c.podConn }

func (c *closingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by.strike(c.TCPConn)
	return c.podConn.Write(p)
}

func (c *closingConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{c}, r) }

func (c *closingConn) Read(p []byte) (int, error) {
	n, err := c.podConn.Read(p)
	c.mu.Lock() // with TLS the end is told by a message, which comes before it
	defer c.mu.Unlock()
	return n, err
}

// A request of which the pod cannot have got anything goes to it again by another connection, with all that was sent of its body,
// whatever it is and however it comes.
func TestWhatWasSentToAPodThatHadClosedTheConnectionIsSentAgain(t *testing.T) {
	small, large := "hello", strings.Repeat("0123456789abcdef", 1<<16)
	for what, c := range map[string]struct {
		protocol    string
		appProtocol string
		header      http.Header
	}{
		"HTTP/1.1":                      {protocol: "http1"},
		"HTTP/1.1, Expect":              {protocol: "http1", header: http.Header{"Expect": {"100-continue"}}},
		"HTTP/1.1, trailers":            {protocol: "http1", header: http.Header{"Trailer": {"X-Sum"}}},
		"HTTP/1.1 to TLS":               {protocol: "http1", appProtocol: "https"},
		"HTTP/1.1 to HTTP/2":            {protocol: "http1", appProtocol: protocolH2C},
		"HTTP/2":                        {protocol: "h2c"},
		"HTTP/2, Expect":                {protocol: "h2c", header: http.Header{"Expect": {"100-continue"}}},
		"HTTP/2 to TLS":                 {protocol: "h2c", appProtocol: "https"},
		"HTTP/2 with TLS":               {protocol: "tls2"},
		"HTTP/1.1 with TLS":             {protocol: "tls1"},
		"HTTP/1.1 with TLS and trailer": {protocol: "tls1", header: http.Header{"Trailer": {"X-Sum"}}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			pod := newClosing(t)
			w := newWorld(t, pod.handed)
			w.app("shop")
			server := httptest.NewUnstartedServer(nil)
			pod.configure(server.Config)
			if c.appProtocol == "https" {
				server.StartTLS()
			} else {
				server.Config.Protocols = new(http.Protocols)
				server.Config.Protocols.SetHTTP1(true)
				server.Config.Protocols.SetUnencryptedHTTP2(true)
				server.Start()
			}
			t.Cleanup(func() { _ = w.server.Close(); server.CloseClientConnections(); server.Close() })
			w.ready("shop", c.appProtocol, at(server))
			w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
			client, base := http.DefaultClient, "http://"+w.address
			switch c.protocol {
			case "h2c":
				client = h2cClient(t)
			case "tls1", "tls2":
				client, base = w.secure().over(t, int(c.protocol[3]-'0')), "https://shop.test"
			}
			// exchange sends a body in two parts, and the second one when go is closed.
			exchange := func(path, first, second string, length int64, more <-chan struct{}) answer {
				body, in := io.Pipe()
				go func() {
					_, _ = io.WriteString(in, first)
					<-more
					_, _ = io.WriteString(in, second)
					_ = in.Close()
				}()
				r, err := http.NewRequest(http.MethodPost, base+path, body)
				require.NoError(t, err)
				r.Host, r.ContentLength = "shop.test", length
				r.Header = c.header.Clone()
				if r.Header.Get("Trailer") != "" {
					r.Header.Del("Trailer")
					r.Trailer = http.Header{"X-Sum": {"done"}}
				}
				return doWith(client, r)
			}
			now := make(chan struct{})
			close(now)
			for _, sized := range []bool{false, true} {
				for _, size := range []string{small, large} {
					for _, broken := range []bool{false, true} {
						half, length := size[:len(size)/2], int64(-1)
						if sized && len(c.header["Trailer"]) == 0 {
							length = int64(len(size))
						}
						for kept := 0.; kept == 0; { // where the pod answers before all is known to be sent, none is
							require.Equal(t, size, exchange("/", half, size[len(half):], length, now).body)
							w.shows(0, "kedahttp_interceptor_open_connections", "peer=pod", "state=busy")
							kept, _ = w.metric("kedahttp_interceptor_open_connections", "peer=pod")
						}
						seen, path, more := pod.seen.Load(), "/break", (<-chan struct{})(now)
						if !broken {
							path, more = "/", pod.strikes(w)
						}
						a := exchange(path, half, size[len(half):], length, more)
						require.Equal(t, seen+1, pod.seen.Load(), "%d %.300s %v", a.status, a.body, a.err)
						if broken {
							// It has come, and may have been done.
							if a.status != http.StatusBadGateway {
								requireBroken(t, a)
							}
							continue
						}
						require.NoError(t, a.err)
						require.Nil(t, pod.next.Load(), "no connection was closed")
						require.True(t, http.StatusOK == a.status && size == a.body, "%d %.100s", a.status, a.body)
						if len(c.header["Trailer"]) > 0 {
							require.Equal(t, "done", a.header.Get("X-Sum"))
						}
					}
				}
			}
			w.is("shop", 0, 0)
		})
	}
}

// arrived is the stream of a request of which all has come, on a connection that stays.
func arrived(t testing.TB, request sent2) *http2.Stream {
	streams, read, over := make(chan *http2.Stream, 1), make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(over) })
	conn := http2.New(http2.Config{
		Streams: 1, Opened: func(s *http2.Stream) { streams <- s }, Write: func([]byte) error { return nil }, Ending: func() {}, Left: func() {},
	})
	go conn.Serve(io.MultiReader(bytes.NewReader(request.frames2()), readerFunc(func([]byte) (int, error) { //nolint:errcheck // it ends with the test
		close(read)
		<-over
		return 0, io.EOF
	})))
	await(t, read)
	return await(t, streams)
}

// What has piled up of a body is more than is kept of what was sent: it is not all sent to a pod of which nobody knows whether it is there.
func TestWhatPiledUpOfABodyIsStillThereWhenThePodTurnsOutToBeGone(t *testing.T) {
	request := sent2{fields: to("POST", "/"), body: strings.Repeat("0123456789abcdef", 200<<10>>4), parts: 20}
	x := &asking{stream: arrived(t, request)}
	p := &pump{}
	x.forwardBody(p, -1, func([]byte, bool) error { return io.EOF }, func() bool { return false })
	require.ErrorIs(t, p.err, io.EOF)
	require.False(t, x.sent.lost)
	rest, ok := x.stream.Whole()
	require.True(t, ok)
	require.True(t, request.body == string(x.sent.b)+string(rest), "%d and %d bytes", len(x.sent.b), len(rest))
}

// What was sent of a body is not there for others who would take it anew, also when the rest of it has come to its end meanwhile.
func TestABodyOfWhichAPartWasTakenIsNotPassedOn(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", protocolH2C, deadAddress(t))
	w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
	pod := w.backend("shop").Pods.Pick(nil)
	defer pod.Release()
	request := sent2{fields: to("POST", "/"), body: strings.Repeat("0123456789abcdef", 40<<10>>4), parts: 20}
	x := &asking{stream: arrived(t, request)}
	x.init(w.server, x, &http1.Client{}, "HTTP/2.0")
	x.accept(w.backend("shop"))
	defer x.ticket.Done()
	x.activate()
	require.True(t, x.speaks(v1alpha1.ProtocolH2C))
	x.forwardBody(&pump{}, -1, func([]byte, bool) error { return io.EOF }, func() bool { return false })
	require.Error(t, x.send(pod, false))
	require.True(t, x.whole && x.resendable())
	require.True(t, request.body == string(x.body), "%d bytes", len(x.body))
	require.True(t, x.speaks(v1alpha1.ProtocolHTTPS), "it is passed on without its first part")
}

// unheard is a request of which more was sent than is kept, when the pod turns out not to have received it.
type unheard struct {
	asked
	times int
}

func (u *unheard) send(*balance.Endpoint, bool) error {
	u.times++
	u.sent.lost = true
	return errUnheard
}
func (*unheard) settle() int                   { return 0 }
func (*unheard) resume()                       {}
func (*unheard) speaks(v1alpha1.Protocol) bool { return true }

// A part of a body must not come as the whole of it.
func TestWhatWasSentIsNotSentAgainWhenAPartOfItIsLost(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", answering(t))
	w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
	u := &unheard{}
	u.init(w.server, u, &http1.Client{}, "HTTP/2.0")
	u.accept(w.backend("shop"))
	u.activate()
	require.ErrorIs(t, u.forward(), errUnheard)
	require.Equal(t, 1, u.times)
	u.deactivate()
	u.ticket.Done()
	w.is("shop", 0, 0)
}
