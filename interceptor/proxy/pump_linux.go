package proxy

import (
	"sync/atomic"
	"time"

	"github.com/kedahttp/kedahttp/interceptor/http1"
)

// pump forwards the rest of a request's body while the pod may be answering already.
type pump struct {
	// last is set before the last of the body is written, and finished after.
	last, finished atomic.Bool
	ended          chan struct{}
	in             input
	// bytes are those of the body that were forwarded; they can be read when it has ended.
	bytes int64
}

// startPump begins to forward. A client that leaves ends its request.
func startPump(c *client, l *link) *pump {
	p := &pump{ended: make(chan struct{})}
	left := c.request.Length - int64(c.end-c.head)
	chunked, chunks := c.request.Chunked, c.chunks
	chunks.Data = 0
	go func() {
		defer close(p.ended)
		p.run(c, l, left, chunked, &chunks)
	}()
	return p
}

func (p *pump) run(c *client, l *link, left int64, chunked bool, chunks *http1.Chunks) {
	for {
		if err := c.fill(&p.in); err != nil {
			c.abort(errClientGone)
			return
		}
		n, done := len(p.in.b), false
		if chunked {
			var err error
			if n, done, err = chunks.Scan(p.in.b); err != nil {
				c.abort(errChunks)
				return
			}
			p.bytes = chunks.Data
		} else {
			n = int(min(int64(n), left))
			left -= int64(n)
			p.bytes += int64(n)
			done = left == 0
		}
		p.last.Store(done)
		if l.write(p.in.b[:n]) != nil {
			return // the pod may have answered before
		}
		p.in.drop(n)
		if done {
			p.finished.Store(true)
			c.timeouts.arrive()
			c.timeouts.ask()
			return
		}
	}
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
