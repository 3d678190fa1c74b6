// Package hold keeps requests waiting, in the order of their arrival, while no pod can take them.
package hold

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

var (
	// ErrFull says that as many requests wait as may.
	ErrFull = errors.New("as many requests as may wait are waiting")
	// ErrTooLong says that a request waited for as long as it may.
	ErrTooLong = errors.New("no pod became ready in time")
)

// Line is the requests of one app that wait.
type Line struct {
	clock clock.WithTicker

	mu      sync.Mutex
	waiting list.List // of *Place
	arrived uint64
	closed  error
}

// Place is where one request stands. It is kept while the request lives, so that one that has to wait again stands where it
// stood.
type Place struct {
	arrival uint64
	since   time.Time
	release chan struct{}
}

// NewLine makes an empty line.
func NewLine(clk clock.WithTicker) *Line { return &Line{clock: clk} }

// Len is how many requests wait.
func (l *Line) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.Len()
}

// Wait blocks until the line is released, at most until longest after the request's first wait began. It does not block when
// ready says that there is no need to: whoever makes it true calls Release afterwards, so no release is missed. A request
// that waits for the first time is refused with ErrFull when most wait already.
func (l *Line) Wait(ctx context.Context, p *Place, most int, longest time.Duration, ready func() bool) error {
	l.mu.Lock()
	if l.closed != nil {
		defer l.mu.Unlock()
		return l.closed
	}
	if ready() {
		l.mu.Unlock()
		return nil
	}
	if p.arrival == 0 {
		if l.waiting.Len() >= most {
			l.mu.Unlock()
			return ErrFull
		}
		l.arrived++
		p.arrival, p.since = l.arrived, l.clock.Now()
	}
	p.release = make(chan struct{})
	e := l.insert(p)
	left := longest - l.clock.Since(p.since)
	l.mu.Unlock()

	timer := l.clock.NewTimer(max(left, 0))
	defer timer.Stop()
	var err error
	select {
	case <-p.release:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.closed
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C():
		err = ErrTooLong
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-p.release: // at the same moment; it is out of the list already
		if errors.Is(err, ErrTooLong) {
			return l.closed
		}
	default:
		l.waiting.Remove(e)
	}
	return err
}

// insert puts a request where it belongs: nearly always at the end, or at the front when it waited before.
func (l *Line) insert(p *Place) *list.Element {
	for e := l.waiting.Back(); e != nil; e = e.Prev() {
		if e.Value.(*Place).arrival < p.arrival {
			return l.waiting.InsertAfter(p, e)
		}
	}
	return l.waiting.PushFront(p)
}

// Release lets all requests go, the first that came first.
func (l *Line) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.waiting.Front(); e != nil; e = l.waiting.Front() {
		close(l.waiting.Remove(e).(*Place).release)
	}
}

// Close ends every wait, now and later, with an error: the app is gone.
func (l *Line) Close(err error) {
	l.mu.Lock()
	l.closed = err
	l.mu.Unlock()
	l.Release()
}
