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
	// lost says that it is not all.
	lost bool
}

// mostResent is how much of a body is kept for being sent again. It is more only while the pod's system has received nothing, and
// that is no more than a system takes before something is received.
const mostResent = 16 << 10

// add adds what is sent next.
func (s *sent) add(p []byte, received func() bool) {
	if s.lost = s.lost || len(s.b)+len(p) > mostResent && received(); s.lost {
		s.b = nil
	} else {
		s.b = append(s.b, p...)
	}
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
		b.sent.add(p[:n], b.received)
	}
	s.at += n
	return n, err
}

// Close leaves the body to whoever sends it next.
func (s *sending) Close() error { return nil }
