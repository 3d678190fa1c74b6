package scaler

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// The names of the metrics. The HPA's metrics have them in their names: they never change.
const (
	metricConcurrency = "http-concurrency"
	metricRequestRate = "http-request-rate"
)

const (
	// burst is the time in which a rise of the load must show, however long the window is.
	burst = 10 * time.Second
	// wake is the same for an app that just woke.
	wake = 2 * time.Second
)

// goal is what an app wants to be scaled by.
type goal struct {
	metric string
	target float64
	window time.Duration
}

// goalOf reads an app; nil is one that is not known (yet), which gets the API's defaults.
func goalOf(app *v1alpha1.HTTPApp) goal {
	var s v1alpha1.Scaling
	if app != nil {
		s = *app.Spec.Scaling.DeepCopy()
	}
	v1alpha1.SetDefaults_Scaling(&s)
	g := goal{metric: metricConcurrency, target: s.Target.AsApproximateFloat64(), window: s.Window.Duration}
	if s.Metric == v1alpha1.MetricRequestRate {
		g.metric = metricRequestRate
	}
	if g.target <= 0 {
		g.target = float64(v1alpha1.DefaultTarget)
	}
	return g
}

// sampler is what a Source offers to the formula.
type sampler interface {
	Sample(app types.NamespacedName, window time.Duration) queue.Sample
}

// demand is the value that the autoscaler gets:
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
func demand(source sampler, app types.NamespacedName, g goal, value func(queue.Sample) float64) float64 {
	lately, longer := source.Sample(app, burst), source.Sample(app, 2*burst)
	v := max(value(source.Sample(app, g.window)), value(lately))
	before := value(longer)*longer.Observed.Seconds() - value(lately)*lately.Observed.Seconds()
	if before < 0.1 {
		v = max(v, value(source.Sample(app, wake)))
		if g.metric == metricConcurrency && lately.Pending > 0 {
			v = max(v, float64(lately.Pending+lately.InFlight))
		}
	}
	return v
}

func concurrency(s queue.Sample) float64 { return s.Concurrency }
func requestRate(s queue.Sample) float64 { return s.RequestRate }
