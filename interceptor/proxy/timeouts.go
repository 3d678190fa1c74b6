package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedahttp/kedahttp/interceptor/backend"
)

var (
	errHeldTimeout    = errors.New("no pod had the request in time")
	errRequestTimeout = errors.New("the response did not begin in time")
	errHeaderTimeout  = errors.New("the response's header did not arrive in time")
	errIdleTimeout    = errors.New("nothing moved for too long")
)

func isTimeout(err error) bool {
	return errors.Is(err, errHeldTimeout) || errors.Is(err, errRequestTimeout) || errors.Is(err, errHeaderTimeout) || errors.Is(err, errIdleTimeout)
}

// timeouts end an exchange when one of its times is over. All methods of nil, which is without limits, do nothing.
//
// An exchange waits for a pod or has one; a pod is being sent the request or has it whole; then it begins its response. What flows, the
// body of the request and then the response, is looked at now and then, so that nothing has to be noted of any part of it.
type timeouts struct {
	backend.Timeouts
	// cut ends the exchange. It is called with the lock held, so never after end.
	cut func(cause error, begun bool)
	// moved is another number whenever something has moved.
	moved func() uint64

	mu    sync.Mutex
	timer *time.Timer
	// arrived says that the whole request has come, forwarded that a pod is getting it, sent that this one has it whole, and
	// begun that the response has begun.
	arrived, forwarded, sent, begun, over bool
	// cause is why the exchange was cut.
	cause               error
	requestBy, headerBy time.Time
	// seen is what had moved when something moved last, since then as far as is known.
	seen  uint64
	since time.Time
}

// looks is how often what flows is looked at in the time that it may be silent: it is ended an eighth of that too late at most.
const looks = 8

func newTimeouts(t backend.Timeouts, arrived bool, cut func(error, bool), moved func() uint64) *timeouts {
	e := &timeouts{Timeouts: t, arrived: arrived, cut: cut, moved: moved, requestBy: time.Now().Add(t.Request)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.timer = time.AfterFunc(time.Hour, e.look)
	e.arm(time.Now())
	return e
}

// change changes what is known of the exchange.
func (t *timeouts) change(is func(now time.Time)) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	now, flowed := time.Now(), t.flows()
	is(now)
	if t.flows() && !flowed {
		t.seen, t.since = t.moved(), now
	}
	t.arm(now)
}

// goOn has the time for the request be what is left of it for one that others had before.
func (t *timeouts) goOn(before *timeouts) {
	if before != nil {
		t.change(func(time.Time) { t.arrived, t.requestBy = before.arrived, before.requestBy })
	}
}

// hold says that the request waits for a pod again.
func (t *timeouts) hold() { t.change(func(time.Time) { t.forwarded = false }) }

// forward says that a pod is getting the request; sent, that there is no body to follow.
func (t *timeouts) forward(sent bool) {
	t.change(func(now time.Time) {
		t.forwarded, t.sent, t.headerBy = true, sent, now.Add(t.ResponseHeader)
	})
}

// arrive says that the last of the request has come.
func (t *timeouts) arrive() {
	t.change(func(now time.Time) {
		if !t.arrived {
			t.arrived, t.requestBy = true, now.Add(t.Request)
		}
	})
}

// ask says that a pod has got the last of the request.
func (t *timeouts) ask() {
	t.change(func(now time.Time) {
		t.sent, t.headerBy = true, now.Add(t.ResponseHeader)
	})
}

// begin says that the response begins. Its error is why it must not.
func (t *timeouts) begin() error {
	if t == nil {
		return nil
	}
	t.change(func(time.Time) { t.begun = true })
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cause
}

// end says that the exchange is over. It returns why it was cut, if it was.
func (t *timeouts) end() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.timer.Stop()
	return t.cause
}

// requestCounts, headerCounts and flows say which times run.

func (t *timeouts) requestCounts() bool {
	return t.Request > 0 && !t.begun && (t.arrived || !t.forwarded)
}

func (t *timeouts) headerCounts() bool {
	return t.ResponseHeader > 0 && !t.begun && t.forwarded && t.sent
}

func (t *timeouts) flows() bool { return t.Idle > 0 && (t.begun || t.forwarded && !t.sent) }

// arm has look called when the next time may be over. The lock is held.
func (t *timeouts) arm(now time.Time) {
	var first time.Time
	until := func(at time.Time) {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if t.requestCounts() {
		until(t.requestBy)
	}
	if t.headerCounts() {
		until(t.headerBy)
	}
	if t.flows() {
		until(now.Add(t.Idle / looks))
	}
	if first.IsZero() {
		t.timer.Stop()
		return
	}
	t.timer.Reset(first.Sub(now))
}

func (t *timeouts) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	now := time.Now()
	switch {
	case t.requestCounts() && !now.Before(t.requestBy) && !t.forwarded:
		t.cause = errHeldTimeout
	case t.requestCounts() && !now.Before(t.requestBy):
		t.cause = errRequestTimeout
	case t.headerCounts() && !now.Before(t.headerBy):
		t.cause = errHeaderTimeout
	case t.flows():
		if n := t.moved(); n != t.seen {
			t.seen, t.since = n, now
		} else if now.Sub(t.since) >= t.Idle {
			t.cause = errIdleTimeout
		}
	}
	if t.cause != nil {
		t.over = true
		t.cut(t.cause, t.begun)
		return
	}
	t.arm(now)
}

// What follows is for exchanges of net/http's.

// limit gives an exchange its timeouts.
func (x *exchange) limit(t backend.Timeouts, r *http.Request) *timeouts {
	var conn net.Conn
	if r.ProtoMajor == 1 { // one of HTTP/2 is not of this exchange alone
		conn, _ = r.Context().Value(connKey{}).(net.Conn)
	}
	cut := func(cause error, begun bool) {
		x.cancel(cause)
		if begun {
			c := http.NewResponseController(x.writer)
			_ = c.SetWriteDeadline(past)
			_ = c.SetReadDeadline(past)
		}
	}
	// A client that takes what is written to it slowly takes it from the connection long before the next write.
	moved := func() uint64 { return x.moved.Load() + transferred(conn) }
	return newTimeouts(t, r.ContentLength == 0, cut, moved)
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// past is a deadline that ends what is going on.
var past = time.Unix(1, 0)

// noted is a body of which is noted that something came of it, and its end.
type noted struct {
	io.ReadCloser
	moved *atomic.Uint64
	ended func()
}

func (b *noted) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.moved.Add(uint64(n))
	if errors.Is(err, io.EOF) && b.ended != nil {
		b.ended()
	}
	return n, err
}

// notedConn is noted for a connection that was upgraded.
type notedConn struct {
	noted
	to io.Writer
}

func (c *notedConn) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.moved.Add(uint64(n))
	return n, err
}

// CloseWrite says that no more is sent.
func (c *notedConn) CloseWrite() error { return closeWrite(c.to) }

// note notes what comes of a response.
func (x *exchange) note(body io.ReadCloser) io.ReadCloser {
	if x.timeouts == nil || x.timeouts.Idle <= 0 {
		return body
	}
	n := noted{ReadCloser: body, moved: &x.moved}
	if w, ok := body.(io.Writer); ok {
		return &notedConn{n, w}
	}
	return &n
}
