package queue

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// Burst is the time in which a rise of the load must show, however long the window is.
	Burst = 10 * time.Second
	// Rush is the time in which a rise must show that is so steep that autoscalers, which look each 15 s, are too slow for it.
	Rush = 2 * time.Second
	// remembered is how long a rush is told of, so that every autoscaler has looked meanwhile. It is one if the load was so many times the
	// usual: less than what apps are scaled up for at once, or few replicas would come and go.
	remembered = 20 * time.Second
	steep      = 1.5
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
// so that a burst counts in full after ten seconds and yet a pause of a few seconds takes nothing away. Apps are scaled up at
// once for a rush, also from zero, and the autoscaler is to agree and not to take those replicas away again because most of the ten seconds
// were quiet. So for 20 s after it began, when it was half as much again as the average over the window, it is
//
//	max(…, highest average over 2 s, and for the concurrency, while requests wait after an idle time, what there is now)
func Load(source Sampler, app types.NamespacedName, metric Metric, window time.Duration) float64 {
	lately := source.Sample(app, Burst)
	usual := metric.of(source.Sample(app, window))
	v := max(usual, metric.of(lately))
	if highest := highest(source, app, metric); highest >= steep*usual {
		v = max(v, highest)
	}
	if metric == Concurrency && lately.Pending > 0 {
		longer := source.Sample(app, 2*Burst)
		if before := total(metric, longer) - total(metric, lately); before < 0.1 {
			v = max(v, float64(lately.Pending+lately.InFlight))
		}
	}
	return v
}

// highest is the highest average over the time of a rush that is remembered.
func highest(source Sampler, app types.NamespacedName, metric Metric) (v float64) {
	// The totals since each second, from now back.
	since := []float64{0}
	for ago := time.Second; ago <= remembered; ago += time.Second {
		since = append(since, total(metric, source.Sample(app, ago)))
	}
	seconds := int(Rush / time.Second)
	for i := range len(since) - seconds {
		v = max(v, (since[i+seconds]-since[i])/Rush.Seconds())
	}
	return v
}

// total is what an average is of.
func total(metric Metric, s Sample) float64 { return metric.of(s) * s.Observed.Seconds() }
