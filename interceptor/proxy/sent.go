package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// sent is what was sent of a body, for as long as it can be sent again.
type sent struct {
	b []byte
	// bulk is the memory of b, if that is long.
	bulk *bulk
	// lost says that it is not all.
	lost bool
}

const (
	// mostResent is how much of a body is kept for being sent again.
	mostResent = 16 << 10
	// mostUnreceived is how much is as long as the pod's system has received nothing. Between machines that is about what a system takes
	// before the first is received; on one it takes megabytes.
	mostUnreceived = 64 << 10
	// mostAhead is the same where net/http sends, which reads more than it has written.
	mostAhead = 1 << 20
)

// bulk is for the parts of long bodies.
type bulk [mostUnreceived]byte

var bulks = sync.Pool{New: func() any { return new(bulk) }}

// add adds what is sent next, up to the most that is kept when nothing was received.
func (s *sent) add(p []byte, most int, received func() bool) {
	n := len(s.b) + len(p)
	switch {
	case s.lost:
		return
	case n > most || n > mostResent && received():
		s.free()
		s.lost = true
		return
	case n >= mostResent && n <= len(s.bulk) && s.bulk == nil: // more is to come
		s.bulk = bulks.Get().(*bulk)
		s.b = append(s.bulk[:0], s.b...)
	}
	s.b = append(s.b, p...)
}

// free leaves the memory to others.
func (s *sent) free() {
	if s.bulk != nil {
		bulks.Put(s.bulk)
	}
	s.b, s.bulk = nil, nil
}

// sentBody is the body of a request that net/http sends, as often as it can.
type sentBody struct {
	mu   sync.Mutex
	from io.Reader
	sent sent
	// received reports whether the pod's system has received anything of the request.
	received func() bool
	// last is whoever sends it.
	last *sending
}

// sending sends a body once.
type sending struct {
	body *sentBody
	at   int
}

var errSent = errors.New("the request's body cannot be sent again")

// again begins to send the body from its beginning. Whoever did before sends no more.
func (b *sentBody) again() (*sending, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sent.lost {
		return nil, errSent
	}
	b.last = &sending{body: b}
	b.received = func() bool { return true }
	return b.last, nil
}

// on says where it is sent.
func (b *sentBody) on(received func() bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.received = received
}

// goesOn says where what was not sent yet comes from.
func (b *sentBody) goesOn(from io.Reader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.from = from
}

// resendable reports whether it can be sent again. There is none if it is nil.
func (b *sentBody) resendable() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.sent.lost
}

// Read implements io.Reader.
func (s *sending) Read(p []byte) (n int, err error) {
	b := s.body
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.last != s:
		return 0, http.ErrBodyReadAfterClose
	case s.at < len(b.sent.b):
		n = copy(p, b.sent.b[s.at:])
	default:
		n, err = b.from.Read(p)
		b.sent.add(p[:n], mostAhead, b.received)
	}
	s.at += n
	return n, err
}

// Close leaves the body to whoever sends it next.
func (s *sending) Close() error { return nil }
