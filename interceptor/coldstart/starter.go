// Package coldstart finds out that a pod answers well before the kubelet and its EndpointSlice say so: while requests wait, it
// asks pods that are not ready yet itself, with their own readiness probes.
//
// The slice's word goes before ours as soon as it has said of a pod once that it is ready. Until then a probe that succeeded
// counts for as long as the kubelet may need to come to the same result, and no longer.
package coldstart

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/interceptor/endpoints"
)

// grace is how long at least a probe that succeeded counts while the slice does not say that the pod is ready. A kubelet that asks
// less often has its period and a little.
const (
	grace       = 30 * time.Second
	kubeletsLag = 5 * time.Second
)

// statusLag is how much later at most than a pod answers its app's status says that it was to have pods: nothing is written while it starts,
// for a second.
const statusLag = 5 * time.Second

// Starter knows the pods of one app and which of them take requests, by their slices or by probes of its own.
type Starter struct {
	clock     clock.WithTicker
	prober    *Prober
	namespace string
	// publish is told which pods take requests, in the order in which that changed.
	publish func([]endpoints.Endpoint)

	mu      sync.Mutex
	waiting int
	known   map[string]*address
	usable  int
	asked   int
	start   *Start
	// asleep and woken are what the app's status says: that it is to have no pod, and when it was last to have some again. heard is closed when
	// it says something else.
	asleep bool
	woken  time.Time
	heard  chan struct{}
	// template is whose pods the plan is for; see templateOf.
	template string
	plan     *plan
}

// address is a pod's.
type address struct {
	endpoints.Endpoint
	// since is when it was first known, and usableSince since when it takes requests.
	since, usableSince time.Time
	// created and scheduled are known of pods that were asked, once reading is closed.
	created, scheduled time.Time
	reading            chan struct{}
	// wasReady says that the slice said so once.
	wasReady bool
	// proven says that it answered, which counts until then.
	proven bool
	until  time.Time
	// kubelets says that there is nothing to be asked that would tell what the kubelet knows.
	kubelets bool
	// stop ends the asking, if that goes on.
	stop context.CancelFunc
}

// NewStarter makes a Starter for an app in a namespace. Without a prober the slices alone count.
func NewStarter(namespace string, prober *Prober, clk clock.WithTicker, publish func([]endpoints.Endpoint)) *Starter {
	return &Starter{clock: clk, prober: prober, namespace: namespace, publish: publish, known: map[string]*address{}, heard: make(chan struct{})}
}

// Set says what the slices say: all pods but those that are going.
func (s *Starter) Set(all []endpoints.Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	known := make(map[string]*address, len(all))
	for _, e := range all {
		a := s.known[e.Address]
		if a == nil || a.Pod != "" && e.Pod != "" && a.Pod != e.Pod {
			a = &address{since: now}
		}
		a.Endpoint = e
		a.wasReady = a.wasReady || e.Ready
		known[e.Address] = a
	}
	for at, a := range s.known {
		if known[at] != a && a.stop != nil {
			a.stop()
			a.stop = nil
		}
	}
	s.known = known
	s.update()
}

// Hear takes in what the app's status says: whether it is to have no pod, and when it was last to have some again after that.
func (s *Starter) Hear(asleep bool, woken time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if asleep == s.asleep && woken.Equal(s.woken) {
		return
	}
	s.asleep, s.woken = asleep, woken
	close(s.heard)
	s.heard = make(chan struct{})
}

// Enter says that a request begins to wait. It returns the cold start that it waits for, if it does: nil when there are pods.
func (s *Starter) Enter() *Start {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting++
	if s.usable == 0 && s.start == nil {
		s.start = &Start{starter: s, began: s.clock.Now()}
	}
	s.ask()
	return s.start
}

// Leave says that a request waits no longer.
func (s *Starter) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	if s.waiting == 0 {
		s.start = nil
		s.ask()
	}
}

// update publishes which pods take requests, and asks the others while requests wait. The lock is held.
func (s *Starter) update() {
	now := s.clock.Now()
	usable := make([]endpoints.Endpoint, 0, len(s.known))
	for _, a := range s.known {
		if !a.Ready && (!a.proven || a.wasReady || !now.Before(a.until)) {
			a.usableSince = time.Time{}
			continue
		}
		if a.usableSince.IsZero() {
			a.usableSince = now
		}
		usable = append(usable, a.Endpoint)
	}
	s.usable = len(usable)
	if s.usable > 0 {
		// Whoever has to wait from now on waits for another start.
		s.start = nil
	}
	s.ask()
	s.publish(usable)
}

// ask begins to ask the pods that are to be asked, and stops with those that are not. The lock is held.
func (s *Starter) ask() {
	s.asked = 0
	for _, a := range s.known {
		// A readiness that was lost is for the kubelet to give back, and so is one that it did not confirm.
		wanted := s.prober != nil && s.waiting > 0 && a.Pod != "" && !a.Ready && !a.wasReady && !a.proven && !a.kubelets
		if wanted {
			s.asked++
		}
		switch {
		case wanted && a.stop == nil:
			ctx, cancel := context.WithCancel(context.Background())
			a.stop, a.reading = cancel, make(chan struct{})
			go s.run(ctx, a, a.Address, a.Pod, a.reading)
		case !wanted && a.stop != nil:
			a.stop()
			a.stop = nil
		}
	}
}

// run asks a pod at its address until it answers or the context ends. It closes read once the pod has been read, or will not be.
func (s *Starter) run(ctx context.Context, a *address, at, pod string, read chan<- struct{}) {
	plan := s.planFor(ctx, a, pod, read)
	if plan == nil {
		return
	}
	timeout := newPatience(plan.timeout)
	began := s.clock.Now()
	for {
		asking := s.clock.Now()
		attempt, cancel := context.WithTimeout(ctx, timeout.now)
		err := s.prober.ask(attempt, plan, at)
		timedOut := attempt.Err() != nil
		cancel()
		if err == nil {
			s.proven(ctx, a, plan)
			return
		}
		now := s.clock.Now()
		timeout.learn(err, timedOut, now.Sub(asking))
		s.mu.Lock()
		asked := s.asked
		s.mu.Unlock()
		if !s.sleep(ctx, pause(now.Sub(began), asked)-now.Sub(asking)) {
			return
		}
	}
}

// sleep reports whether the context goes on.
func (s *Starter) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := s.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

// proven takes in that a pod answered.
func (s *Starter) proven(ctx context.Context, a *address, plan *plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return // nobody wants to know any more, or the address is another pod's
	}
	lasts := max(grace, plan.period+plan.timeout+kubeletsLag)
	a.proven, a.until = true, s.clock.Now().Add(lasts)
	s.update()
	timer := s.clock.NewTimer(lasts)
	go func() {
		<-timer.C()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.known[a.Address] == a {
			s.update()
		}
	}()
}

// Start is one cold start: some requests came, and there was no pod.
type Start struct {
	starter *Starter
	began   time.Time
	// answered is guarded by the starter's lock.
	answered bool
}

// FirstByte says that the response to a request that waited for the start begins, and by which address. It returns the stages, as
// the request saw them and as far as they are known by now. If this is the start's first response, complete gets all, as soon as they
// are known.
func (c *Start) FirstByte(at string, arrived time.Time, complete func(Stages)) Stages {
	s := c.starter
	s.mu.Lock()
	first := !c.answered
	c.answered = true
	seen := sight{arrived: arrived, firstByte: s.clock.Now()}
	a := s.known[at]
	if a != nil {
		if first && a.reading == nil && a.Pod != "" && s.prober != nil {
			// It was ready when it was first heard of, and not asked.
			a.reading = make(chan struct{})
			go s.tell(a, a.Pod, a.reading)
		}
		seen.pod = *a
	}
	asleep, heard := s.asleep, s.heard
	if !asleep {
		seen.decided = s.woken
	}
	s.mu.Unlock()
	stages := seen.stages()
	if first {
		go func() {
			if seen.pod.reading != nil {
				<-seen.pod.reading
			}
			if asleep {
				s.await(heard)
			}
			s.mu.Lock()
			if a != nil {
				seen.pod.created, seen.pod.scheduled = a.created, a.scheduled
			}
			if asleep && heard != s.heard {
				seen.decided = s.woken
			}
			s.mu.Unlock()
			complete(seen.stages())
		}()
	}
	return stages
}

// await waits until the app's status says something else, or will not say it in time.
func (s *Starter) await(heard <-chan struct{}) {
	timer := s.clock.NewTimer(statusLag)
	defer timer.Stop()
	select {
	case <-heard:
	case <-timer.C():
	}
}

// sight is what is known of a start that ended by a pod, which is empty if it is gone already, as a request saw it.
type sight struct {
	arrived, decided, firstByte time.Time
	pod                         address
}

func (seen *sight) stages() (stages Stages) {
	ready := Ready
	if seen.pod.proven {
		ready = Probe
	}
	for _, reached := range []struct {
		name string
		at   time.Time
	}{
		{Decided, seen.decided}, {Created, seen.pod.created}, {Scheduled, seen.pod.scheduled}, {Address, seen.pod.since},
		{ready, seen.pod.usableSince}, {FirstByte, seen.firstByte},
	} {
		// Some were told by others' clocks. What they put after the end has not happened at another time than the rest, but by another clock.
		if !reached.at.IsZero() && !reached.at.After(seen.firstByte) {
			stages = append(stages, Stage{Name: reached.name, After: max(reached.at.Sub(seen.arrived), 0)})
		}
	}
	return stages
}
