package queue

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Sample is what the interceptors together know of one app's requests at one moment.
type Sample struct {
	// Pending requests are accepted and not yet forwarded, in-flight ones forwarded and not yet answered in full.
	Pending, InFlight int64
	// Concurrency is pending + in-flight averaged over the window that was asked for (exact: an integral over time), or over
	// as much of it as has been observed.
	Concurrency float64
	// RequestRate is the number of requests accepted per second over the same window.
	RequestRate float64
	// Observed is how much of the window the averages are over: less than the window for an app that was heard of since.
	Observed time.Duration
	// ColdStarts counts the requests that found no ready pod.
	ColdStarts int64
	// LastRequest is when the last request was accepted; zero when none was.
	LastRequest time.Time
	// LastColdStart is the last one; nil when no interceptor saw one, or it is gone.
	LastColdStart *ColdStart
	// SampledAt is when the oldest of the counts in this sample was taken; zero when no interceptor has reported.
	SampledAt time.Time
	// Reporting interceptors have counts that are current; Expected is how many there are that may have requests. While Reporting < Expected the
	// numbers are those of the reporting ones and, for a grace period, the last known of the others.
	Reporting, Expected int
}

// AllApps is a name that no app has: a sample of it has the requests of all apps together, of this moment. There are many then, where it
// matters, so that their number is its own average.
var AllApps = types.NamespacedName{Name: "*"}

// Waiting reports whether requests need the app: some are pending or in flight.
func (s Sample) Waiting() bool { return s.Pending+s.InFlight > 0 }

// Subscription collects the names of apps whose counts changed until somebody takes them, so that a slow reader costs one
// entry for each app and never holds up the collector.
type Subscription struct {
	mu     sync.Mutex
	dirty  map[types.NamespacedName]struct{}
	wake   chan struct{}
	closed func(*Subscription)
}

func newSubscription(closed func(*Subscription)) *Subscription {
	return &Subscription{dirty: map[types.NamespacedName]struct{}{}, wake: make(chan struct{}, 1), closed: closed}
}

// Changed has a value whenever Take would return something.
func (s *Subscription) Changed() <-chan struct{} { return s.wake }

// Take returns the apps that changed since it was last called.
func (s *Subscription) Take() []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	apps := make([]types.NamespacedName, 0, len(s.dirty))
	for app := range s.dirty {
		apps = append(apps, app)
	}
	clear(s.dirty)
	return apps
}

// Close ends the subscription.
func (s *Subscription) Close() { s.closed(s) }

func (s *Subscription) mark(app types.NamespacedName) {
	s.mu.Lock()
	s.dirty[app] = struct{}{}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
