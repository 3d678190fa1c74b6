package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/http1"
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
	asked
	socket
	in   input
	peer http1.Client
	// reads is onArrived, made once.
	reads func(fd uintptr) bool
	// forget ends the watch for the client's departure.
	forget func()

	phase atomic.Int32
	// since is when the phase began, in nanoseconds since the server was made.
	since atomic.Int64

	// What follows is of one request. head is how long its head is, and end is where what has arrived of its body ends.
	head, end int
	chunks    http1.Chunks
	// keep says that the connection serves another request, and last what became of the connection after the last one.
	keep bool
	last after
	// passed is the request that net/http is to go on with, if it is not a new one.
	passed *passed
	pump   *pump
	// talk is what the connection is for when it was upgraded. It is behind the lock.
	talk *talk
}

// take answers the requests of a connection. What is done once is apart: many connections wait, each with all of its stack.
func (s *Server) take(conn net.Conn) {
	var c *client
	if greeted := s.handshake(conn); greeted != nil {
		c = s.meet(greeted)
	}
	s.arrived(conn)
	switch {
	case c == nil:
	case c.tls != nil && c.tls.ConnectionState().NegotiatedProtocol == alpnHTTP2:
		c.multiplex()
	default:
		c.serve()
	}
}

// meet makes a client of a connection, nil when there is nothing more to be done with it here.
func (s *Server) meet(conn net.Conn) *client {
	c, proto, below := &client{}, "http", conn
	c.asked.init(s, c, &c.peer, "HTTP/1.1")
	if secure, ok := conn.(*tls.Conn); ok {
		c.tls, proto, below = secure, "https", secure.NetConn()
	}
	tcp, ok := below.(*net.TCPConn)
	if !ok {
		s.give(&judged{Conn: conn})
		return nil
	}
	c.reads = c.onArrived
	c.began(time.Now())
	if err := c.open(tcp); err != nil {
		_ = conn.Close()
		return nil
	}
	if a, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		c.peer = s.peer(a.Addr(), proto)
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

// peer is who is at the other end of a client's connection.
func (s *Server) peer(a netip.Addr, proto string) http1.Client {
	c := http1.Client{Address: []byte(a.String()), Proto: proto, Trusted: s.handler.trusts(a)}
	if s.handler.config.Forwarded {
		c.Node = http1.ForwardedNode(a)
	}
	return c
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
		case c.request.Unusual && string(c.request.Method) == "PRI":
			handedOver = true
			c.multiplex()
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
				c.began(time.Now())
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
	err := c.raw.Read(c.reads)
	if errors.Is(err, os.ErrDeadlineExceeded) && c.hasLeft() && c.phase.Load() != expired {
		if err = c.conn.SetReadDeadline(time.Time{}); err == nil {
			err = c.raw.Read(c.reads)
		}
	}
	if err != nil {
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
	return c.last != again || len(c.in.b) > 0 || !all || c.server.ending.Load() || c.hasLeft()
}

// arrivedWhole reports whether what was read begins with a request that can be answered in place and has no more to come, whatever the
// answer.
func (c *client) arrivedWhole() bool {
	var err error
	if c.head, err = c.request.Parse(c.in.b); err != nil || c.head == 0 || c.request.Unusual || c.request.Upgrade != nil {
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
	c.began(now)
	c.phase.Store(idle)
}

// began notes when the phase did.
func (c *client) began(now time.Time) { c.since.Store(int64(now.Sub(c.server.made))) }

// phaseSince is since when the connection has been in its phase.
func (c *client) phaseSince() time.Time { return c.server.made.Add(time.Duration(c.since.Load())) }

// sweep implements guest.
func (c *client) sweep(now time.Time, idleFor, headFor time.Duration) {
	since := now.Sub(c.phaseSince())
	if idleFor > 0 && since > idleFor {
		c.expire(idle)
	}
	if headFor > 0 && since > headFor {
		c.expire(fresh)
		c.expire(reading)
	}
}

// leave implements guest.
func (c *client) leave() {
	c.expire(fresh)
	c.expire(idle)
}

// idleSince implements guest.
func (c *client) idleSince() (time.Time, bool) {
	since := c.phaseSince()
	switch c.phase.Load() {
	case fresh, idle, reading:
		return since, true
	}
	return since, false
}

// yield implements guest.
func (c *client) yield() {
	c.leave()
	c.expire(reading)
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

// abort ends the request that is being answered, if any.
func (c *client) abort(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.abortLocked(cause):
	case c.talk != nil:
		_ = c.conn.SetDeadline(past)
	case c.begun || errors.Is(cause, errClientGone):
		_ = c.conn.SetWriteDeadline(past)
	}
}

// left is told that the client has left.
func (c *client) left() {
	c.mu.Lock()
	c.gone = true
	talk := c.talk
	c.mu.Unlock()
	if talk != nil {
		talk.up.end() // it may still listen
		return
	}
	c.abort(errClientGone)
	if c.tls == nil && c.phase.Load() != busy {
		// All that is to come has come, and nothing else wakes who waits for more.
		_ = c.conn.SetReadDeadline(past)
	}
}

// hasLeft reports whether the client has left.
func (c *client) hasLeft() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// moved is how much came and went on both connections of the request.
func (c *client) moved() uint64 { return transferredOn(c.raw) + c.movedOnLink() }

// handOver gives the connection to net/http, with what was read of it.
func (c *client) handOver() {
	c.server.departures.stop(&c.socket)
	c.forget()
	c.server.remove(c)
	j := &judged{Conn: c.outer(), b: append([]byte(nil), c.in.b...), headFor: c.server.others.ReadHeaderTimeout}
	j.passed.Store(c.passed)
	c.in.free()
	if forget, err := c.server.departures.add(&c.socket, j.hasLeft); err == nil {
		j.forget = forget
	}
	c.server.give(j)
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

// settle takes as little memory as it can: many may wait, and for long. It returns how much that is.
func (c *client) settle() int {
	c.in.shrink()
	c.request.Fields = nil
	return cap(c.in.b) + cap(c.sent.b)
}

// resume reads the head anew, which is the same at another place.
func (c *client) resume() {
	_, _ = c.request.Parse(c.in.b) // it was well-formed before
	if id := c.request.RequestID(); id != nil && len(c.own.RequestID) > 0 {
		c.own.RequestID = id
	}
}

// speaks implements asker.
func (c *client) speaks(p v1alpha1.Protocol) bool {
	return p == v1alpha1.ProtocolHTTP1 || c.pump != nil
}

// refuse answers for the app. The connection ends with it unless the request has been read to its end.
func (c *client) refuse(r *refusal) {
	if !c.refused(r) {
		c.keep = false
		return
	}
	keep := c.keep && c.whole && r.reason != reasonMalformed
	out := r.appendTo(nil, string(c.request.Get("accept")), string(c.request.Method) == http.MethodHead, !keep, c.server.date.at(time.Now()))
	c.story.out = int64(r.size)
	c.keep = c.write(out) == nil && keep
}
