package queue

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/clock"
)

// Counters holds the counts of all apps in one interceptor.
type Counters struct {
	epoch string
	clock clock.PassiveClock
	// start is the moment that all times in the counts are relative to. It has a monotonic reading: a step of the wall clock
	// does not bend the integrals.
	start time.Time

	mu   sync.Mutex
	apps map[appKey]*App
	// current is, for each name, the app that has it now: the one whose requests are that name's.
	current map[types.NamespacedName]*App
	// changed has each app whose dirty flag is set, once: it is bounded by the number of apps.
	changed []*App
	wake    chan struct{}
}

type appKey struct {
	name types.NamespacedName
	uid  types.UID
}

// NewCounters makes counters that start from zero, in an epoch of their own.
func NewCounters(clk clock.PassiveClock) *Counters {
	return &Counters{
		epoch:   string(uuid.NewUUID()),
		clock:   clk,
		start:   clk.Now(),
		apps:    map[appKey]*App{},
		current: map[types.NamespacedName]*App{},
		wake:    make(chan struct{}, 1),
	}
}

// App returns the counts of an app, made when there are none yet. An app of the same name and another uid is retired: its
// requests finish, but they are not those of the new app.
func (c *Counters) App(name types.NamespacedName, uid types.UID) *App {
	key := appKey{name, uid}
	c.mu.Lock()
	a := c.apps[key]
	if a == nil {
		a = &App{counters: c, key: key}
		c.apps[key] = a
	}
	before := c.current[name]
	c.current[name] = a
	revived := a.revive()
	c.mu.Unlock()
	if before != nil && before != a {
		if before.retire() {
			c.drop(before)
		}
		before.touch()
	}
	if revived {
		a.touch()
	}
	return a
}

// Remove retires an app that is gone. Its counts are kept, and published, until its last request is done.
func (c *Counters) Remove(name types.NamespacedName, uid types.UID) {
	c.mu.Lock()
	a := c.apps[appKey{name, uid}]
	c.mu.Unlock()
	if a == nil {
		return
	}
	if a.retire() {
		c.drop(a)
	}
}

// drop forgets an app that was retired and has no request any more.
func (c *Counters) drop(a *App) {
	c.mu.Lock()
	a.mu.Lock()
	dropped := a.retired && a.pending+a.inFlight == 0 && c.apps[a.key] == a
	a.mu.Unlock()
	if dropped {
		delete(c.apps, a.key)
		if c.current[a.key.name] == a {
			delete(c.current, a.key.name)
		}
	}
	c.mu.Unlock()
	if dropped {
		a.touch()
	}
}

// Apps returns the counts of all apps, those of retired ones that have requests included.
func (c *Counters) Apps() []*App {
	c.mu.Lock()
	defer c.mu.Unlock()
	apps := make([]*App, 0, len(c.apps))
	for _, a := range c.apps {
		apps = append(apps, a)
	}
	return apps
}

// Open returns how many requests there are: pending and in flight, of all apps.
func (c *Counters) Open() int64 {
	var n int64
	for _, a := range c.Apps() {
		r := a.Read()
		n += r.Pending + r.InFlight
	}
	return n
}

// now is the present on the counters' clock, as time since the start of the epoch.
func (c *Counters) now() time.Duration { return c.clock.Since(c.start) }

func (c *Counters) notify(a *App) {
	c.mu.Lock()
	c.changed = append(c.changed, a)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// takeChanged returns the apps that changed since it was last called.
func (c *Counters) takeChanged() []*App {
	c.mu.Lock()
	changed := c.changed
	c.changed = nil
	c.mu.Unlock()
	for _, a := range changed {
		a.mu.Lock()
		a.dirty = false
		a.mu.Unlock()
	}
	return changed
}

// published reports whether an app's counts are those of its name: not after a new app took the name over, nor after the app
// was dropped.
func (c *Counters) published(a *App) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current[a.key.name] == a
}

// App is the counts of one app in one interceptor.
//
// All of them are behind one lock that is held for a handful of instructions, and not separate atomics: the integral is only
// exact when the number of open requests and the sum of their times are read as one. BenchmarkCountingARequest says what that
// costs.
type App struct {
	counters *Counters
	key      appKey

	// What a request touches has a cache line of its own, so that apps do not slow each other down.
	_ [cacheLine]byte

	mu                sync.Mutex
	pending, inFlight int32
	requests          int64
	coldStarts        int64
	// The integral over time of the open requests is
	//
	//	whole + (open × now + sum)
	//
	// where sum has the time of each accepted request subtracted and the time of each finished one added. So a request
	// costs one addition at each end. sum (in nanoseconds) and open × now wrap
	// around, their total does not: each reading moves its whole seconds to whole.
	sum   int64
	whole int64
	// last is when the last request was accepted.
	last time.Duration
	// start is the last cold start, if there was one.
	start   *ColdStart
	dirty   bool
	retired bool

	_ [cacheLine]byte
}

const cacheLine = 64

// Name returns the app's name.
func (a *App) Name() types.NamespacedName { return a.key.name }

// UID returns the app's uid.
func (a *App) UID() types.UID { return a.key.uid }

// Reading is the counts of one app at one moment.
type Reading struct {
	Pending, InFlight int64
	// Requests were accepted since the epoch began.
	Requests int64
	// ConcurrencySeconds is the integral over time of Pending + InFlight since the epoch began.
	ConcurrencySeconds float64
	ColdStarts         int64
	// LastRequest is when the last request was accepted; zero when none was.
	LastRequest time.Time
	// LastColdStart is the last one that was complete; nil when none was.
	LastColdStart *ColdStart
}

// ColdStart is the way from the first request that waited for a pod to its response.
type ColdStart struct {
	// At is when the response began.
	At time.Time
	// Stages are in the order in which they were reached.
	Stages []Stage
}

// Stage is a stage of a cold start, and how long after the request it was reached.
type Stage struct {
	Name  string
	After time.Duration
}

// Read returns the counts of this moment.
func (a *App) Read() Reading {
	r, _ := a.read()
	return r
}

// read returns the counts and the moment they are of.
func (a *App) read() (Reading, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// The clock is read behind the lock: every request in the sum came before.
	now := a.counters.now()
	rest := int64(a.pending+a.inFlight)*int64(now) + a.sum
	if seconds := rest / int64(time.Second); seconds > 0 {
		a.whole += seconds
		a.sum -= seconds * int64(time.Second)
		rest -= seconds * int64(time.Second)
	}
	r := Reading{
		Pending:            int64(a.pending),
		InFlight:           int64(a.inFlight),
		Requests:           a.requests,
		ConcurrencySeconds: float64(a.whole) + float64(rest)/float64(time.Second),
		ColdStarts:         a.coldStarts,
		LastColdStart:      a.start,
	}
	if a.requests > 0 {
		r.LastRequest = a.counters.start.Add(a.last)
	}
	return r, now
}

// retire reports whether the app, which is gone, has no request any more.
func (a *App) retire() (drained bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.retired = true
	return a.pending+a.inFlight == 0
}

// revive reports whether the app had been retired.
func (a *App) revive() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.retired
	a.retired = false
	return was
}

// touch makes publishers look at the app.
func (a *App) touch() {
	a.mu.Lock()
	was := a.dirty
	a.dirty = true
	a.mu.Unlock()
	if !was {
		a.counters.notify(a)
	}
}

// Started notes that a cold start is complete.
func (a *App) Started(start *ColdStart) {
	a.mu.Lock()
	a.start = start
	a.mu.Unlock()
	a.touch()
}

// move changes the counts by one request's step.
func (a *App) move(pending, inFlight int32, accepted, finished bool) {
	a.mu.Lock()
	// Read behind the lock, so that the integral never goes back, not even by the time that somebody waited for the lock.
	now := a.counters.now()
	a.pending += pending
	a.inFlight += inFlight
	if accepted {
		a.requests++
		a.sum -= int64(now)
		a.last = now
	}
	if finished {
		a.sum += int64(now)
	}
	drained := finished && a.retired && a.pending+a.inFlight == 0
	was := a.dirty
	a.dirty = true
	a.mu.Unlock()
	if !was {
		a.counters.notify(a)
	}
	if drained {
		a.counters.drop(a)
	}
}

// Ticket is one request in the counts: accepted, then forwarded, perhaps held again, then done. It moves once for each step,
// whoever says so how often. It belongs to the goroutine that answers the request and is not copied.
type Ticket struct {
	_     noCopy
	app   *App
	state ticketState
	cold  bool
}

type ticketState uint8

const (
	outside ticketState = iota
	pending
	inFlight
	done
)

// noCopy lets go vet find copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// Accept counts a request as pending. The ticket must be new.
func (t *Ticket) Accept(a *App) {
	if t.state != outside {
		return
	}
	t.app, t.state = a, pending
	a.move(1, 0, true, false)
}

// Forward counts the request as in flight: it is being sent to a pod.
func (t *Ticket) Forward() {
	if t.state != pending {
		return
	}
	t.state = inFlight
	t.app.move(-1, 1, false, false)
}

// Hold counts the request as pending again: nothing of it has been sent, and it waits for a pod once more.
func (t *Ticket) Hold() {
	if t.state != inFlight {
		return
	}
	t.state = pending
	t.app.move(1, -1, false, false)
}

// Cold counts the request as one that found no ready pod.
func (t *Ticket) Cold() {
	if t.cold || t.app == nil || t.state == done {
		return
	}
	t.cold = true
	t.app.mu.Lock()
	t.app.coldStarts++
	t.app.mu.Unlock()
	t.app.touch()
}

// Pass gives the request's place in the counts to a new ticket: this one is done, and nothing has changed for those who read them.
func (t *Ticket) Pass() *Ticket {
	heir := &Ticket{app: t.app, state: t.state, cold: t.cold}
	t.state = done
	return heir
}

// Done takes the request out of the counts, wherever it was.
func (t *Ticket) Done() {
	switch t.state {
	case pending:
		t.state = done
		t.app.move(-1, 0, false, true)
	case inFlight:
		t.state = done
		t.app.move(0, -1, false, true)
	}
}
