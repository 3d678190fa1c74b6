package main

import (
	"container/heap"
	"slices"
	"time"
)

const (
	// slots is how many requests a pod works on at a time; others wait.
	slots = 10
	// target is how many of them it is to have: the 70 % that Knative aims at by default.
	target = 7
	// most is the most replicas.
	most = 30
	// start is from a pod's creation until it takes requests, by whoever it was asked for.
	start = time.Second
	// second is how often autoscalers are given a turn; what they do less often they count themselves.
	second = time.Second
)

// autoscaler decides how many replicas there are.
type autoscaler interface {
	// requested comes after each change of the requests or of the ready pods.
	requested(w *world)
	// looks comes each second.
	looks(w *world)
}

// listener is an autoscaler that counts the requests itself.
type listener interface {
	at(now time.Duration)
	arrived() any
	forwarded(ticket any)
	done(ticket any)
}

// world is an app with its pods and requests, as everybody would see them who has no delay.
type world struct {
	now time.Duration
	// replicas is how many there should be. Pods that are to end finish what they have.
	replicas int
	pods     []*pod
	waiting  []*open
	working  completions
	scaler   autoscaler
	listens  listener

	// integral is that of the requests, in request-seconds.
	integral float64
	result   result
}

type pod struct {
	ready  time.Duration
	busy   int
	ending bool
}

type open struct {
	request
	pod    *pod
	ends   time.Duration
	ticket any
}

// result is what became of the trace.
type result struct {
	// unserved is how long requests waited, all together, in request-seconds; worst is the longest wait.
	unserved float64
	worst    time.Duration
	// podSeconds is what the pods cost.
	podSeconds float64
	// replicas, ready and waits are what there was in each second.
	replicas, ready, waits []int
	// demand is how many requests there were in each second, waiting or not, on average.
	demand []float64
}

// completions are the requests that pods work on, the first to end first.
type completions []*open

func (c completions) Len() int           { return len(c) }
func (c completions) Less(i, j int) bool { return c[i].ends < c[j].ends }
func (c completions) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *completions) Push(x any)        { *c = append(*c, x.(*open)) }
func (c *completions) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// run takes the requests through an app that an autoscaler scales.
func run(requests []request, a autoscaler, replicas int) result {
	w := &world{scaler: a}
	w.listens, _ = a.(listener)
	w.scale(replicas)
	before := 0.0
	for turn := second; turn <= length; turn += second {
		for {
			next := turn
			if len(requests) > 0 {
				next = min(next, requests[0].at)
			}
			if len(w.working) > 0 {
				next = min(next, w.working[0].ends)
			}
			for _, p := range w.pods {
				if p.ready > w.now {
					next = min(next, p.ready)
				}
			}
			w.pass(next)
			changed := false
			for len(requests) > 0 && requests[0].at <= w.now {
				w.arrive(requests[0])
				requests, changed = requests[1:], true
			}
			for len(w.working) > 0 && w.working[0].ends <= w.now {
				w.finish(heap.Pop(&w.working).(*open))
				changed = true
			}
			w.forward()
			if changed || next < turn {
				w.scaler.requested(w)
			}
			if next == turn {
				break
			}
		}
		w.scaler.looks(w)
		w.result.replicas = append(w.result.replicas, w.replicas)
		w.result.ready = append(w.result.ready, w.readyPods())
		w.result.waits = append(w.result.waits, len(w.waiting))
		w.result.demand = append(w.result.demand, w.integral-before)
		before = w.integral
	}
	return w.result
}

// pass lets time pass, in which nothing happens.
func (w *world) pass(until time.Duration) {
	took := (until - w.now).Seconds()
	w.integral += took * float64(w.requests())
	w.result.unserved += took * float64(len(w.waiting))
	w.result.podSeconds += took * float64(len(w.pods))
	w.now = until
	if w.listens != nil {
		w.listens.at(until)
	}
}

// requests are those that wait and those that pods work on.
func (w *world) requests() int { return len(w.waiting) + len(w.working) }

func (w *world) readyPods() (n int) {
	for _, p := range w.pods {
		if !p.ending && p.ready <= w.now {
			n++
		}
	}
	return n
}

func (w *world) arrive(r request) {
	o := &open{request: r}
	if w.listens != nil {
		o.ticket = w.listens.arrived()
	}
	w.waiting = append(w.waiting, o)
}

func (w *world) finish(o *open) {
	if w.listens != nil {
		w.listens.done(o.ticket)
	}
	o.pod.busy--
	w.drained()
}

// forward gives what waits to the pods with the fewest requests, as long as they have slots.
func (w *world) forward() {
	for len(w.waiting) > 0 {
		var best *pod
		for _, p := range w.pods {
			if !p.ending && p.ready <= w.now && p.busy < slots && (best == nil || p.busy < best.busy) {
				best = p
			}
		}
		if best == nil {
			return
		}
		o := w.waiting[0]
		w.waiting = w.waiting[1:]
		w.result.worst = max(w.result.worst, w.now-o.at)
		o.pod, o.ends = best, w.now+o.takes
		best.busy++
		heap.Push(&w.working, o)
		if w.listens != nil {
			w.listens.forwarded(o.ticket)
		}
	}
}

// scale sets the replicas. Those that are too many end, the idlest first, and starting ones before all.
func (w *world) scale(replicas int) {
	replicas = min(replicas, most)
	for ; w.replicas < replicas; w.replicas++ {
		w.pods = append(w.pods, &pod{ready: w.now + start})
	}
	for ; w.replicas > replicas; w.replicas-- {
		var least *pod
		for _, p := range w.pods {
			if !p.ending && (least == nil || p.ready > w.now && least.ready <= w.now || p.busy < least.busy) {
				least = p
			}
		}
		least.ending = true
	}
	w.drained()
}

// drained removes pods that have ended.
func (w *world) drained() {
	w.pods = slices.DeleteFunc(w.pods, func(p *pod) bool { return p.ending && p.busy == 0 })
}
