package live

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/install"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// counts is a Source whose samples are set.
type counts struct {
	mu      sync.Mutex
	samples map[types.NamespacedName]queue.Sample
	// missing is how many interceptors do not report of apps without a request.
	missing int
	subs    map[*subscription]struct{}
}

type subscription struct {
	counts *counts
	wake   chan struct{}
	dirty  map[types.NamespacedName]struct{}
}

func newCounts() *counts {
	return &counts{samples: map[types.NamespacedName]queue.Sample{}, subs: map[*subscription]struct{}{}}
}

func (c *counts) Sample(app types.NamespacedName, _ time.Duration) queue.Sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.samples[app]; ok {
		return s
	}
	return queue.Sample{SampledAt: start, Reporting: 1, Expected: 1 + c.missing}
}

// miss lets so many interceptors be missing.
func (c *counts) miss(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missing = n
	for s := range c.subs {
		s.mark(queue.AllApps)
	}
}

func (s *subscription) mark(name types.NamespacedName) {
	s.dirty[name] = struct{}{}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (c *counts) Subscribe() Changes {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &subscription{counts: c, wake: make(chan struct{}, 1), dirty: map[types.NamespacedName]struct{}{}}
	c.subs[s] = struct{}{}
	return s
}

func (c *counts) subscribers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.subs)
}

// pending sets how many requests wait.
func (c *counts) pending(app string, n int64) {
	name := types.NamespacedName{Namespace: "ns", Name: app}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.samples[name] = queue.Sample{Pending: n, SampledAt: start, Reporting: 1, Expected: 1}
	for s := range c.subs {
		s.mark(name)
	}
}

func (s *subscription) Changed() <-chan struct{} { return s.wake }

func (s *subscription) Take() []types.NamespacedName {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	names := slices.Collect(maps.Keys(s.dirty))
	clear(s.dirty)
	return names
}

func (s *subscription) Close() {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	delete(s.counts.subs, s)
}

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func app(name, version string) *v1alpha1.HTTPApp {
	return &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, ResourceVersion: version}}
}

// known are Apps that are set: what the server knows.
type known struct {
	mu   sync.Mutex
	apps map[types.NamespacedName]*v1alpha1.HTTPApp
}

func (k *known) Get(name types.NamespacedName) *v1alpha1.HTTPApp {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.apps[name]
}

func (k *known) Names() []types.NamespacedName {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.apps))
}

func (k *known) set(apps ...*v1alpha1.HTTPApp) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range apps {
		k.apps[types.NamespacedName{Namespace: a.Namespace, Name: a.Name}] = a
	}
}

func (k *known) forget(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.apps, types.NamespacedName{Namespace: "ns", Name: name})
}

// world is a watch with live events and what it is made of.
type world struct {
	*testing.T
	counts *counts
	clock  *clocktesting.FakeClock
	known  *known
	view   *View
	stored *watch.FakeWatcher
	watch  watch.Interface

	markers int
}

// from makes a watch from a version.
func from(t *testing.T, version uint64, apps ...*v1alpha1.HTTPApp) *world {
	w := &world{T: t, counts: newCounts(), clock: clocktesting.NewFakeClock(start), known: &known{apps: map[types.NamespacedName]*v1alpha1.HTTPApp{}}}
	w.known.set(apps...)
	w.view = NewView(w.counts, w.known, w.clock)
	w.open(Scope{From: version, Matches: func(*v1alpha1.HTTPApp) bool { return true }})
	return w
}

func (w *world) open(scope Scope) {
	w.stored = watch.NewFake()
	w.watch = w.view.Watch(w.Context(), w.stored, scope)
	w.Cleanup(w.watch.Stop)
}

// next returns the next event.
func (w *world) next() watch.Event {
	w.Helper()
	select {
	case e, ok := <-w.watch.ResultChan():
		if !ok {
			w.Fatal("the watch ended")
		}
		return e
	case <-time.After(30 * time.Second):
		w.Fatal("no event came")
		return watch.Event{}
	}
}

func (w *world) want(kind watch.EventType, name, version string) {
	w.Helper()
	e := w.next()
	got := e.Object.(*v1alpha1.HTTPApp)
	if e.Type != kind || got.Name != name || got.ResourceVersion != version {
		w.Fatalf("%s of %s at %s came, not %s of %s at %s", e.Type, got.Name, got.ResourceVersion, kind, name, version)
	}
	if got.Status.Traffic != nil {
		w.Error("an object of an event has traffic")
	}
}

// quiet checks that nothing comes before a change that is made now: changes are announced in order, and those of one moment by
// name.
func (w *world) quiet() {
	w.Helper()
	w.markers++
	marker := fmt.Sprintf("zz-marker-%d", w.markers)
	w.known.set(app(marker, "1"))
	w.stored.Add(app(marker, "1"))
	w.want(watch.Added, marker, "1")
	w.counts.pending(marker, 1)
	w.want(watch.Modified, marker, "1")
}

func TestALiveEventHasTheObjectUnchangedAndOfTheSameVersion(t *testing.T) {
	w := from(t, 5, app("a", "3"))
	w.counts.pending("a", 1)
	w.want(watch.Modified, "a", "3")
	w.known.set(app("a", "8"))
	w.stored.Modify(app("a", "8"))
	w.want(watch.Modified, "a", "8")
	w.clock.Step(interval)
	w.counts.pending("a", 2)
	w.want(watch.Modified, "a", "8")
}

func TestAppsThatTheStreamIsAboutToDeliverHaveNoLiveEventsBefore(t *testing.T) {
	w := from(t, 5, app("a", "7"), app("old", "2"))
	w.counts.pending("a", 3)
	w.counts.pending("old", 3)
	w.want(watch.Modified, "old", "2")
	w.stored.Add(app("a", "7"))
	w.want(watch.Added, "a", "7")
	w.clock.Step(interval)
	w.counts.pending("a", 4)
	w.want(watch.Modified, "a", "7")
}

func TestALiveEventNeverHasAnOlderObjectThanTheStreamDelivered(t *testing.T) {
	w := from(t, 5, app("changed", "3"), app("gone", "4"))
	w.stored.Modify(app("changed", "6"))
	w.want(watch.Modified, "changed", "6")
	w.stored.Add(app("new", "7"))
	w.want(watch.Added, "new", "7")
	w.stored.Delete(app("gone", "8"))
	w.want(watch.Deleted, "gone", "8")
	// The server itself has not heard of any of it yet.
	for _, name := range []string{"changed", "gone", "new"} {
		w.counts.pending(name, 1)
	}
	w.want(watch.Modified, "changed", "6")
	w.want(watch.Modified, "new", "7")
	w.quiet()
	w.known.set(app("changed", "6"), app("new", "7"))
	w.known.forget("gone")
	w.clock.Step(interval)
	for _, name := range []string{"changed", "gone", "new"} {
		w.counts.pending(name, 2)
	}
	w.want(watch.Modified, "changed", "6")
	w.want(watch.Modified, "new", "7")
	w.quiet()
}

func TestWhatTheServerHasNotHeardOfYetIsNotRememberedForEver(t *testing.T) {
	w := from(t, 5)
	for n := range 10 * swept {
		a := app(fmt.Sprint("app-", n), strconv.Itoa(10+n))
		w.stored.Add(a)
		w.want(watch.Added, a.Name, a.ResourceVersion)
		w.known.set(a)
	}
	w.stored.Stop()
	for range w.watch.ResultChan() {
	}
	if n := len(w.watch.(*watcher).ahead); n > swept {
		t.Errorf("%d apps are remembered", n)
	}
}

func TestAppsThatTheClientDoesNotSeeHaveNoLiveEvents(t *testing.T) {
	w := from(t, 5, app("mine", "1"), app("other", "1"))
	w.watch.Stop()
	w.open(Scope{From: 5, Matches: func(a *v1alpha1.HTTPApp) bool { return a.Name != "other" }})
	w.counts.pending("other", 1)
	w.counts.pending("mine", 1)
	w.want(watch.Modified, "mine", "1")
	w.quiet()
}

func TestAWatchThatBeginsWithEverythingHasLiveEventsOfWhatCame(t *testing.T) {
	w := from(t, 0, app("a", "9"), app("b", "2"))
	w.stored.Add(app("a", "9"))
	w.want(watch.Added, "a", "9")
	w.counts.pending("b", 1) // its version says nothing: the stream is in no order yet
	w.counts.pending("a", 1)
	w.want(watch.Modified, "a", "9")
	w.quiet()
	w.stored.Add(app("b", "2"))
	w.want(watch.Added, "b", "2")
	w.clock.Step(interval)
	w.counts.pending("b", 2)
	w.want(watch.Modified, "b", "2")
}

func TestChangesThatNoCellShowsHaveNoLiveEvents(t *testing.T) {
	w := from(t, 5, app("a", "1"))
	w.counts.pending("a", 0)
	w.quiet()
}

func TestThereIsOneLiveEventASecondForEachApp(t *testing.T) {
	w := from(t, 5, app("a", "1"), app("b", "1"))
	w.counts.pending("a", 1)
	w.want(watch.Modified, "a", "1")
	for n := range int64(50) {
		w.counts.pending("a", 2+n)
	}
	w.counts.pending("b", 1)
	w.want(watch.Modified, "b", "1") // of its own second
	for !w.clock.HasWaiters() {
		w.quiet()
	}
	w.clock.Step(interval)
	w.want(watch.Modified, "a", "1") // all changes since in one
	w.quiet()
}

func TestAChangeThatIsTakenBackWithinTheSecondIsNotShown(t *testing.T) {
	w := from(t, 5, app("a", "1"))
	w.counts.pending("a", 1)
	w.want(watch.Modified, "a", "1")
	w.counts.pending("a", 2)
	for !w.clock.HasWaiters() {
		w.quiet()
	}
	w.counts.pending("a", 1)
	w.quiet()
	w.clock.Step(interval)
	w.quiet()
}

func TestWhatMovedBetweenTheListAndTheWatchIsShown(t *testing.T) {
	w := from(t, 5, app("moved", "1"), app("still", "1"))
	w.counts.pending("moved", 1)
	w.want(watch.Modified, "moved", "1")
	first := w.watch
	w.open(Scope{From: 5, Matches: func(*v1alpha1.HTTPApp) bool { return true }})
	w.want(watch.Modified, "moved", "1")
	first.Stop()
	w.quiet()
}

func TestAppsWithoutARequestAreShownAgainWhenItLastsThatInterceptorsAreMissing(t *testing.T) {
	w := from(t, 5, app("a", "1"), app("b", "1"))
	waits := func() {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !w.clock.HasWaiters(); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("nothing waits")
			}
		}
	}
	all := func() {
		t.Helper()
		w.clock.Step(lasting)
		w.want(watch.Modified, "a", "1")
		w.want(watch.Modified, "b", "1")
	}
	w.counts.miss(1)
	waits()
	all()
	// One that begins now is shown from the start what the others were told; and that it is over, as they are.
	first := w.watch
	w.open(Scope{From: 5, Matches: func(*v1alpha1.HTTPApp) bool { return true }})
	w.counts.miss(0)
	waits()
	all()
	second := w.watch
	w.watch = first
	w.want(watch.Modified, "a", "1")
	w.want(watch.Modified, "b", "1")
	w.watch = second
	// What is over before it lasts is nobody's news.
	w.counts.miss(1)
	waits()
	w.counts.miss(0)
	w.clock.Step(lasting)
	w.quiet()
}

func TestWhatIsWrittenOnceForAllClientsIsWrittenForEachWatch(t *testing.T) {
	w := from(t, 5)
	copied := 0
	shared := cacheable{app("a", "6"), &copied}
	w.stored.Add(shared)
	if got, ok := w.next().Object.(*v1alpha1.HTTPApp); !ok || got == shared.HTTPApp || !reflect.DeepEqual(got, shared.HTTPApp) {
		t.Errorf("%T came", got)
	}
	w.counts.pending("a", 1)
	w.want(watch.Modified, "a", "6")
	// The next watch hears of it, too.
	w.view.opened.open(shared)
	if copied != 1 {
		t.Errorf("it was copied %d times", copied)
	}
}

// cacheable is an object that the library writes once for all watches.
type cacheable struct {
	*v1alpha1.HTTPApp
	copied *int
}

func (c cacheable) CacheEncode(apiruntime.Identifier, func(apiruntime.Object, io.Writer) error, io.Writer) error {
	return errors.New("it was written for all")
}

func (c cacheable) GetObject() apiruntime.Object {
	*c.copied++
	return c.DeepCopy()
}

func TestEveryWatchHearsOfAChange(t *testing.T) {
	w := from(t, 5, app("a", "1"))
	var watches []watch.Interface
	for range 20 {
		w.open(Scope{From: 5, Matches: func(*v1alpha1.HTTPApp) bool { return true }})
		watches = append(watches, w.watch)
	}
	if n := w.counts.subscribers(); n != 1 {
		t.Errorf("%d subscriptions for all watches", n)
	}
	w.counts.pending("a", 1)
	for _, each := range watches {
		w.watch = each
		w.want(watch.Modified, "a", "1")
	}
}

func TestBookmarksAndErrorsPass(t *testing.T) {
	w := from(t, 5, app("a", "8"))
	w.stored.Action(watch.Bookmark, app("", "9"))
	w.want(watch.Bookmark, "", "9")
	w.counts.pending("a", 1) // delivered before, says the bookmark
	w.want(watch.Modified, "a", "8")
	w.stored.Error(&metav1.Status{Code: http.StatusGone})
	if e := w.next(); e.Type != watch.Error {
		t.Errorf("%v came", e)
	}
}

func TestTheLastWatchTakesTheSubscriptionAlong(t *testing.T) {
	w := from(t, 5, app("a", "1"))
	w.quiet()
	w.stored.Stop()
	if e, ok := <-w.watch.ResultChan(); ok {
		t.Fatalf("%v came", e)
	}
	for deadline := time.Now().Add(30 * time.Second); w.counts.subscribers() != 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d subscriptions are left", w.counts.subscribers())
		}
		runtime.Gosched()
	}
	w.open(Scope{From: 5, Matches: func(*v1alpha1.HTTPApp) bool { return true }})
	w.counts.pending("a", 1)
	w.want(watch.Modified, "a", "1")
}

func TestACellIsUnknownWhileNobodyReportsAndMarkedWhileSomeAreMissing(t *testing.T) {
	name := types.NamespacedName{Namespace: "ns", Name: "a"}
	for what, c := range map[string]struct {
		sample queue.Sample
		want   Cells
	}{
		"nobody reported":   {queue.Sample{Expected: 2}, Cells{Unknown, Unknown, Unknown, false}},
		"all report":        {queue.Sample{SampledAt: start, Pending: 2, InFlight: 1, RequestRate: 0.44, Reporting: 2, Expected: 2}, Cells{"2", "1", "0.4", true}},
		"some are missing":  {queue.Sample{SampledAt: start, InFlight: 1, RequestRate: 12.6, Reporting: 1, Expected: 2}, Cells{"~0", "~1", "~13", false}},
		"a very small rate": {queue.Sample{SampledAt: start, RequestRate: 0.01, Reporting: 1, Expected: 1}, Cells{"0", "0", "0", false}},
		"a rate just below": {queue.Sample{SampledAt: start, RequestRate: 9.97, Reporting: 1, Expected: 1}, Cells{"0", "0", "10", false}},
	} {
		source := newCounts()
		source.samples[name] = c.sample
		if got := NewView(source, &known{}, clocktesting.NewFakeClock(start)).Cells(name); got != c.want {
			t.Errorf("%s: %+v, not %+v", what, got, c.want)
		}
	}
}

func TestTrafficIsJoinedAndNeverZeroForUnknown(t *testing.T) {
	source := newCounts()
	view := NewView(source, &known{}, clocktesting.NewFakeClock(start))
	name := types.NamespacedName{Namespace: "ns", Name: "a"}
	source.samples[name] = queue.Sample{Pending: 3, InFlight: 2, Concurrency: 4.5, RequestRate: 1.25, ColdStarts: 1, LastRequest: start, SampledAt: start, Reporting: 1, Expected: 2,
		LastColdStart: &queue.ColdStart{At: start, Stages: []queue.Stage{{Name: "address", After: 123456 * time.Microsecond}, {Name: "first-byte", After: 234567 * time.Microsecond}}}}
	a := app("a", "1")
	view.Join(t.Context(), a)
	traffic := a.Status.Traffic
	if traffic == nil || traffic.Pending != 3 || traffic.InFlight != 2 || traffic.Concurrency.String() != "4500m" || traffic.RequestRate.String() != "1250m" ||
		traffic.ColdStarts != 1 || !traffic.LastRequestTime.Time.Equal(start) || traffic.Interceptors.Reporting != 1 || traffic.Interceptors.Expected != 2 || !traffic.SampledAt.Time.Equal(start) {
		t.Errorf("traffic is %+v", traffic)
	}
	if s := traffic.LastColdStart; s == nil || !s.Time.Time.Equal(start) || s.Total.Duration != 235*time.Millisecond || len(s.Stages) != 2 ||
		s.Stages[0].Name != "address" || s.Stages[0].After.Duration != 123*time.Millisecond || s.Stages[1].After != s.Total {
		t.Errorf("the last cold start is %+v", s)
	}
	source.samples[name] = queue.Sample{SampledAt: start, Reporting: 2, Expected: 2}
	if view.Join(t.Context(), a); a.Status.Traffic == nil || a.Status.Traffic.SampledAt != nil {
		t.Errorf("traffic is %+v although all report, so that it is of now", a.Status.Traffic)
	}
	if a.Status.Traffic.LastColdStart != nil {
		t.Errorf("a cold start that nobody saw: %+v", a.Status.Traffic.LastColdStart)
	}
	source.samples[name] = queue.Sample{Expected: 2}
	if view.Join(t.Context(), a); a.Status.Traffic != nil {
		t.Errorf("traffic is %+v although nobody reported", a.Status.Traffic)
	}
}

func TestOnlyRequestsForTablesAreMarked(t *testing.T) {
	codecs := install.NewCodecs(install.NewServerScheme())
	for accept, want := range map[string]bool{
		"":                 false,
		"application/json": false,
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json": true,
		"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io":                                                    false,
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json":                false,
		"application/json;as=Table;v=v1;g=example.com,application/json":                                                   false,
		"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json":                                false,
	} {
		got := false
		handler := WithTables(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = WantsTable(r.Context()) }), codecs)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", accept)
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if got != want {
			t.Errorf("%q: a table: %v", accept, got)
		}
	}
}

func TestWhatMovesIsNoDifference(t *testing.T) {
	view := NewView(newCounts(), &known{}, clocktesting.NewFakeClock(start))
	for command, shown := range map[string]bool{"": true, "kubectl get": true, "kubectl diff": false, "another diff": false} {
		a := app("a", "1")
		handler := WithDiffs(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { view.Join(r.Context(), a) }))
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Kubectl-Command", command)
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if (a.Status.Traffic != nil) != shown {
			t.Errorf("%q: traffic is %+v", command, a.Status.Traffic)
		}
	}
}
