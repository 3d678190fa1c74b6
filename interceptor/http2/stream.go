package http2

import (
	"errors"
	"io"
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"

	"github.com/kedahttp/kedahttp/interceptor/http1"
)

// Stream is a request and its response. Whoever deals with it says when it is Done; one goroutine at a time may take what arrives, and
// one may send.
type Stream struct {
	conn *Conn
	id   uint32
	// begins is how much had been put out on the connection before it, at a client's end.
	begins int64
	// Head is that of the request, at a server's end.
	Head Head
	// Moved counts what came of the body and what was sent of one.
	Moved atomic.Uint64
	// What follows is behind the connection's lock.
	arrived, room sync.Cond
	err           error
	// lost is told, once, that the stream has ended before its end. It is called with the connection locked.
	lost func(error)
	// untaken is why nothing is taken of the body any more.
	untaken error
	// ended and sent say that each side has said all, and stopped that the peer wants to hear no more.
	ended, sent, stopped bool
	// body is what has arrived of it and was not taken, got how much arrived in all, and declared how much there is to be, -1 if that
	// is not known.
	body          []byte
	got, declared int64
	// memory is what the body is charged to while it waits to be taken, if it is, charged how much of it is, and full is told when it does
	// not fit. overfull says that some of it was dropped for that. lent is how much of it does not count against the connection's window
	// meanwhile: others who ask on the connection do not wait for what is bounded elsewhere.
	memory   Memory
	charged  int
	lent     int32
	full     func()
	overfull bool
	// received is the peer's window, and given what was taken of it since it was told.
	received, given int32
	// window is our own.
	window int32
	// queued says that it waits for its turn to send.
	queued  bool
	trailer Head
	// ofHead says that the request was a HEAD, whose response has no body.
	ofHead bool
	// responded says that the final response has begun, at a client's end, and heads are those that nobody has looked at.
	responded bool
	heads     []Head
}

// Memory is what bodies may take that wait to be taken.
type Memory interface {
	// Buffer reports whether n more bytes may be kept. What was granted is given back with Unbuffer.
	Buffer(n int) bool
	Unbuffer(n int)
}

// errFull is that of a body that did not fit into the memory that it was charged to.
var errFull = errors.New("there was no space for the request's body")

var streams = sync.Pool{New: func() any { return new(Stream) }}

// newStream makes a stream. The lock is held.
func newStream(c *Conn, id uint32) *Stream {
	s := streams.Get().(*Stream)
	s.conn, s.id = c, id
	s.arrived.L, s.room.L = &c.mu, &c.mu
	s.received, s.window, s.declared = streamWindow, c.firstWindow, -1
	return s
}

// fail ends the stream with an error. The lock is held.
func (s *Stream) fail(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	if s.lost != nil {
		s.lost(err)
	}
	s.arrived.Signal()
	s.room.Signal()
}

// end says that nothing more comes of the peer. The lock is held.
func (s *Stream) end() {
	s.ended = true
	s.close()
}

// close takes the stream off those that are open when both sides have said all.
func (s *Stream) close() {
	if s.ended && s.sent {
		delete(s.conn.streams, s.id)
	}
}

// stop says, at a client's end, that the peer wants no more of the request: its response is whole, and stays so (RFC 9113 section 8.1).
// The lock is held.
func (s *Stream) stop() {
	s.stopped = true
	delete(s.conn.streams, s.id)
	s.room.Signal()
}

func (s *Stream) onTrailer(b *block) error {
	switch {
	case s.ended:
		return ofStream(b.id, http2.ErrCodeStreamClosed)
	case !b.end, !b.head.trailer(), s.declared >= 0 && s.got != s.declared:
		return ofStream(b.id, http2.ErrCodeProtocol)
	}
	s.trailer, b.head = b.head, s.trailer
	s.end()
	s.arrived.Signal()
	return nil
}

// give gives the peer's window of the stream back. The lock is held.
func (s *Stream) give(n int32) {
	if s.given += n; s.given < streamWindow/4 || s.ended || s.err != nil {
		return
	}
	s.conn.out = appendWindowUpdate(s.conn.buffer(), s.id, s.given)
	s.received += s.given
	s.given = 0
	s.conn.flush()
}

// Watch has lost told, once, when the stream ends before its end, until it is Done. The connection is locked meanwhile: it must not wait.
func (s *Stream) Watch(lost func(error)) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.err != nil {
		lost(s.err)
		return
	}
	s.lost = lost
}

// Charge has what waits to be taken of the body take space in a memory, until it is taken or Discharged. If there is none, full is told,
// once, and the body cannot be taken any more. The connection is locked meanwhile: full must not wait.
func (s *Stream) Charge(m Memory, full func()) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.memory, s.full = m, full
	n := int32(len(s.body)) - s.lent
	if len(s.body) > 0 && !s.charge(len(s.body)) {
		s.body, s.lent = nil, 0
	} else {
		s.lent += n
	}
	s.conn.give(n)
}

// Discharge gives back all space that the body takes in the memory that it was charged to.
func (s *Stream) Discharge() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.discharge(s.charged)
	s.memory, s.full = nil, nil
	s.conn.given -= s.lent
	s.lent = 0
}

// charge reports whether there is space for more of the body. The lock is held.
func (s *Stream) charge(n int) bool {
	switch {
	case s.overfull:
		return false
	case s.memory == nil:
		return true
	case s.memory.Buffer(n):
		s.charged += n
		return true
	}
	s.overfull = true
	s.full()
	s.arrived.Signal()
	return false
}

// discharge gives space back. The lock is held.
func (s *Stream) discharge(n int) {
	if n = min(n, s.charged); n > 0 {
		s.memory.Unbuffer(n)
		s.charged -= n
	}
}

// Whole returns the body if it has arrived to its end. It can be taken again.
func (s *Stream) Whole() (body []byte, ok bool) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if !s.ended || s.overfull {
		return nil, false
	}
	return s.body, true
}

// Take waits for more of the body and takes all that is there. What it returned before is to be used no more, if it is given back
// as spare. The error is io.EOF at the end.
func (s *Stream) Take(spare []byte) (p []byte, err error) { return s.TakeSome(spare, math.MaxInt) }

// TakeSome is Take, but takes no more than that many bytes.
func (s *Stream) TakeSome(spare []byte, most int) (p []byte, err error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(s.body) == 0 && !s.ended && !s.overfull && s.err == nil && s.untaken == nil {
		s.arrived.Wait()
	}
	switch {
	case s.err != nil:
		return nil, s.err
	case s.untaken != nil:
		return nil, s.untaken
	case s.overfull:
		return nil, errFull
	case len(s.body) == 0:
		return nil, io.EOF
	}
	p, s.body = s.body, spare[:0]
	if len(p) > most {
		p, s.body = p[:most], append(s.body, p[most:]...)
	}
	s.discharge(len(p))
	lent := min(s.lent, int32(len(p)))
	c.give(int32(len(p)) - lent)
	s.lent -= lent
	s.give(int32(len(p)))
	return p, nil
}

// StopTaking has Take fail from now on, until it is called without an error.
func (s *Stream) StopTaking(err error) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.untaken == nil || err == nil {
		s.untaken = err
	}
	s.arrived.Signal()
}

// Trailer is what came behind the body, once that was taken to its end.
func (s *Stream) Trailer() []http1.Field {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.trailer.Fields
}

// Err is why the stream has ended before its end, if it has.
func (s *Stream) Err() error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.err
}

// Fail ends what waits for the stream, here and now. The peer is told when it is Done.
func (s *Stream) Fail(err error) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.err == nil {
		s.lost = nil
		s.fail(err)
	}
}

// Done says that nobody deals with the stream any more. If it is not at its end, the peer is told: that there is no need to send
// the rest of a body when everything was answered, else that it is broken off with a code.
func (s *Stream) Done(code http2.ErrCode) {
	c := s.conn
	c.mu.Lock()
	s.lost = nil
	s.discharge(s.charged)
	if c.streams[s.id] == s {
		if s.sent && !c.config.Client {
			code = http2.ErrCodeNo
		}
		c.reset(s.id, code)
	}
	c.give(int32(len(s.body)) - s.lent)
	c.running--
	if s.err == nil {
		s.err = errOver
	}
	c.ended()
	c.mu.Unlock()
}

// Free leaves the memory of a stream that is Done to another one. Nobody may use it afterwards.
func (s *Stream) Free() {
	body, head, trailer := s.body[:0], s.Head, s.trailer
	if cap(body) > 4<<10 {
		body = nil
	}
	head.clear()
	trailer.clear()
	*s = Stream{body: body, Head: head, trailer: trailer}
	streams.Put(s)
}
