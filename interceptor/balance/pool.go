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
	// One that never could be connected to is starting: it is left out for quarantineFresh, or a tenth of the time that it has been
	// known if that is longer, which is what a slow start loses by it at most.
	quarantineFresh = 50 * time.Millisecond
)

// forgotten is the requests of an address that left without any: more than any limit, so that a Pick that still knows the address
// takes another. Were it counted, nobody would know of it when the address comes back.
const forgotten = math.MaxInt64 / 2

// Pod is a pod that takes requests.
type Pod struct {
	// Address is host:port.
	Address string
	// Near says that it is in the interceptor's own zone.
	Near bool
}

// Endpoint is a ready pod's address.
type Endpoint struct {
	// Address is host:port.
	Address string
	pool    *Pool
	// inFlight is shared by the endpoints of an address that went and came back.
	inFlight *atomic.Int64
	// failures are the connections that could not be made since the last request that was answered, and broken those that broke.
	failures, broken atomic.Int32
	// reached says that one could be made.
	reached atomic.Bool
	since   time.Time
	// out and near are guarded by the pool's lock.
	out, near bool
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
	// target is how many requests a pod in the interceptor's zone gets before those elsewhere get any.
	target atomic.Int64
	// pickable is replaced, never changed.
	pickable atomic.Pointer[pickable]

	mu  sync.Mutex
	all map[string]*Endpoint
	// leaving has the requests of addresses that are not ready any more: should they come back, those count.
	leaving map[string]*atomic.Int64
}

// pickable is the pods to pick from: all, and those that are near if there are others.
type pickable struct{ all, near []*Endpoint }

// NewPool makes an empty pool; available is told, outside of any lock, whenever pods become available or one with a limit has room
// again. It may Pick.
func NewPool(clk clock.WithDelayedExecution, available func()) *Pool {
	p := &Pool{clock: clk, available: available, all: map[string]*Endpoint{}, leaving: map[string]*atomic.Int64{}}
	p.pickable.Store(&pickable{})
	p.target.Store(1)
	return p
}

// Set says which pods are ready.
func (p *Pool) Set(pods []Pod) {
	p.mu.Lock()
	all := make(map[string]*Endpoint, len(pods))
	for _, pod := range pods {
		e := p.all[pod.Address]
		if e == nil {
			e = &Endpoint{Address: pod.Address, pool: p, inFlight: p.leaving[pod.Address], since: p.clock.Now()}
			if e.inFlight == nil {
				e.inFlight = new(atomic.Int64)
			}
		}
		e.near = pod.Near
		all[pod.Address] = e
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

// SetTarget says how many requests at a time a pod is for: one in the interceptor's own zone that has fewer goes before those elsewhere.
func (p *Pool) SetTarget(requests int) { p.target.Store(int64(max(requests, 1))) }

// publish replaces the pickable pods. The lock is held.
func (p *Pool) publish() {
	now := &pickable{all: make([]*Endpoint, 0, len(p.all))}
	for _, e := range p.all {
		if e.out {
			continue
		}
		now.all = append(now.all, e)
		if e.near {
			now.near = append(now.near, e)
		}
	}
	if len(now.near) == len(now.all) {
		now.near = nil
	}
	p.pickable.Store(now)
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
	return slices.ContainsFunc(p.pickable.Load().all, func(e *Endpoint) bool { return limit <= 0 || e.InFlight() < limit })
}

// Ready is how many pods are ready, those in quarantine included.
func (p *Pool) Ready() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

// Pick returns the pod with the fewest requests, of those that are near if one of them has fewer than it is for, and counts one more
// for it until Release. It avoids the given one as long as there is another. It returns nil when there is none, or each has as many requests as it may.
func (p *Pool) Pick(avoid *Endpoint) *Endpoint {
	pods, limit := p.pickable.Load(), p.limit.Load()
	if len(pods.near) > 0 {
		most := p.target.Load()
		if limit > 0 {
			most = min(most, limit)
		}
		if e := pick(without(pods.near, avoid), most); e != nil {
			return e
		}
	}
	if avoid != nil && len(pods.all) > 1 {
		if e := pick(without(pods.all, avoid), limit); e != nil {
			return e
		}
	}
	return pick(pods.all, limit)
}

func without(pods []*Endpoint, avoid *Endpoint) []*Endpoint {
	if avoid == nil {
		return pods
	}
	return slices.DeleteFunc(slices.Clone(pods), func(e *Endpoint) bool { return e == avoid })
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
func (e *Endpoint) Failed() {
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	e.leaveOut()
}

// mostBroken is how many connections a pod may break, one after the other, before it is left out: it could be for what it was asked.
const mostBroken = 1

// Broke leaves a pod out for a moment that breaks connections as soon as they are made, if there is another to pick: what breaks the
// last one may be the requests, and nobody else has them.
func (e *Endpoint) Broke() {
	if e.broken.Add(1) <= mostBroken {
		return
	}
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	if len(e.pool.pickable.Load().all) > 1 {
		e.reached.Store(true)
		e.leaveOut()
	}
}

// leaveOut is for both. The pool is locked.
func (e *Endpoint) leaveOut() {
	p := e.pool
	if e.out || p.all[e.Address] != e {
		return
	}
	e.out = true
	wait := min(quarantineFirst<<min(e.failures.Load(), 10), quarantineMost)
	if !e.reached.Load() {
		wait = min(max(p.clock.Since(e.since)/10, quarantineFresh), quarantineMost)
	}
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
func (e *Endpoint) Succeeded() {
	if e.failures.Load() != 0 {
		e.failures.Store(0)
	}
	if e.broken.Load() != 0 {
		e.broken.Store(0)
	}
	if !e.reached.Load() {
		e.reached.Store(true)
	}
}
