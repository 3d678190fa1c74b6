package server

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// largeList is how many apps a list is of that takes some ten megabytes to answer.
	largeList = 2000
	// tidied is how long after the last large list its memory is given back, by when it should have been sent; tidiedAgain how long after
	// that at the soonest: it takes two collections.
	tidied, tidiedAgain = 5 * time.Second, 15 * time.Second
)

// tidier gives back to the system what answers to large lists took. By itself the runtime does so after its next collection, which a
// server that has little to do comes to minutes later.
type tidier struct {
	clock clock.WithDelayedExecution
	free  func()

	mu    sync.Mutex
	timer clock.Timer
	// due is when the timer rings, last when the one before rang.
	due, last time.Time
}

func newTidier() *tidier {
	return &tidier{clock: clock.RealClock{}, free: func() {
		// What is pooled, the buffers of answers above all, goes with the second collection, and the memory with it.
		runtime.GC()
		debug.FreeOSMemory()
	}}
}

// listed notes that a list of so many apps is being answered.
func (t *tidier) listed(apps int) {
	if apps < largeList {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil && !t.timer.Stop() {
		t.last = t.due
	}
	now := t.clock.Now()
	wait := max(tidied, tidiedAgain-now.Sub(t.last))
	t.due, t.timer = now.Add(wait), t.clock.AfterFunc(wait, t.free)
}
