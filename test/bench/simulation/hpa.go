package main

import (
	"math"
	"slices"
	"time"
)

const (
	// The defaults of Kubernetes' HorizontalPodAutoscaler: how often it looks, how far off the value has to be, and how long it has to
	// be lower before replicas are taken away (kubernetes.io/docs, "Horizontal Pod Autoscaling").
	hpaSync      = 15 * time.Second
	hpaTolerance = 0.1
	hpaStable    = 5 * time.Minute
	// It doubles the replicas, or adds four of them, whichever is more, within a period.
	hpaPeriod, hpaAdds, hpaTimes = 15 * time.Second, 4, 2
)

// hpa is the HorizontalPodAutoscaler's algorithm for an average value, with its default behavior.
type hpa struct {
	least int
	// stable is how long the value has to be lower before replicas are taken away.
	stable time.Duration
	wanted []at[int]
	grown  []at[int]
}

// at is what was so at a moment.
type at[T any] struct {
	when time.Duration
	what T
}

// decide returns the replicas for a value of the metric, that of all pods together.
func (h *hpa) decide(now time.Duration, current int, total float64) int {
	if current == 0 {
		return 0 // it looks away
	}
	wanted := current
	if r := total / (target * float64(current)); math.Abs(1-r) > hpaTolerance {
		wanted = int(math.Ceil(total / target))
	}
	wanted = min(max(wanted, h.least), most)
	if len(h.wanted) == 0 {
		h.wanted = []at[int]{{now, current}}
	}
	h.wanted = append(since(h.wanted, now-h.stable), at[int]{now, wanted})
	if wanted < current {
		for _, w := range h.wanted {
			wanted = max(wanted, w.what)
		}
		return min(wanted, current)
	}
	// What was added within the period counts as not yet there.
	h.grown = since(h.grown, now-hpaPeriod)
	before := current
	for _, g := range h.grown {
		before -= g.what
	}
	wanted = min(wanted, max(before+hpaAdds, before*hpaTimes))
	if wanted > current {
		h.grown = append(h.grown, at[int]{now, wanted - current})
	}
	return max(wanted, current)
}

func since[T any](all []at[T], when time.Duration) []at[T] {
	return slices.DeleteFunc(all, func(a at[T]) bool { return a.when <= when })
}

// plain is an HPA on a metric that is scraped from pods, as by Prometheus each 15 s, and averaged over a minute.
type plain struct {
	hpa
	scraped []at[float64]
}

const (
	scrapeEach, scrapeOffset = 15 * time.Second, 7 * time.Second
	scrapeAverage            = time.Minute
)

// newPlain has at least one replica: an HPA takes none to zero.
func newPlain() *plain { return &plain{hpa: hpa{least: 1, stable: hpaStable}} }

func (p *plain) requested(*world) {}

func (p *plain) looks(w *world) {
	if w.now%scrapeEach == scrapeOffset {
		p.scraped = append(since(p.scraped, w.now-scrapeAverage), at[float64]{w.now, float64(w.requests())})
	}
	if w.now%hpaSync != 0 || len(p.scraped) == 0 {
		return
	}
	sum := 0.0
	for _, s := range p.scraped {
		sum += s.what
	}
	w.scale(p.decide(w.now, w.replicas, sum/float64(len(p.scraped))))
}
