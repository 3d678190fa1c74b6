package scaler

import (
	"time"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
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
	if app == nil {
		app = &v1alpha1.HTTPApp{}
	}
	g := goal{metric: metricConcurrency, target: demand.Target(app), window: demand.Window(app)}
	if app.Spec.Scaling.Metric == v1alpha1.MetricRequestRate {
		g.metric = metricRequestRate
	}
	return g
}
