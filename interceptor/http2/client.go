package http2

import (
	"golang.org/x/net/http2"
)

// mostInterim is how many responses may come before the final one.
const mostInterim = 100

// Open opens a stream at a client's end, and sends a header block and of the body what the peer takes at once: it does not wait. The rest is
// still to be sent. The error is ErrUnavailable when another connection has to be used: nothing was sent.
func (c *Conn) Open(head, body []byte, end, ofHead bool) (s *Stream, rest []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.leaving || c.running >= int(min(c.mostStreams, 1<<20)) || c.next > mostID {
		return nil, nil, ErrUnavailable
	}
	c.last, c.next = c.next, c.next+2
	s = newStream(c, c.last)
	s.ofHead, s.begins = ofHead, c.put+int64(len(c.out))
	c.streams[s.id] = s
	c.running++
	c.putHead(s.id, head, end && len(body) == 0)
	for len(body) > 0 && s.window > 0 && c.window > 0 && len(c.out) < mostOut && len(c.starved)+len(c.crowded) == 0 {
		body = s.putData(body, end)
	}
	s.sent = end && len(body) == 0
	c.flush()
	return s, body, nil
}

// respond is called when a client has got a header block.
func (c *Conn) respond() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &c.block
	s := c.streams[b.id]
	switch {
	case s == nil && c.isIdle(b.id):
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case s == nil:
		return c.floods(1)
	case s.responded:
		return s.onTrailer(b)
	case !b.head.response(), b.head.Status < 200 && (b.end || len(s.heads) >= mostInterim):
		return ofStream(b.id, http2.ErrCodeProtocol)
	}
	c.answered = true
	if b.head.Status >= 200 {
		s.responded = true
		if !s.ofHead && b.head.Status != 304 {
			s.declared = b.head.Length
		}
		if b.end && s.declared > 0 {
			return ofStream(b.id, http2.ErrCodeProtocol)
		}
	}
	var taken Head
	taken, b.head = b.head, taken
	s.heads = append(s.heads, taken)
	if b.end {
		s.end()
	}
	s.arrived.Signal()
	return nil
}

// Response waits for the next response: any number of interim ones, and the final one.
func (s *Stream) Response() (Head, error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(s.heads) == 0 && s.err == nil {
		s.arrived.Wait()
	}
	if s.err != nil {
		return Head{}, s.err
	}
	h := s.heads[0]
	s.heads = s.heads[1:]
	return h, nil
}

// Unheard reports whether the connection of the stream has ended before anything was answered on it.
func (s *Stream) Unheard() bool {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.conn.err != nil && !s.conn.answered
}

// Ready takes what is there of the body without waiting. It is the last of it if ended is true.
func (s *Stream) Ready() (p []byte, ended bool) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	p, s.body = s.body, nil
	c.give(int32(len(p)))
	s.give(int32(len(p)))
	return p, s.ended
}
