// Package demand knows how many replicas the requests of an app call for. Whoever scales an app reckons with it, so that what
// one does the others agree with.
package demand

import (
	"math"
	"time"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Replicas returns the replicas that the requests of this moment call for: ceil((pending + in-flight) / target) for an app
// that follows concurrency, within its bounds and at least one while there is a request. A request rate cannot be told from
// requests that wait, so an app that follows one gets the fewest replicas that can answer them. Without a request it is
// minReplicas, which may be none.
func Replicas(app *v1alpha1.HTTPApp, pending, inFlight int64) int32 {
	least, most := Bounds(app)
	requests := pending + inFlight
	if requests <= 0 {
		return least
	}
	wanted := 1.0
	if app.Spec.Scaling.Metric != v1alpha1.MetricRequestRate {
		wanted = math.Ceil(float64(requests) / Target(app))
	}
	wanted = max(wanted, 1, float64(least))
	return int32(min(wanted, float64(most)))
}

// Exceeds reports whether the requests of this moment call for more replicas than the app may have.
func Exceeds(app *v1alpha1.HTTPApp, requests int64, rate float64) bool {
	_, most := Bounds(app)
	value := float64(requests)
	if app.Spec.Scaling.Metric == v1alpha1.MetricRequestRate {
		value = rate
	}
	return value > float64(most)*Target(app)
}

// Bounds returns the fewest and the most replicas that an app may have, with the defaults where it says nothing.
func Bounds(app *v1alpha1.HTTPApp) (least, most int32) {
	s := &app.Spec.Scaling
	if s.MinReplicas != nil {
		least = max(0, *s.MinReplicas)
	}
	most = v1alpha1.DefaultMaxReplicas
	if s.MaxReplicas != nil {
		most = max(1, *s.MaxReplicas)
	}
	return least, max(least, most)
}

// Target returns how much of its metric one replica of an app is for; always more than zero.
func Target(app *v1alpha1.HTTPApp) float64 {
	if t := app.Spec.Scaling.Target; t != nil && t.Sign() > 0 {
		return t.AsApproximateFloat64()
	}
	return float64(v1alpha1.DefaultTarget)
}

// Window returns the time over which an app's metric is averaged.
func Window(app *v1alpha1.HTTPApp) time.Duration {
	if w := app.Spec.Scaling.Window; w != nil && w.Duration > 0 {
		return w.Duration
	}
	return v1alpha1.DefaultWindow
}
