package queue

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/interceptor/queue/wire"
)

const (
	// staleAfter is how long an interceptor may be silent before its counts are no longer current: three heartbeats.
	staleAfter = 3 * heartbeat
	// minRetention is how much of the past is kept although nobody asked for so much yet.
	minRetention = time.Minute
	// maxRetention is the longest window that can be asked for.
	maxRetention = 10 * time.Minute
	// visible is how long at least an app's changes are told after its last request: the averages of the live view, over ten
	// seconds, return to zero within it.
	visible = 10*time.Second + heartbeat
)

// ledger adds up the counts of all interceptors. It knows nothing of streams and clocks: each call says what time it is. It is
// not safe for concurrent use.
type ledger struct {
	grace time.Duration
	// retention is the longest window that was asked for, at least minRetention.
	retention time.Duration
	// asked is the longest window that was asked for.
	asked time.Duration

	views map[string]*view
	// ended views are of interceptors that are gone: their requests are over, yet what they did remains part of the averages
	// for as long as a window can reach back.
	ended map[*view]struct{}
	apps  map[types.NamespacedName]map[*view][]*entry
	// lively apps had their last change then, and lately, so that their averages still move.
	lively map[types.NamespacedName]time.Time
	// pending and inFlight are the requests of all apps.
	pending, inFlight int64
}

// view is what one interceptor told, in one epoch.
type view struct {
	epoch string
	// listed says that the interceptor is one that there should be.
	listed bool
	// serves says that requests come to it, or did until it was told to end.
	serves bool
	// known says that a snapshot arrived.
	known bool
	// connected says that its stream is open; lostAt is when it was lost otherwise.
	connected bool
	lostAt    time.Time
	// finished says that it ended its stream by itself, with nothing left to count.
	finished bool
	// stale says that it was found silent for too long.
	stale bool
	// added is when it was first heard of.
	added time.Time
	// heard is when, by our clock, the last update arrived, which was made at told by its clock.
	heard, told time.Time
	endedAt     time.Time
}

// remote translates a moment of our clock to the interceptor's. The difference between the clocks cancels out, the time that
// an update travels does not: it is far below what the averages show.
func (v *view) remote(t time.Time) time.Time { return v.told.Add(t.Sub(v.heard)) }
func (v *view) local(t time.Time) time.Time  { return v.heard.Add(t.Sub(v.told)) }

// current reports whether the view's numbers are those of this moment.
func (v *view) current() bool { return v.known && v.connected && !v.stale }

// entry is what one interceptor told of an app with a uid: of each name there is one, but for the time in which an app is made again.
type entry struct {
	uid               types.UID
	pending, inFlight int64
	coldStarts        int64
	// told is when the last request was accepted, by the interceptor's clock. last is the same moment by ours, as it was
	// reckoned when it was told: every update travels for another time, and a moment of the past should not move with it.
	told, last time.Time
	// startTold is when the last cold start was complete, by the interceptor's clock; in start it is by ours.
	startTold time.Time
	start     *ColdStart
	past      history
}

func newLedger(grace time.Duration) *ledger {
	return &ledger{
		grace:     grace,
		retention: minRetention,
		views:     map[string]*view{},
		ended:     map[*view]struct{}{},
		apps:      map[types.NamespacedName]map[*view][]*entry{},
		lively:    map[types.NamespacedName]time.Time{},
	}
}

// changes are the apps whose samples changed; all when it is not known which.
type changes struct {
	all  bool
	apps map[types.NamespacedName]struct{}
}

func (c *changes) add(app types.NamespacedName) {
	if c.apps == nil {
		c.apps = map[types.NamespacedName]struct{}{}
	}
	c.apps[app] = struct{}{}
}

// list says which interceptors there are, and whether each serves.
func (l *ledger) list(addresses map[string]bool, now time.Time) (c changes) {
	for address, v := range l.views {
		if _, ok := addresses[address]; !ok && v.listed {
			v.listed = false
			c.all = true
			if !v.known || v.finished {
				delete(l.views, address)
			}
		}
	}
	for address, serves := range addresses {
		v := l.views[address]
		if v == nil {
			v = &view{added: now}
			l.views[address] = v
		}
		c.all = c.all || !v.listed || v.serves != serves
		v.listed, v.serves = true, serves
	}
	return c
}

// update takes in what an interceptor told.
func (l *ledger) update(address string, u *wire.Update, now time.Time) (c changes) {
	v := l.views[address]
	if v == nil {
		v = &view{added: now}
		l.views[address] = v
	}
	told := now
	if u.GetSampledAt().IsValid() {
		told = u.GetSampledAt().AsTime()
	}
	before := v.told
	if u.GetSnapshot() {
		if v.known && v.epoch != u.GetEpoch() {
			// Another process: nothing of the old one is left but the past.
			c.all = true
			fresh := &view{listed: v.listed, serves: v.serves, added: v.added}
			l.end(v, now)
			l.views[address], v = fresh, fresh
		}
		c.all = c.all || !v.current() || v.finished
		before = told
		v.epoch, v.known, v.connected, v.finished = u.GetEpoch(), true, true, false
		l.zeroUnnamed(v, u, told, &c)
	} else if !v.known || v.epoch != u.GetEpoch() {
		return c // a stream begins with a snapshot; this one is broken and will be opened again
	}
	if v.stale {
		v.stale = false
		c.all = true
	}
	v.heard, v.told = now, told
	for _, a := range u.GetApps() {
		app := types.NamespacedName{Namespace: a.GetNamespace(), Name: a.GetName()}
		c.add(app)
		l.lively[app] = now
		if a.GetRemoved() {
			l.removeApp(v, app, types.UID(a.GetUid()), told)
			continue
		}
		e := l.entry(v, app, types.UID(a.GetUid()))
		l.set(e, a.GetPending(), a.GetInFlight())
		e.coldStarts = a.GetColdStarts()
		if at := a.GetLastRequestAt(); at.IsValid() && !at.AsTime().Equal(e.told) {
			e.told, e.last = at.AsTime(), v.local(at.AsTime())
		}
		v.started(e, a.GetLastColdStart())
		if len(e.past.points) == 0 && !u.GetSnapshot() {
			// The interceptor had nothing to say of it until its last update: it was zero.
			e.past.add(point{at: before}, l.retention)
		}
		e.past.add(point{at: told, integral: a.GetConcurrencySeconds(), requests: a.GetRequests(), open: e.pending + e.inFlight}, l.retention)
	}
	return c
}

// started takes in the last cold start. It is the one before if nothing has changed.
func (v *view) started(e *entry, w *wire.ColdStart) {
	if !w.GetAt().IsValid() {
		e.start = nil
		return
	}
	told := w.GetAt().AsTime()
	if e.start != nil && e.startTold.Equal(told) {
		return
	}
	// To the millisecond: nobody knows better when it was who is told of it.
	e.startTold, e.start = told, &ColdStart{At: v.local(told).Truncate(time.Millisecond)}
	for _, stage := range w.GetStages() {
		e.start.Stages = append(e.start.Stages, Stage{stage.GetName(), stage.GetAfter().AsDuration()})
	}
}

// zeroUnnamed takes what a snapshot does not name for zero.
func (l *ledger) zeroUnnamed(v *view, u *wire.Update, told time.Time, c *changes) {
	named := make(map[appKey]struct{}, len(u.GetApps()))
	for _, a := range u.GetApps() {
		named[appKey{types.NamespacedName{Namespace: a.GetNamespace(), Name: a.GetName()}, types.UID(a.GetUid())}] = struct{}{}
	}
	for app, views := range l.apps {
		for _, e := range slices.Clone(views[v]) {
			if _, ok := named[appKey{app, e.uid}]; !ok {
				l.removeApp(v, app, e.uid, told)
				c.add(app)
			}
		}
	}
}

func (l *ledger) entry(v *view, app types.NamespacedName, uid types.UID) *entry {
	views := l.apps[app]
	if views == nil {
		views = map[*view][]*entry{}
		l.apps[app] = views
	}
	if i := slices.IndexFunc(views[v], func(e *entry) bool { return e.uid == uid }); i >= 0 {
		return views[v][i]
	}
	e := &entry{uid: uid}
	views[v] = append(views[v], e)
	return e
}

// set changes how many requests an interceptor has of an app, and with it how many there are of all.
func (l *ledger) set(e *entry, pending, inFlight int64) {
	l.pending, l.inFlight = l.pending+pending-e.pending, l.inFlight+inFlight-e.inFlight
	e.pending, e.inFlight = pending, inFlight
}

// removeApp forgets an app that is gone, with its past: one of the same name that is made later starts from zero.
func (l *ledger) removeApp(v *view, app types.NamespacedName, uid types.UID, _ time.Time) {
	views := l.apps[app]
	if views == nil {
		return // it never had a request
	}
	views[v] = slices.DeleteFunc(views[v], func(e *entry) bool {
		if e.uid == uid {
			l.set(e, 0, 0)
		}
		return e.uid == uid
	})
	if len(views[v]) == 0 {
		delete(views, v)
	}
	if len(views) == 0 {
		delete(l.apps, app)
	}
}

// finish notes that an interceptor ended its stream by itself: it has nothing left.
func (l *ledger) finish(address string, now time.Time) (c changes) {
	v := l.views[address]
	if v == nil {
		return c
	}
	l.end(v, now)
	if v.listed {
		l.views[address] = &view{listed: true, finished: true, added: now}
	} else {
		delete(l.views, address)
	}
	return changes{all: true}
}

// lose notes that the stream of an interceptor broke.
func (l *ledger) lose(address string, now time.Time) (c changes) {
	v := l.views[address]
	if v == nil || !v.connected {
		return c
	}
	v.connected, v.lostAt = false, now
	return changes{all: true}
}

// end takes a view's requests out of the sums and leaves its past in the averages.
func (l *ledger) end(v *view, now time.Time) {
	v.endedAt = now
	kept := false
	for app, views := range l.apps {
		for _, e := range views[v] {
			kept = true
			// Requests of an interceptor that was lost ended when it was lost, for all that is known.
			at := now
			if !v.connected {
				at = v.lostAt
			}
			t := v.remote(at)
			if last := e.past.last(); t.Before(last.at) {
				t = last.at
			}
			integral, _ := e.past.at(t)
			e.past.add(point{at: t, integral: integral, requests: e.past.last().requests}, l.retention)
			l.set(e, 0, 0)
			e.coldStarts = 0
			if _, ok := l.lively[app]; ok {
				l.lively[app] = now
			}
		}
	}
	if kept {
		l.ended[v] = struct{}{}
	}
}

// tick lets time pass: silent interceptors become stale, lost ones are dropped after the grace period, and the past is
// forgotten when no window reaches it any more. It returns the apps whose averages still move.
func (l *ledger) tick(now time.Time) (c changes) {
	for address, v := range l.views {
		if v.known && v.connected && !v.stale && now.Sub(v.heard) >= staleAfter {
			v.stale = true
			c.all = true
		}
		if v.known && !v.connected && now.Sub(v.lostAt) >= l.grace {
			l.end(v, now)
			if v.listed {
				l.views[address] = &view{listed: true, serves: v.serves, added: v.added}
			} else {
				delete(l.views, address)
			}
			c.all = true
		}
	}
	for v := range l.ended {
		if now.Sub(v.endedAt) > l.retention {
			delete(l.ended, v)
			for app, views := range l.apps {
				delete(views, v)
				if len(views) == 0 {
					delete(l.apps, app)
				}
			}
		}
	}
	horizon := max(visible, l.asked+heartbeat)
	for app, changed := range l.lively {
		c.add(app)
		if now.Sub(changed) > horizon {
			delete(l.lively, app)
		}
	}
	return c
}

// forget drops the past of idle apps that no window reaches any more.
func (l *ledger) forget(now time.Time) {
	for _, views := range l.apps {
		for v, entries := range views {
			for _, e := range entries {
				e.past.prune(v.remote(now).Add(-l.retention))
			}
		}
	}
}

// known are all apps that an interceptor ever named.
func (l *ledger) known() map[types.NamespacedName]struct{} {
	apps := make(map[types.NamespacedName]struct{}, len(l.apps))
	for app := range l.apps {
		apps[app] = struct{}{}
	}
	for app := range l.lively {
		apps[app] = struct{}{}
	}
	return apps
}

// reporting says how many interceptors are current, of how many. One that is gone from the list counts for as long as its
// numbers do. One that is listed and was never heard, or not for longer than its numbers count, is expected only if it serves: one that starts
// has no requests yet, and one that crashes again and again has none left.
func (l *ledger) reporting() (reporting, expected int) {
	for _, v := range l.views {
		if v.finished || !v.known && !v.serves {
			continue
		}
		expected++
		if v.current() {
			reporting++
		}
	}
	return reporting, expected
}

// heardOfAll reports whether every listed interceptor has told everything once, or had the grace period to do so.
func (l *ledger) heardOfAll(now time.Time) bool {
	for _, v := range l.views {
		if v.listed && !v.known && !v.finished && now.Sub(v.added) < l.grace {
			return false
		}
	}
	return true
}

// sample adds up an app's counts, or those of all apps.
func (l *ledger) sample(app types.NamespacedName, window time.Duration, now time.Time) (s Sample) {
	window = min(max(window, heartbeat), maxRetention)
	l.asked, l.retention = max(l.asked, window), max(l.retention, window)
	if app == AllApps {
		s.Pending, s.InFlight = l.pending, l.inFlight
		s.Concurrency = float64(l.pending + l.inFlight)
	} else {
		s = l.sum(app, window, now)
	}
	s.Reporting, s.Expected = l.reporting()
	for _, v := range l.views {
		if v.known && (s.SampledAt.IsZero() || v.heard.Before(s.SampledAt)) {
			s.SampledAt = v.heard
		}
	}
	return s
}

// sum adds up what the interceptors told of an app.
func (l *ledger) sum(app types.NamespacedName, window time.Duration, now time.Time) (s Sample) {
	var integral, requests float64
	var observed time.Duration
	for v, entries := range l.apps[app] {
		until := v.remote(now)
		for _, e := range entries {
			s.Pending += e.pending
			s.InFlight += e.inFlight
			s.ColdStarts += e.coldStarts
			if e.last.After(s.LastRequest) {
				s.LastRequest = e.last
			}
			if e.start != nil && (s.LastColdStart == nil || e.start.At.After(s.LastColdStart.At)) {
				s.LastColdStart = e.start
			}
			endIntegral, endRequests := e.past.at(until)
			startIntegral, startRequests := e.past.at(until.Add(-window))
			integral += endIntegral - startIntegral
			requests += endRequests - startRequests
			observed = max(observed, min(window, until.Sub(e.past.points[0].at)))
		}
	}
	s.Observed = observed
	// Of all interceptors together: what one did not do yet while another already counted is zero.
	if observed > 0 {
		s.Concurrency = max(0, integral) / observed.Seconds()
		s.RequestRate = requests / max(observed, heartbeat).Seconds()
	} else {
		s.Concurrency = float64(s.Pending + s.InFlight)
	}
	return s
}
