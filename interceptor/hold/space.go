package hold

import "sync/atomic"

// Space bounds what the requests that wait in all lines of a process take together. One line may have a quarter of its memory:
// an app that everybody waits for leaves room for others.
type Space struct {
	mostRequests int64
	// mostBytes is for the heads of requests, and as much again for what is read of their bodies.
	mostBytes int64

	requests, heads, bodies atomic.Int64
}

// NewSpace makes a space for a number of requests and of bytes.
func NewSpace(requests int, bytes int64) *Space {
	return &Space{mostRequests: int64(requests), mostBytes: bytes / 2}
}

// share is what one line has of a space.
type share struct {
	space         *Space
	heads, bodies atomic.Int64
}

// Buffer reports whether n more bytes of bodies may be kept. Whoever was told so gives them back with Unbuffer.
func (s *share) Buffer(n int) bool { return s.space == nil || s.take(&s.bodies, &s.space.bodies, n) }

// Unbuffer gives back what Buffer granted.
func (s *share) Unbuffer(n int) {
	if s.space != nil {
		give(&s.bodies, &s.space.bodies, n)
	}
}

// enter takes what a request needs that is to wait. One that has waited before is not refused: there was room for it.
func (s *share) enter(p *Place, again bool) bool {
	switch {
	case s.space == nil:
		return true
	case again:
		s.space.requests.Add(1)
		give(&s.heads, &s.space.heads, -p.Bytes)
	case !add(&s.space.requests, 1, s.space.mostRequests):
		return false
	case !s.take(&s.heads, &s.space.heads, p.Bytes):
		s.space.requests.Add(-1)
		return false
	}
	return true
}

func (s *share) leave(p *Place) {
	if s.space != nil {
		s.space.requests.Add(-1)
		give(&s.heads, &s.space.heads, p.Bytes)
	}
}

func (s *share) take(mine, all *atomic.Int64, n int) bool {
	if !add(mine, n, s.space.mostBytes/4) {
		return false
	}
	if !add(all, n, s.space.mostBytes) {
		mine.Add(-int64(n))
		return false
	}
	return true
}

func give(mine, all *atomic.Int64, n int) {
	mine.Add(-int64(n))
	all.Add(-int64(n))
}

// add is false, and changes nothing, when the sum would be above most.
func add(to *atomic.Int64, n int, most int64) bool {
	if to.Add(int64(n)) > most {
		to.Add(-int64(n))
		return false
	}
	return true
}
