// Package balance picks the pod that a request goes to.
package balance

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

const (
	// few is up to how many pods all of them are looked at; of more, the less busy one of two random ones is taken, which is
	// nearly as even and costs the same however many there are.
	few = 8
	// A pod that could not be connected to is left out for quarantineFirst, then twice as long, up to quarantineMost: long
	// enough that requests do not pile up on it, short enough that it costs nothing if the pod was only slow to listen.
	quarantineFirst = 100 * time.Millisecond
	quarantineMost  = 5 * time.Second
)

// Endpoint is a ready pod's address.
type Endpoint struct {
	// Address is host:port.
	Address  string
	inFlight atomic.Int64
	// failures are the connections that could not be made since the last that could.
	failures atomic.Int32
	// out is guarded by the pool's lock.
	out bool
}

// InFlight is how many requests the pod has from this interceptor.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// Release ends what Pick began.
func (e *Endpoint) Release() { e.inFlight.Add(-1) }

// Pool is the ready pods of one app.
type Pool struct {
	clock clock.WithDelayedExecution
	// available is called when there may be a pod to pick, after Pick would find it.
	available func()

	// pickable is replaced, never changed.
	pickable atomic.Pointer[[]*Endpoint]

	mu  sync.Mutex
	all map[string]*Endpoint
}

// NewPool makes an empty pool; available is told, outside of any lock, whenever pods become available.
func NewPool(clk clock.WithDelayedExecution, available func()) *Pool {
	p := &Pool{clock: clk, available: available, all: map[string]*Endpoint{}}
	p.pickable.Store(&[]*Endpoint{})
	return p
}

// Set says which pods are ready.
func (p *Pool) Set(addresses []string) {
	p.mu.Lock()
	all := make(map[string]*Endpoint, len(addresses))
	for _, address := range addresses {
		e := p.all[address]
		if e == nil {
			e = &Endpoint{Address: address}
		}
		all[address] = e
	}
	p.all = all
	some := p.publish()
	p.mu.Unlock()
	if some {
		p.available()
	}
}

// publish replaces the pickable pods. The lock is held.
func (p *Pool) publish() (some bool) {
	pickable := make([]*Endpoint, 0, len(p.all))
	for _, e := range p.all {
		if !e.out {
			pickable = append(pickable, e)
		}
	}
	p.pickable.Store(&pickable)
	return len(pickable) > 0
}

// Available reports whether there is a pod to pick.
func (p *Pool) Available() bool { return len(*p.pickable.Load()) > 0 }

// Ready is how many pods are ready, those in quarantine included.
func (p *Pool) Ready() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

// Pick returns the pod with the fewest requests, and counts one more for it until Release. It avoids the given one as long as
// there is another. It returns nil when there is none.
func (p *Pool) Pick(avoid *Endpoint) *Endpoint {
	pods := *p.pickable.Load()
	if avoid != nil && len(pods) > 1 {
		pods = slices.DeleteFunc(slices.Clone(pods), func(e *Endpoint) bool { return e == avoid })
	}
	var best *Endpoint
	switch n := len(pods); {
	case n == 0:
		return nil
	case n == 1:
		best = pods[0]
	case n <= few:
		// From a random one on, so that equals take turns.
		start := rand.IntN(n)
		best = pods[start]
		for i := 1; i < n; i++ {
			if e := pods[(start+i)%n]; e.InFlight() < best.InFlight() {
				best = e
			}
		}
	default:
		i, j := rand.IntN(n), rand.IntN(n-1)
		if j >= i {
			j++
		}
		best = pods[i]
		if pods[j].InFlight() < best.InFlight() {
			best = pods[j]
		}
	}
	best.inFlight.Add(1)
	return best
}

// Failed leaves a pod out for a moment: it could not be connected to.
func (p *Pool) Failed(e *Endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.out || p.all[e.Address] != e {
		return
	}
	e.out = true
	wait := min(quarantineFirst<<min(e.failures.Load(), 10), quarantineMost)
	e.failures.Add(1)
	p.publish()
	p.clock.AfterFunc(wait, func() {
		p.mu.Lock()
		e.out = false
		some := p.publish()
		p.mu.Unlock()
		if some {
			p.available()
		}
	})
}

// Succeeded forgets a pod's failures.
func (p *Pool) Succeeded(e *Endpoint) {
	if e.failures.Load() != 0 {
		e.failures.Store(0)
	}
}
