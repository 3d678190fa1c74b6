package main

import (
	"math"
	"time"
)

// The defaults of Knative's autoscaler (knative.dev/docs, "Autoscaling concepts", and its ConfigMap config-autoscaler).
const (
	knativeTick   = 2 * time.Second
	knativeStable = time.Minute
	knativePanic  = 6 * time.Second
	knativeGrace  = 30 * time.Second
	// In panic when so many times the ready pods would be needed.
	knativeThreshold = 2
	knativeUp        = 1000
	knativeDown      = 2
)

// knative is the algorithm of Knative's autoscaler. The first request for an app at zero wakes it at once.
type knative struct {
	before   float64 // the integral a second ago
	averages []at[float64]
	// panics is since when it was last found that much is missing; most is the most pods that it wanted since it panics.
	panicking bool
	panics    time.Duration
	most      int
	// idle is since when no pod is wanted.
	idle time.Duration
}

func (k *knative) requested(w *world) {
	if w.replicas == 0 && w.requests() > 0 {
		w.scale(1)
	}
}

func (k *knative) looks(w *world) {
	// Seconds without a pod or a request have no data, and do not count.
	if w.readyPods() > 0 || w.requests() > 0 {
		k.averages = append(k.averages, at[float64]{w.now, w.integral - k.before})
	}
	k.before = w.integral
	k.averages = since(k.averages, w.now-knativeStable)
	if w.now%knativeTick != 0 || w.replicas == 0 {
		return
	}
	wanted := k.wanted(w)
	if wanted > 0 {
		k.idle = 0
		w.scale(wanted)
		return
	}
	if k.idle == 0 {
		k.idle = w.now
	}
	if w.now-k.idle >= knativeGrace {
		k.idle = 0
		w.scale(0)
	}
}

func (k *knative) average(since time.Duration) float64 {
	sum, n := 0.0, 0
	for _, a := range k.averages {
		if a.when > since {
			sum, n = sum+a.what, n+1
		}
	}
	return sum / float64(max(n, 1))
}

func (k *knative) wanted(w *world) int {
	ready := max(1, w.readyPods())
	bounded := func(average float64) int {
		return min(max(int(math.Ceil(average/target)), ready/knativeDown), ready*knativeUp)
	}
	lately := k.average(w.now - knativePanic)
	stable, burst := bounded(k.average(w.now-knativeStable)), bounded(lately)
	if math.Ceil(lately/target)/float64(ready) >= knativeThreshold {
		if !k.panicking {
			k.most = 0
		}
		k.panicking, k.panics = true, w.now
	} else if k.panicking && w.now-k.panics >= knativeStable {
		k.panicking = false
	}
	if !k.panicking {
		return stable
	}
	k.most = max(k.most, stable, burst)
	return k.most
}
