package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/hold"
	"github.com/kedahttp/kedahttp/interceptor/http1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
	"github.com/kedahttp/kedahttp/interceptor/tracing"
)

// mostHead is how long a request's head may be to be answered in place. net/http decides on longer ones.
const mostHead = 64 << 10

// phase is what a client's connection is doing, for those who end it from outside.
type phase = int32

const (
	// fresh connections wait for their first request.
	fresh phase = iota
	// idle connections wait for the next request.
	idle
	// reading ones have a part of a head.
	reading
	busy
	expired
)

// client is a connection of a client, and the request that is being answered on it. It belongs to one goroutine, but for what
// is behind its lock and the body that a second one may be pumping.
type client struct {
	server *Server
	socket
	in   input
	from http1.Client
	// reads is onArrived, made once.
	reads func(fd uintptr) bool
	// forget ends the watch for the client's departure.
	forget func()

	phase atomic.Int32
	// since is when the phase began, as Unix time in nanoseconds.
	since atomic.Int64

	// What follows is of one request.
	request  http1.Request
	response http1.Response
	// head is how long the request's head is, and end is where what has arrived of its body ends. whole says that this is all.
	head, end int
	whole     bool
	chunks    http1.Chunks
	backend   *backend.Backend
	ticket    queue.Ticket
	place     hold.Place
	pod       *balance.Endpoint
	status    int
	reason    string
	// own has the request's id, which may be a part of the head or of made.
	own   http1.Own
	made  [32]byte
	story story
	// span is nil when the request is not traced.
	span *tracing.Span
	// now is when the last thing happened to the request.
	arrived, now time.Time
	// start is the cold start that the request waited for, if it did.
	start *coldstart.Start
	// begun says that something of the response was sent.
	begun bool
	// keep says that the connection serves another request, and last what became of the connection after the last one.
	keep bool
	last after
	pump *pump
	// timeouts are those of the app, if it has any.
	timeouts *timeouts

	mu     sync.Mutex
	active bool
	// cause is why the request has to end.
	cause error
	// gone says that the client has left, during this request or before.
	gone bool
	link *link
	// cancel ends what the request waits for, if anything.
	cancel context.CancelCauseFunc
}

// take answers the requests of a connection. What is done once is apart: many connections wait, each with all of its stack.
func (s *Server) take(conn net.Conn) {
	if conn = s.handshake(conn); conn != nil {
		if c := s.meet(conn); c != nil {
			c.serve()
		}
	}
}

// meet makes a client of a connection, nil when there is nothing more to be done with it here.
func (s *Server) meet(conn net.Conn) *client {
	c, proto, below := &client{server: s}, "http", conn
	if secure, ok := conn.(*tls.Conn); ok {
		c.tls, proto, below = secure, "https", secure.NetConn()
	}
	tcp, ok := below.(*net.TCPConn)
	if !ok {
		s.handOver(conn, nil)
		return nil
	}
	c.reads = c.onArrived
	c.since.Store(time.Now().UnixNano())
	if err := c.open(tcp); err != nil {
		_ = conn.Close()
		return nil
	}
	if a, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		c.from = http1.Client{Address: []byte(a.Addr().String()), Proto: proto, Trusted: s.handler.trusts(a.Addr())}
		if s.handler.config.Forwarded {
			c.from.Node = http1.ForwardedNode(a.Addr())
		}
	}
	var err error
	if c.forget, err = s.departures.add(&c.socket, c.left); err == nil && s.add(c) {
		return c
	}
	if c.forget != nil {
		c.forget()
	}
	_ = conn.Close()
	return nil
}

func (c *client) serve() {
	handedOver := false
	defer func() {
		if p := recover(); p != nil {
			klog.ErrorS(nil, "A request made the interceptor panic", "panic", p, "stack", string(debug.Stack()))
		}
		c.forget()
		c.server.remove(c)
		c.in.free()
		if !handedOver {
			_ = c.close()
		}
	}()
	for {
		err := c.next()
		switch {
		case err != nil:
			c.refuseMalformed(err)
			return
		case c.last != again: // it has been answered
		case !c.begin():
			return
		case c.request.Unusual:
			c.last = another
		default:
			c.last = c.answer()
		}
		switch c.last {
		case again:
		case another:
			handedOver = true
			c.handOver()
			return
		case last:
			c.linger()
			return
		case broken:
			return
		}
	}
}

// refuseMalformed answers a request that cannot be understood; other errors are of the connection.
func (c *client) refuseMalformed(err error) {
	var m *http1.Malformed
	if !errors.As(err, &m) {
		return
	}
	c.arrived = c.server.handler.config.Clock.Now()
	c.identify()
	c.refuse(malformed(m))
	c.server.handler.config.Metrics.unrouted(c.status, c.reason)
	c.tell(nil, c.arrived)
	c.linger()
}

// next reads the head of the next request. When it returns with another last than again, the request has been answered.
func (c *client) next() (err error) {
	tried := 0
	c.last = again
	for {
		if len(c.in.b) > 0 && (tried == 0 || http1.Ends(c.in.b, tried)) {
			c.head, err = c.request.Parse(c.in.b)
			if c.head > 0 {
				return c.body()
			}
			if err != nil {
				return err
			}
			if c.phase.CompareAndSwap(idle, reading) || c.phase.CompareAndSwap(fresh, reading) {
				c.since.Store(time.Now().UnixNano())
			}
		}
		if tried = len(c.in.b); tried > mostHead {
			c.request.Unusual = true
			return nil
		}
		if tried == 0 && c.server.ending.Load() {
			return http.ErrServerClosed
		}
		if err := c.arrive(); err != nil || c.last != again {
			return err
		}
	}
}

// arrive waits until there is something to read. Requests that arrive whole are answered here, one after the other: having read
// all there was, the connection waits for the next one without trying to read it.
func (c *client) arrive() error {
	if c.tls != nil {
		c.in.await()
		return c.fill(&c.in)
	}
	c.to, c.readErr = &c.in, nil
	if err := c.raw.Read(c.reads); err != nil {
		return err
	}
	return c.readErr
}

// onArrived is called before the wait, as something may be there already, and whenever something has arrived since the last call.
func (c *client) onArrived(fd uintptr) bool {
	first := len(c.in.b) == 0
	if !c.onReadable(fd) {
		return false
	}
	all := len(c.in.b) < cap(c.in.b)
	if !first || c.readErr != nil || !c.arrivedWhole() {
		return true
	}
	if !c.begin() {
		c.last = broken
		return true
	}
	c.last = c.answer()
	return c.last != again || len(c.in.b) > 0 || !all || c.server.ending.Load()
}

// arrivedWhole reports whether what was read begins with a request that can be answered in place and has no more to come.
func (c *client) arrivedWhole() bool {
	var err error
	if c.head, err = c.request.Parse(c.in.b); err != nil || c.head == 0 || c.request.Unusual {
		return false
	}
	return c.body() == nil && c.whole
}

// body finds out how much of the request's body has arrived with its head.
func (c *client) body() error {
	arrived := c.in.b[c.head:]
	c.chunks = http1.Chunks{}
	if !c.request.Chunked {
		n := min(int64(len(arrived)), c.request.Length)
		c.end, c.whole = c.head+int(n), n == c.request.Length
		return nil
	}
	n, done, err := c.chunks.Scan(arrived)
	if err != nil {
		return errChunks
	}
	c.end, c.whole = c.head+n, done
	return nil
}

// begin makes the connection busy with a request. It is false when somebody has ended it.
func (c *client) begin() bool {
	return c.phase.CompareAndSwap(idle, busy) || c.phase.CompareAndSwap(reading, busy) || c.phase.CompareAndSwap(fresh, busy)
}

// done ends the request that the connection was busy with.
func (c *client) done(now time.Time) {
	c.begun = false
	c.since.Store(now.UnixNano())
	c.phase.Store(idle)
}

// busy reports whether a request is being answered.
func (c *client) busy() bool { return c.phase.Load() == busy }

// expire ends the connection if it is in a phase.
func (c *client) expire(in phase) {
	if c.phase.CompareAndSwap(in, expired) {
		_ = c.conn.SetReadDeadline(past)
	}
}

// cut ends the connection whatever it does.
func (c *client) cut() {
	c.abort(errClientGone)
	_ = c.conn.SetDeadline(past)
}

// left is told that the client has left.
func (c *client) left() {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	c.abort(errClientGone)
}

// abort ends the request that is being answered, if any.
func (c *client) abort(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abortLocked(cause)
}

// moved is how much came and went on both connections of the request.
func (c *client) moved() uint64 {
	n := transferredOn(c.raw)
	c.mu.Lock()
	l := c.link
	c.mu.Unlock()
	if l != nil {
		n += transferredOn(l.raw)
	}
	return n
}

func (c *client) abortLocked(cause error) {
	if !c.active || c.cause != nil {
		return
	}
	c.cause = cause
	if c.link != nil {
		c.link.interrupt()
	}
	if c.cancel != nil {
		c.cancel(cause)
	}
	if c.begun || errors.Is(cause, errClientGone) {
		_ = c.conn.SetWriteDeadline(past)
	}
}

// handOver gives the connection to net/http.
func (c *client) handOver() {
	c.server.departures.stop(&c.socket)
	c.forget()
	c.server.remove(c)
	read := append([]byte(nil), c.in.b...)
	c.in.free()
	c.server.handOver(c.outer(), read)
}

// linger closes the connection so that the client reads the answer first: closing it under a client that still sends would
// take the answer from it.
func (c *client) linger() {
	if c.closeWrite() != nil {
		return
	}
	c.phase.Store(busy)
	_ = c.conn.SetReadDeadline(time.Now().Add(linger))
	for c.fill(&c.in) == nil {
		c.in.free()
	}
}

// identify gives the request its id, and begins its span if it is traced.
func (c *client) identify() {
	c.own, c.story, c.span = http1.Own{}, story{}, nil
	if t := c.server.handler.config.Tracer; t != nil {
		if c.span = t.Begin(text(c.request.TraceParent()), c.from.Trusted, c.arrived); c.span != nil {
			c.own.TraceParent, c.own.NewTrace = c.span.TraceParent, c.span.NewTrace
		}
	}
	if !c.server.handler.config.RequestIDs.on() {
		return
	}
	if c.own.RequestID = c.request.RequestID(); c.own.RequestID == nil {
		c.own.RequestID = http1.AppendRequestID(c.made[:0])
	}
}

// reread reads the head anew, which is the same at another place.
func (c *client) reread() {
	_, _ = c.request.Parse(c.in.b) // it was well-formed before
	if id := c.request.RequestID(); id != nil && len(c.own.RequestID) > 0 {
		c.own.RequestID = id
	}
}

// refuse answers for the app. The connection ends with it unless the request has been read to its end.
func (c *client) refuse(r *refusal) {
	if c.begun {
		c.keep = false
		if r.reason == reasonIdleTimeout {
			c.reason = r.reason
		}
		return
	}
	c.status, c.reason = r.status, r.reason
	r.id = string(c.own.RequestID)
	if r.reason == reasonClientGone {
		c.keep = false
		return
	}
	if r.reason == reasonBackend {
		klog.V(2).InfoS("A request failed", "app", r.app, "reason", r.reason, "request", r.id, "err", r.cause)
	}
	keep := c.keep && c.whole && r.reason != reasonMalformed
	out := r.appendTo(nil, string(c.request.Get("accept")), string(c.request.Method) == http.MethodHead, !keep, c.server.date.at(time.Now()))
	c.story.out = int64(r.size)
	c.keep = c.write(out) == nil && keep
}
