package http2

import (
	"golang.org/x/net/http2"
)

// mostInterim is how many responses may come before the final one.
const mostInterim = 100

// Open opens a stream at a client's end, and sends a header block and what there is of the body. lost is told when the stream ends before
// its end. The error is ErrUnavailable when another connection has to be used: nothing was sent.
func (c *Conn) Open(head, body []byte, end, ofHead bool, lost func(error)) (*Stream, error) {
	c.mu.Lock()
	if c.err != nil || c.leaving || c.running >= int(min(c.mostStreams, 1<<20)) || c.last >= mostID-2 {
		c.mu.Unlock()
		return nil, ErrUnavailable
	}
	if c.last == 0 {
		c.last = 1
	} else {
		c.last += 2
	}
	s := newStream(c, c.last)
	s.lost, s.ofHead = lost, ofHead
	c.streams[s.id] = s
	c.running++
	c.putHead(s.id, head, end && len(body) == 0)
	if end && len(body) == 0 {
		s.sent = true
	}
	c.flush()
	c.mu.Unlock()
	if len(body) > 0 {
		// If it fails, so does whoever waits for the response.
		_ = s.Send(nil, body, end)
	}
	return s, nil
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
