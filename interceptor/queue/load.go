package queue

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// Burst is the time in which a rise of the load must show, however long the window is.
	Burst = 10 * time.Second
	// wake is the same for an app that just woke.
	wake = 2 * time.Second
)

// Sampler is what a Collector offers to those who reckon with averages.
type Sampler interface {
	Sample(app types.NamespacedName, window time.Duration) Sample
}

// Metric is one of a Sample's averages, by which apps are scaled.
type Metric int

// The metrics.
const (
	Concurrency Metric = iota
	RequestRate
)

func (m Metric) of(s Sample) float64 {
	if m == RequestRate {
		return s.RequestRate
	}
	return s.Concurrency
}

// Load is the value of a metric that an autoscaler gets, whichever it is:
//
//	max(average over the app's window, average over the last 10 s)
//
// so that a burst counts in full after ten seconds and yet a pause of a few seconds takes nothing away. An app that was idle
// until some moment of these ten seconds has no past that says anything, and was most likely just woken with as many
// replicas as the waiting requests call for. Then
//
//	max(…, average over the last 2 s, and for the concurrency, while requests wait, what there is now)
//
// so that the autoscaler does not take those replicas away again because most of the ten seconds were quiet.
func Load(source Sampler, app types.NamespacedName, metric Metric, window time.Duration) float64 {
	lately, longer := source.Sample(app, Burst), source.Sample(app, 2*Burst)
	v := max(metric.of(source.Sample(app, window)), metric.of(lately))
	before := metric.of(longer)*longer.Observed.Seconds() - metric.of(lately)*lately.Observed.Seconds()
	if before < 0.1 {
		v = max(v, metric.of(source.Sample(app, wake)))
		if metric == Concurrency && lately.Pending > 0 {
			v = max(v, float64(lately.Pending+lately.InFlight))
		}
	}
	return v
}
