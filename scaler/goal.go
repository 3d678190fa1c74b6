package scaler

import (
	"time"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// The names of the metrics. The HPA's metrics have them in their names: they never change.
const (
	metricConcurrency  = "http-concurrency"
	metricRequestRate  = "http-request-rate"
	metricInterceptors = "http-interceptor-requests"
)

// goal is what is scaled by: an app's word, the trigger's, or, for the interceptors themselves, the requests of all apps.
type goal struct {
	metric string
	target float64
	window time.Duration
}

// goal is what a trigger says, and where it says nothing, the app; for one that is not known (yet), the API's defaults.
func (s *Server) goal(t trigger) goal {
	if t.app == queue.AllApps {
		return goal{metricInterceptors, t.target, time.Second}
	}
	app := s.config.Apps.Get(t.app)
	if app == nil {
		app = &v1alpha1.HTTPApp{}
	}
	g := goal{metric: metricConcurrency, target: demand.Target(app), window: demand.Window(app)}
	if app.Spec.Scaling.Metric == v1alpha1.MetricRequestRate {
		g.metric = metricRequestRate
	}
	switch t.metric {
	case v1alpha1.MetricConcurrency:
		g.metric = metricConcurrency
	case v1alpha1.MetricRequestRate:
		g.metric = metricRequestRate
	}
	if t.target > 0 {
		g.target = t.target
	}
	return g
}
