package queue

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/interceptor/queue/wire"
)

const (
	// coalesce is the least time between two rounds of changes. The first change after a quiet time is told at once.
	coalesce = 5 * time.Millisecond
	// heartbeat is how often a stream says that its counts are current.
	heartbeat = time.Second
)

// Publisher streams the counts of an interceptor to everybody who listens.
type Publisher struct {
	wire.UnimplementedCountsServer
	counters *Counters
	clock    clock.WithTicker

	mu          sync.Mutex
	subscribers map[*subscriber]struct{}
	closing     chan struct{}
}

// subscriber has what one listener was not told yet: however slow it is, one entry an app.
type subscriber struct {
	mu    sync.Mutex
	dirty map[*App]struct{}
	wake  chan struct{}
}

// NewPublisher makes a publisher; it publishes while Run runs.
func NewPublisher(counters *Counters, clk clock.WithTicker) *Publisher {
	return &Publisher{counters: counters, clock: clk, subscribers: map[*subscriber]struct{}{}, closing: make(chan struct{})}
}

// Run tells the listeners what changes until the context ends, which ends all streams with OK: that is to happen when no
// request is left, because whoever listens then takes this interceptor's counts for zero.
func (p *Publisher) Run(ctx context.Context) {
	defer close(p.closing)
	for {
		select {
		case <-ctx.Done():
			p.distribute()
			return
		case <-p.counters.wake:
		}
		p.distribute()
		select {
		case <-ctx.Done():
		case <-p.clock.After(coalesce):
		}
	}
}

func (p *Publisher) distribute() {
	changed := p.counters.takeChanged()
	if len(changed) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.subscribers {
		s.mark(changed)
	}
}

func (s *subscriber) mark(apps []*App) {
	s.mu.Lock()
	for _, a := range apps {
		s.dirty[a] = struct{}{}
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscriber) take() []*App {
	s.mu.Lock()
	defer s.mu.Unlock()
	apps := make([]*App, 0, len(s.dirty))
	for a := range s.dirty {
		apps = append(apps, a)
	}
	clear(s.dirty)
	return apps
}

// Watch implements wire.CountsServer.
func (p *Publisher) Watch(_ *wire.WatchRequest, stream grpc.ServerStreamingServer[wire.Update]) error {
	s := &subscriber{dirty: map[*App]struct{}{}, wake: make(chan struct{}, 1)}
	// Subscribed before the snapshot is taken: a change in between is told twice rather than never.
	p.mu.Lock()
	p.subscribers[s] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.subscribers, s)
		p.mu.Unlock()
	}()

	var sequence uint64
	send := func(snapshot bool, apps []*App) error {
		sequence++
		return stream.Send(p.update(sequence, snapshot, apps))
	}
	if err := send(true, p.counters.Apps()); err != nil {
		return err
	}
	ticker := p.clock.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		var apps []*App
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-p.closing:
			if apps := s.take(); len(apps) > 0 {
				return send(false, apps)
			}
			return nil
		case <-s.wake:
			apps = s.take()
		case <-ticker.C():
		}
		if err := send(false, apps); err != nil {
			return err
		}
	}
}

func (p *Publisher) update(sequence uint64, snapshot bool, apps []*App) *wire.Update {
	u := &wire.Update{
		Epoch:    p.counters.epoch,
		Sequence: sequence,
		Snapshot: snapshot,
		Apps:     make([]*wire.App, 0, len(apps)),
	}
	read := make([]time.Duration, 0, len(apps))
	for _, a := range apps {
		w := &wire.App{Namespace: a.key.name.Namespace, Name: a.key.name.Name, Uid: string(a.key.uid)}
		r, at := a.read()
		switch published := p.counters.published(a); {
		case snapshot && (!published || r.Requests == 0):
			continue // what a snapshot does not name is zero
		case !published:
			w.Removed = true
		default:
			w.Pending, w.InFlight = r.Pending, r.InFlight
			w.Requests, w.ConcurrencySeconds, w.ColdStarts = r.Requests, r.ConcurrencySeconds, r.ColdStarts
			if !r.LastRequest.IsZero() {
				w.LastRequestAt = timestamppb.New(r.LastRequest)
			}
			w.LastColdStart = p.counters.toWire(r.LastColdStart)
		}
		u.Apps, read = append(u.Apps, w), append(read, at)
	}
	// One moment for all of them.
	now := p.counters.now()
	u.SampledAt = timestamppb.New(p.counters.start.Add(now))
	for i, w := range u.Apps {
		w.ConcurrencySeconds += float64(w.Pending+w.InFlight) * (now - read[i]).Seconds()
	}
	return u
}

// toWire tells a cold start by the clock that all else is told by, which is not that of the wall since that was set.
func (c *Counters) toWire(start *ColdStart) *wire.ColdStart {
	if start == nil {
		return nil
	}
	w := &wire.ColdStart{At: timestamppb.New(c.start.Add(start.At.Sub(c.start)))}
	for _, stage := range start.Stages {
		w.Stages = append(w.Stages, &wire.Stage{Name: stage.Name, After: durationpb.New(stage.After)})
	}
	return w
}
