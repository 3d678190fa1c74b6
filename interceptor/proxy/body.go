package proxy

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// bufferEach is how much of one held request's body is read while it waits: nearly all bodies are shorter.
	bufferEach = 1 << 20
	readSize   = 4 << 10
)

// memory is what the bodies of held requests may take. When it is used up, no more is read of any.
type memory interface {
	Buffer(n int) bool
	Unbuffer(n int)
}

// unread is a body that comes, as far as its client may send, without being read.
type unread interface {
	// Charge has what was not read take space in a memory, and full told if there is none. It must not wait.
	Charge(m memory, full func())
	Discharge()
}

// linger is how long a client may go on sending after it has got its answer. Ending the connection under a client that sends
// could cost it the answer.
const linger = time.Second

// clientBody is the body of an HTTP/1 request that has one.
//
// net/http lets a handler answer before it has read the body only with care (golang/go#68560): the rest of the body must not be
// taken for the next request, a read must not go on after the handler, and none must begin behind net/http's back. So an
// exchange whose body was not read to its end when it was answered is the last of its connection.
type clientBody struct {
	from io.ReadCloser
	// ended says that it was read to its end, and failed that it has none.
	ended, failed atomic.Bool
	// bytes are those that were read.
	bytes atomic.Int64

	// mu is held while a read goes on.
	mu   sync.Mutex
	over bool
}

func (b *clientBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.from.Read(p)
	b.bytes.Add(int64(n))
	switch {
	case errors.Is(err, io.EOF):
		b.ended.Store(true)
	case err != nil:
		b.failed.Store(true)
	}
	return n, err
}

// broke reports whether it is for the client that its body was not forwarded.
func (b *clientBody) broke() bool { return b != nil && b.failed.Load() }

// Close leaves the body to the server.
func (b *clientBody) Close() error { return nil }

// closeAfter has the connection closed after an answer that comes before the end of the body. It is called before the
// answer's header is sent.
func (b *clientBody) closeAfter(w http.ResponseWriter) {
	if b != nil && !b.ended.Load() {
		w.Header().Set("Connection", "close")
	}
}

// finish breaks off a read that is going on and lets none begin.
func (b *clientBody) finish(w http.ResponseWriter) {
	if b == nil || b.ended.Load() {
		return
	}
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Unix(1, 0))
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
	_ = c.SetReadDeadline(time.Now().Add(linger))
}

// heldBody reads the beginning of a body while its request waits, up to a bound.
//
// net/http watches a connection only once the body of its request has been read. Where departures are not told of, a client that leaves
// before bufferEach bytes of its body are read, or after all of it is, is noticed at once; one with a longer body only when its request is
// forwarded or has waited for too long.
type heldBody struct {
	from   io.Reader
	memory memory
	// arrived are the trailers, which the server fills in when it has read the body. trailer has them from when the reader has,
	// who looks at it before.
	arrived, trailer http.Header

	mu    sync.Mutex
	cond  sync.Cond
	buf   []byte
	taken int
	// granted is what was taken of the memory.
	granted int
	err     error // that came after buf
	pumping bool
	stop    bool
	closed  bool
	// broken is called when the body turns out to have no end.
	broken func()
}

// newHeldBody begins to read; broken is told when the client leaves meanwhile. The trailers are those of the request.
func newHeldBody(from io.Reader, trailer http.Header, m memory, broken func()) *heldBody {
	h := &heldBody{from: from, arrived: trailer, trailer: maps.Clone(trailer), memory: m, broken: broken, pumping: true}
	h.cond.L = &h.mu
	go h.pump()
	return h
}

func (h *heldBody) pump() {
	defer func() {
		h.mu.Lock()
		h.pumping = false
		h.cond.Broadcast()
		h.mu.Unlock()
	}()
	chunk := make([]byte, readSize)
	for {
		h.mu.Lock()
		room := min(bufferEach-len(h.buf), readSize)
		more := !h.stop && room > 0 && h.memory.Buffer(room)
		if more {
			h.granted += room
		}
		h.mu.Unlock()
		if !more {
			return
		}
		n, err := h.from.Read(chunk[:room])
		h.mu.Lock()
		h.buf = append(h.buf, chunk[:n]...)
		h.err = err
		h.granted -= room - n
		h.memory.Unbuffer(room - n)
		h.cond.Broadcast()
		h.mu.Unlock()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				h.broken()
			}
			return
		}
	}
}

// failed reports whether the body ended before its end: its client left.
func (h *heldBody) failed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err != nil && !errors.Is(h.err, io.EOF)
}

// Read gives what was read meanwhile, then the rest.
func (h *heldBody) Read(p []byte) (int, error) {
	n, err := h.read(p)
	if errors.Is(err, io.EOF) && h.trailer != nil {
		maps.Copy(h.trailer, h.arrived)
	}
	return n, err
}

func (h *heldBody) read(p []byte) (int, error) {
	h.mu.Lock()
	h.stop = true
	for h.taken == len(h.buf) && h.err == nil && h.pumping && !h.closed {
		h.cond.Wait()
	}
	switch {
	case h.closed:
		h.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	case h.taken < len(h.buf):
		n := copy(p, h.buf[h.taken:])
		h.taken += n
		if h.taken == len(h.buf) && !h.pumping {
			h.drop()
		}
		h.mu.Unlock()
		return n, nil
	case h.err != nil:
		defer h.mu.Unlock()
		return 0, h.err
	}
	h.mu.Unlock()
	return h.from.Read(p)
}

// drop frees the buffer. The lock is held.
func (h *heldBody) drop() {
	h.buf, h.taken = nil, 0
	h.memory.Unbuffer(h.granted)
	h.granted = 0
}

// finish ends the reading when the request is over, after that of the client's body.
func (h *heldBody) finish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stop, h.closed = true, true
	h.cond.Broadcast()
	for h.pumping {
		h.cond.Wait()
	}
	h.drop()
}
