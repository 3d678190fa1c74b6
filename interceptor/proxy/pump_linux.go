package proxy

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/kedahttp/kedahttp/interceptor/http1"
)

// pump forwards the rest of a request's body while the pod may be answering already.
type pump struct {
	// last is set before the last of the body is written, and finished after.
	last, finished atomic.Bool
	// paused says that nothing more is to be read until it goes on, and ended is closed when it has stopped.
	paused atomic.Bool
	ended  chan struct{}

	// What follows can be used when it has ended. err is that of the link.
	err error
	in  input
	// left is how much of the body there is to come, unless that comes in chunks, and bytes are those that were forwarded.
	left, bytes int64
	chunks      http1.Chunks
}

// startPump begins to forward, or goes on with another link. A client that leaves ends its request.
func (c *client) startPump(l *link) {
	if c.pump == nil {
		c.pump = &pump{left: c.request.Length - int64(c.end-c.head), chunks: c.chunks}
		c.pump.chunks.Data = 0
	}
	p := c.pump
	p.paused.Store(false)
	p.err, p.ended = nil, make(chan struct{})
	go func() {
		defer close(p.ended)
		p.run(c, l)
	}()
}

func (p *pump) run(c *client, l *link) {
	received := func() bool { return l.received(l.before) }
	done := p.last.Load()
	if p.err = l.write(c.sent.b); p.err != nil {
		return
	}
	for !done {
		if err := c.fill(&p.in); err != nil {
			if !p.paused.Load() {
				c.abort(errClientGone)
			}
			return
		}
		n := len(p.in.b)
		if c.request.Chunked {
			var err error
			if n, done, err = p.chunks.Scan(p.in.b); err != nil {
				c.abort(errChunks)
				return
			}
			p.bytes = p.chunks.Data
		} else {
			n = int(min(int64(n), p.left))
			p.left -= int64(n)
			p.bytes += int64(n)
			done = p.left == 0
		}
		p.last.Store(done)
		c.sent.add(p.in.b[:n], mostUnreceived, received)
		p.err = l.write(p.in.b[:n])
		p.in.much = c.sent.lost && c.tls == nil // a record of TLS is no longer than a block
		p.in.drop(n)
		if p.err != nil {
			return // the pod may have answered before
		}
	}
	p.finished.Store(true)
	c.timeouts.arrive()
	c.timeouts.ask()
}

// pause stops the pump so that it can go on with another link than the one that broke with an error.
func (p *pump) pause(c *client, l *link, err error) error {
	if p == nil {
		return err
	}
	p.paused.Store(true)
	l.interrupt()
	_ = c.conn.SetReadDeadline(past)
	<-p.ended
	_ = c.conn.SetReadDeadline(time.Time{})
	p.finished.Store(false)
	return p.broke(err)
}

// broke is why the link broke, of which somebody else was told an error: of two who use it one is told of a reset, and the other of no
// more than an end.
func (p *pump) broke(err error) error {
	if ended(err) && p.err != nil && !errors.Is(p.err, os.ErrDeadlineExceeded) {
		return p.err
	}
	return err
}

// settling is how long the last write may take to return when the pod, which read what it wrote, has answered already. That is
// next to nothing, unless the machine is busy. A pod that has answered and does not read the last of the body costs its client as much.
const settling = 250 * time.Millisecond

// settled reports, when a response begins, whether the whole body was forwarded.
func (p *pump) settled() bool {
	if p == nil {
		return true
	}
	if p.last.Load() {
		select {
		case <-p.ended:
		case <-time.After(settling):
		}
	}
	return p.finished.Load()
}

// join leaves what was read behind the body to the next request. It is false when the body was not read to its end.
func (p *pump) join(c *client) bool {
	if p == nil {
		return true
	}
	if !p.finished.Load() {
		return false
	}
	<-p.ended
	if len(p.in.b) > 0 {
		c.in.b = append(c.in.b[:c.end:c.end], p.in.b...)
	}
	return true
}

// stop ends the pump.
func (p *pump) stop(c *client) {
	if p == nil {
		return
	}
	if !p.finished.Load() {
		_ = c.conn.SetReadDeadline(past)
	}
	<-p.ended
	c.story.in += p.bytes
	p.in.free()
}
