// Package balance picks the pod that a request goes to.
package balance

import (
	"math"
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

// forgotten is the requests of an address that left without any: more than any limit, so that a Pick that still knows the address
// takes another. Were it counted, nobody would know of it when the address comes back.
const forgotten = math.MaxInt64 / 2

// Endpoint is a ready pod's address.
type Endpoint struct {
	// Address is host:port.
	Address string
	pool    *Pool
	// inFlight is shared by the endpoints of an address that went and came back.
	inFlight *atomic.Int64
	// failures are the connections that could not be made since the last that could.
	failures atomic.Int32
	// out is guarded by the pool's lock.
	out bool
}

// InFlight is how many requests the pod has from this interceptor.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// Release ends what Pick began.
func (e *Endpoint) Release() {
	n := e.inFlight.Add(-1)
	if limit := e.pool.limit.Load(); limit > 0 && n < limit {
		e.pool.available()
	}
}

// take counts one more request, unless the pod has as many as it may.
func (e *Endpoint) take(limit int64) bool {
	if limit <= 0 {
		e.inFlight.Add(1)
		return true
	}
	for {
		n := e.inFlight.Load()
		if n >= limit {
			return false
		}
		if e.inFlight.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Pool is the ready pods of one app.
type Pool struct {
	clock clock.WithDelayedExecution
	// available is called when there may be a pod to pick, after Pick would find it.
	available func()

	// limit is how many requests a pod may have; 0: any number.
	limit atomic.Int64
	// pickable is replaced, never changed.
	pickable atomic.Pointer[[]*Endpoint]

	mu  sync.Mutex
	all map[string]*Endpoint
	// leaving has the requests of addresses that are not ready any more: should they come back, those count.
	leaving map[string]*atomic.Int64
}

// NewPool makes an empty pool; available is told, outside of any lock, whenever pods become available or one with a limit has room
// again. It may Pick.
func NewPool(clk clock.WithDelayedExecution, available func()) *Pool {
	p := &Pool{clock: clk, available: available, all: map[string]*Endpoint{}, leaving: map[string]*atomic.Int64{}}
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
			e = &Endpoint{Address: address, pool: p, inFlight: p.leaving[address]}
			if e.inFlight == nil {
				e.inFlight = new(atomic.Int64)
			}
		}
		all[address] = e
	}
	for address, e := range p.all {
		if all[address] == nil {
			p.leaving[address] = e.inFlight
		}
	}
	p.all = all
	p.publish()
	for address, requests := range p.leaving {
		if all[address] != nil || requests.CompareAndSwap(0, forgotten) {
			delete(p.leaving, address)
		}
	}
	p.mu.Unlock()
	p.tell()
}

// SetLimit says how many requests a pod may have from this interceptor at the same time; 0: any number. Those that it has are
// not taken from it.
func (p *Pool) SetLimit(requests int) {
	if before := p.limit.Swap(int64(requests)); before != int64(requests) {
		p.tell()
	}
}

// publish replaces the pickable pods. The lock is held.
func (p *Pool) publish() {
	pickable := make([]*Endpoint, 0, len(p.all))
	for _, e := range p.all {
		if !e.out {
			pickable = append(pickable, e)
		}
	}
	p.pickable.Store(&pickable)
}

// tell tells that there are pods to pick, if there are.
func (p *Pool) tell() {
	if p.Available() {
		p.available()
	}
}

// Limited reports whether there is a limit to the requests of a pod.
func (p *Pool) Limited() bool { return p.limit.Load() > 0 }

// Available reports whether there is a pod to pick.
func (p *Pool) Available() bool {
	limit := p.limit.Load()
	return slices.ContainsFunc(*p.pickable.Load(), func(e *Endpoint) bool { return limit <= 0 || e.InFlight() < limit })
}

// Ready is how many pods are ready, those in quarantine included.
func (p *Pool) Ready() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

// Pick returns the pod with the fewest requests, and counts one more for it until Release. It avoids the given one as long as
// there is another. It returns nil when there is none, or each has as many requests as it may.
func (p *Pool) Pick(avoid *Endpoint) *Endpoint {
	pods, limit := *p.pickable.Load(), p.limit.Load()
	if avoid != nil && len(pods) > 1 {
		if e := pick(slices.DeleteFunc(slices.Clone(pods), func(e *Endpoint) bool { return e == avoid }), limit); e != nil {
			return e
		}
	}
	return pick(pods, limit)
}

func pick(pods []*Endpoint, limit int64) *Endpoint {
	var best *Endpoint
	switch n := len(pods); {
	case n == 0:
		return nil
	case n == 1:
		best = pods[0]
	case n <= few:
		best = least(pods)
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
	for !best.take(limit) {
		// Another may have room.
		if best = least(pods); best.InFlight() >= limit {
			return nil
		}
	}
	return best
}

// least is the pod with the fewest requests.
func least(pods []*Endpoint) *Endpoint {
	// From a random one on, so that equals take turns.
	n := len(pods)
	start := rand.IntN(n)
	best := pods[start]
	for i := 1; i < n; i++ {
		if e := pods[(start+i)%n]; e.InFlight() < best.InFlight() {
			best = e
		}
	}
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
		p.publish()
		p.mu.Unlock()
		p.tell()
	})
}

// Succeeded forgets a pod's failures.
func (p *Pool) Succeeded(e *Endpoint) {
	if e.failures.Load() != 0 {
		e.failures.Store(0)
	}
}
