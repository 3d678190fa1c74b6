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
	requests := pending + inFlight
	if requests <= 0 {
		least, _ := Bounds(app)
		return least
	}
	if app.Spec.Scaling.Metric == v1alpha1.MetricRequestRate {
		return For(app, 0)
	}
	return For(app, float64(requests))
}

// For returns the replicas that a value of the app's metric calls for, within its bounds, and at least one.
func For(app *v1alpha1.HTTPApp, value float64) int32 {
	least, most := Bounds(app)
	wanted := max(math.Ceil(value/Target(app)), 1, float64(least))
	return int32(min(wanted, float64(most)))
}

// Held returns the value of the app's metric that calls for the replicas that it has. An autoscaler is told no less while interceptors do not
// report: they may know of more.
func Held(app *v1alpha1.HTTPApp) float64 { return Target(app) * float64(app.Status.Replicas) }

// Rise returns the replicas that an app is to be scaled up to at once, and none if that is for its autoscaler to see to. One at
// zero for which requests wait, or that is still starting, gets what the requests of this moment call for; at zero those in flight are
// with pods that are going, which somebody has told to. One that serves, when those of the last two seconds
// call for twice as many as it has: that is a rush, for which an autoscaler that looks each 15 s is too slow. An app that says itself how
// fast it may grow is left to its autoscaler.
func Rise(app *v1alpha1.HTTPApp, replicas int32, serves, waiting bool, now, lately int32) int32 {
	switch {
	case replicas == 0 && !waiting:
		return 0
	case replicas == 0 || !serves && replicas < now:
		return now
	case rushes(app) && lately >= steep*replicas:
		return lately
	}
	return 0
}

// rushes reports whether an app's spec leaves it open how fast it grows.
func rushes(app *v1alpha1.HTTPApp) bool {
	s := &app.Spec.Scaling
	return s.Autoscaler != v1alpha1.AutoscalerNone && (s.Behavior == nil || s.Behavior.ScaleUp == nil)
}

// steep is how many times as many replicas a rush calls for.
const steep = 2

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

// Steadiness is how long less has to be called for until an autoscaler takes replicas away, unless the app says otherwise: the window. What
// an autoscaler is told is an average over it, and rushes are scaled up for at once, so that there is no need for the five minutes that
// are an HPA's default.
func Steadiness(app *v1alpha1.HTTPApp) time.Duration { return Window(app) }
