// Package hold keeps requests waiting, in the order of their arrival, while no pod can take them.
package hold

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

var (
	// ErrFull says that as many requests wait as may.
	ErrFull = errors.New("as many requests as may wait are waiting")
	// ErrCrowded says that in all lines together as many requests wait as may, or take as much memory.
	ErrCrowded = errors.New("the space for requests that wait is full")
	// ErrTooLong says that a request waited for as long as it may.
	ErrTooLong = errors.New("no pod became ready in time")
)

// Line is the requests of one app that wait.
type Line struct {
	clock clock.WithTicker
	share

	// some is how many wait or are about to: no release is lost between their last look at the pods and their wait.
	some atomic.Int64

	mu      sync.Mutex
	waiting list.List // of *Place
	arrived uint64
	closed  error
	refused error
}

// Place is where one request stands. It is kept while the request lives, so that one that has to wait again stands where it
// stood.
type Place struct {
	// Bytes is how much memory the request takes while it waits, as far as its client has a say in that.
	Bytes int

	arrival uint64
	since   time.Time
	take    func() bool
	// released is closed when the wait is over: with err, if the line was closed.
	released chan struct{}
	err      error
}

// NewLine makes an empty line. Its requests take of the space, if there is one.
func NewLine(clk clock.WithTicker, space *Space) *Line {
	return &Line{clock: clk, share: share{space: space}}
}

// Len is how many requests wait.
func (l *Line) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.Len()
}

// Busy reports whether there are requests that go before one that comes now.
func (l *Line) Busy() bool { return l.some.Load() > 0 }

// Wait blocks until it is the request's turn and take, which gives it what it waits for, succeeds; at most until longest after
// its first wait began. When Wait returns nil the request has it, even if its client left at the same moment. Take is tried at
// once if nobody is before the request, and with each Release: whoever makes it possible calls that afterwards, so no release
// is missed. It is called with the line locked. A request that waits for the first time is refused with ErrFull when most wait
// already, and with ErrCrowded when there is no space.
func (l *Line) Wait(ctx context.Context, p *Place, most int, longest time.Duration, take func() bool) error {
	l.some.Add(1)
	defer l.some.Add(-1)
	e, left, err := l.join(p, most, longest, take)
	if e == nil {
		return err
	}
	defer l.leave(p)
	return l.await(ctx, p, e, left)
}

// join puts a request into the line, unless it need not or must not wait. It is apart because many wait, each with its stack.
func (l *Line) join(p *Place, most int, longest time.Duration, take func() bool) (e *list.Element, left time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed != nil:
		return nil, 0, l.closed
	case (p.arrival != 0 || l.waiting.Len() == 0) && take():
		return nil, 0, nil
	case l.refused != nil:
		return nil, 0, l.refused
	case p.arrival != 0:
		l.enter(p, true)
	case l.waiting.Len() >= most:
		return nil, 0, ErrFull
	case !l.enter(p, false):
		return nil, 0, ErrCrowded
	default:
		l.arrived++
		p.arrival, p.since = l.arrived, l.clock.Now()
	}
	p.take, p.released = take, make(chan struct{})
	return l.insert(p), longest - l.clock.Since(p.since), nil
}

// await waits until a request is released, or must not wait any longer.
func (l *Line) await(ctx context.Context, p *Place, e *list.Element, left time.Duration) error {
	err := l.until(ctx, p.released, left)
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-p.released: // perhaps at the same moment; it is out of the list already
		return p.err
	default:
		l.waiting.Remove(e)
		return err
	}
}

func (l *Line) until(ctx context.Context, released <-chan struct{}, left time.Duration) error {
	timer := l.clock.NewTimer(max(left, 0))
	defer timer.Stop()
	select {
	case <-released:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C():
		return ErrTooLong
	}
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

// Release lets requests go, those that came first, until one cannot take what it waits for.
func (l *Line) Release() {
	if !l.Busy() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.waiting.Front(); e != nil && e.Value.(*Place).take(); e = l.waiting.Front() {
		l.end(e, nil)
	}
}

// Refuse ends every wait with an error, also those to come, until it is called with nil: what is waited for will not be there.
func (l *Line) Refuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = err
	if err != nil {
		l.refuse(err)
	}
}

func (l *Line) refuse(err error) {
	for l.waiting.Len() > 0 {
		l.end(l.waiting.Front(), err)
	}
}

// end ends a wait. The lock is held.
func (l *Line) end(e *list.Element, err error) {
	p := l.waiting.Remove(e).(*Place)
	p.err = err
	close(p.released)
}

// Close ends every wait, now and later, with an error: the app is gone.
func (l *Line) Close(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = err
	l.refuse(err)
}
