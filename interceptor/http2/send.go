package http2

import (
	"errors"
	"runtime"
	"slices"
	"sync"
)

// mostOut is how much may wait to be written before those who have more to say wait, too.
const mostOut = 64 << 10

// buffers are what is put together to be written.
var buffers = sync.Pool{New: func() any { return new(out) }}

type out [16 << 10]byte

// buffer returns what is to be written, to be appended to. The lock is held.
func (c *Conn) buffer() []byte {
	if c.out == nil {
		c.out = buffers.Get().(*out)[:0]
	}
	return c.out
}

// free leaves the memory to others, unless it has become more.
func free(b []byte) {
	if b = b[:cap(b)]; len(b) == len(out{}) {
		buffers.Put((*out)(b))
	}
}

// flush has what is there written soon. The lock is held.
func (c *Conn) flush() {
	if !c.flushing && len(c.out) > 0 && c.err == nil {
		c.flushing = true
		go c.flushSoon()
	}
}

// flushSoon lets those go first that are ready: what they have to say goes along.
func (c *Conn) flushSoon() {
	runtime.Gosched()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushing = false
	c.write()
}

// write writes all that is there. The lock is held, but not while it writes.
func (c *Conn) write() {
	if c.flushing {
		return
	}
	c.flushing = true
	for len(c.out) > 0 && !c.broken {
		b := c.out
		c.out, c.controls = nil, 0
		c.put += int64(len(b))
		c.pass()
		c.mu.Unlock()
		err := c.config.Write(b)
		free(b)
		c.mu.Lock()
		c.wrote(err)
	}
	c.flushing = false
	c.quiet.Broadcast()
}

func (c *Conn) wrote(err error) {
	if err == nil || c.broken {
		return
	}
	c.broken = true
	if c.err == nil && c.config.Received != nil {
		if _, certain := c.config.Received(err); certain {
			return // who reads is told how it ended
		}
	}
	if c.err == nil {
		c.fail(err)
		c.config.Left()
	}
}

// writeNow writes what the connection takes at once, and leaves the rest to be written. The lock is held.
func (c *Conn) writeNow() {
	n, err := c.config.Try(c.out)
	c.put += int64(n)
	if err != nil {
		c.wrote(err)
		return
	}
	if n == len(c.out) {
		free(c.out)
		c.out, c.controls = nil, 0
		return
	}
	c.out = c.out[:copy(c.out, c.out[n:])]
	c.flush()
}

// Send sends a header block, if there is one, and a part of a body behind it. It waits as long as the peer does not take more.
func (s *Stream) Send(head, body []byte, end bool) error { return s.send(head, body, end, false) }

// Queue is Send for what is followed by more at once, with which it is sent.
func (s *Stream) Queue(head, body []byte) error { return s.send(head, body, false, true) }

func (s *Stream) send(head, body []byte, end, more bool) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.pass() // whatever it waited for, there may be more of it
	if err := s.put(head, body, end); err != nil || more {
		return err
	}
	if end {
		s.sent = true
		s.close()
	}
	if c.running == 1 && c.config.Try != nil && !c.flushing && c.err == nil {
		c.writeNow() // nobody else has anything to say
		return nil
	}
	c.flush()
	return nil
}

// put puts frames out. The lock is held.
func (s *Stream) put(head, body []byte, end bool) error {
	c := s.conn
	for len(c.out) >= mostOut && s.unsendable() == nil {
		s.queue(&c.crowded)
	}
	if err := s.unsendable(); err != nil {
		return err
	}
	if len(head) > 0 {
		c.putHead(s.id, head, end && len(body) == 0)
	} else if len(body) == 0 && end {
		c.out = appendData(c.buffer(), s.id, nil, true)
	}
	for len(body) > 0 {
		if err := s.unsendable(); err != nil {
			return err
		}
		switch {
		case s.window <= 0:
			c.flush()
			c.pass()
			s.room.Wait()
			continue
		case c.window <= 0:
			s.queue(&c.starved)
			continue
		case len(c.out) >= mostOut:
			s.queue(&c.crowded)
			continue
		}
		if body = s.putData(body, end); len(body) > 0 && len(c.crowded) > 0 {
			s.queue(&c.crowded) // others were first
		}
	}
	return nil
}

// putData puts a frame of a body out, and returns the rest. There is room in both windows. The lock is held.
func (s *Stream) putData(body []byte, end bool) (rest []byte) {
	c := s.conn
	n := min(len(body), int(s.window), int(c.window), c.frameSize)
	c.out = appendData(c.buffer(), s.id, body[:n], end && n == len(body))
	s.window -= int32(n)
	c.window -= int32(n)
	s.Moved.Add(uint64(n))
	c.moved = true
	return body[n:]
}

// putHead puts a header block out. The lock is held.
func (c *Conn) putHead(id uint32, block []byte, end bool) {
	if !c.headed {
		c.headed = true
		block = append([]byte{0x20}, block...) // RFC 7541 section 6.3: the table has no size
	}
	c.out = appendHeaders(c.buffer(), id, block, end, c.frameSize)
}

var errStopped = errors.New("the peer wants no more of the stream")

// unsendable is why nothing can be sent. The lock is held.
func (s *Stream) unsendable() error {
	switch {
	case s.err != nil:
		return s.err
	case s.stopped:
		return errStopped
	}
	return s.conn.err
}

// queue waits for the stream's turn. The lock is held.
func (s *Stream) queue(in *[]*Stream) {
	c := s.conn
	c.flush()
	*in = append(*in, s)
	s.queued = true
	c.pass()
	for s.queued && s.unsendable() == nil {
		s.room.Wait()
	}
	if s.queued {
		s.queued = false
		i := slices.Index(*in, s)
		*in = slices.Delete(*in, i, i+1)
	}
}

// pass lets the first one of those go on who wait for what there is. When it has had its turn, it does the same. The lock is held.
func (c *Conn) pass() {
	if c.window > 0 {
		c.starved = next(c.starved)
	}
	if len(c.out) < mostOut {
		c.crowded = next(c.crowded)
	}
}

func next(queue []*Stream) []*Stream {
	if len(queue) == 0 {
		return nil
	}
	s := queue[0]
	s.queued = false
	s.room.Signal()
	queue[0] = nil
	return queue[1:]
}
