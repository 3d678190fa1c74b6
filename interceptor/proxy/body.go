package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// bufferEach is how much of one held request's body is read while it waits.
	bufferEach = 64 << 10
	// bufferAll is how much all held requests' bodies together may take.
	bufferAll = 64 << 20
	readSize  = 4 << 10
)

// budget is the memory for the bodies of held requests, shared by all of them.
type budget struct {
	mu   sync.Mutex
	left int
}

func (b *budget) take(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < n {
		return false
	}
	b.left -= n
	return true
}

func (b *budget) give(n int) {
	b.mu.Lock()
	b.left += n
	b.mu.Unlock()
}

// heldBody reads the beginning of a body while its request waits, up to a bound.
//
// There is no other way to learn that the client of an HTTP/1 request left: net/http watches a connection only once the body
// of its request has been read. A client that leaves before bufferEach bytes of its body are read, or after all of it is, is
// noticed at once; one with a longer body only when its request is forwarded or has waited for too long.
type heldBody struct {
	from   io.ReadCloser
	budget *budget

	mu      sync.Mutex
	cond    sync.Cond
	buf     []byte
	taken   int
	budgets int
	err     error // that came after buf
	pumping bool
	stop    bool
	closed  bool
	// broken is called when the body turns out to have no end.
	broken func()
}

// newHeldBody begins to read; broken is told when the client leaves meanwhile.
func newHeldBody(from io.ReadCloser, b *budget, broken func()) *heldBody {
	h := &heldBody{from: from, budget: b, broken: broken, pumping: true}
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
		more := !h.stop && room > 0 && h.budget.take(room)
		if more {
			h.budgets += room
		}
		h.mu.Unlock()
		if !more {
			return
		}
		n, err := h.from.Read(chunk[:room])
		h.mu.Lock()
		h.buf = append(h.buf, chunk[:n]...)
		h.err = err
		h.budgets -= room - n
		h.budget.give(room - n)
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
	h.budget.give(h.budgets)
	h.budgets = 0
}

// Close does not close the client's body: that is the server's.
func (h *heldBody) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.cond.Broadcast()
	return nil
}

// finish ends the reading when the request is over. A read that waits for the client is broken off, which ends the connection
// after the response; there is no other way to have it back.
func (h *heldBody) finish(w http.ResponseWriter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stop, h.closed = true, true
	h.cond.Broadcast()
	if h.pumping {
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
	}
	for h.pumping {
		h.cond.Wait()
	}
	h.drop()
}
