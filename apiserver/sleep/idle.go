package sleep

import (
	"time"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// ours reports whether the number of replicas between none and one is seen to here: no HPA does that.
func ours(app *v1alpha1.HTTPApp) bool {
	return app.Spec.Scaling.Autoscaler == v1alpha1.AutoscalerHPA && !app.Spec.Scaling.Paused && app.DeletionTimestamp == nil
}

// mayRest reports whether the app may have no replica at all.
func mayRest(app *v1alpha1.HTTPApp) bool {
	least, _ := demand.Bounds(app)
	return least == 0
}

func cooldownOf(app *v1alpha1.HTTPApp) time.Duration {
	if c := app.Spec.Scaling.Cooldown; c != nil {
		return c.Duration
	}
	return v1alpha1.DefaultCooldown
}

// idleSince is since when an app is known to be without a request, having been seen so since before (zero: never) and with
// these counts now. What is not known is no idle time: when an interceptor is missing, it begins anew.
func idleSince(before, now time.Time, s queue.Sample, synced bool) time.Time {
	complete := synced && s.Expected > 0 && s.Reporting == s.Expected
	if before.IsZero() || !complete || s.Waiting() {
		return now
	}
	// A request that came and was answered between two looks.
	if s.LastRequest.After(before) {
		return s.LastRequest
	}
	return before
}
