package scaler

import (
	"time"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// The names of the metrics. The HPA's metrics have them in their names: they never change.
const (
	metricConcurrency = "http-concurrency"
	metricRequestRate = "http-request-rate"
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
