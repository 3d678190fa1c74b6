package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// condition is one part of how an app is: whether it is well, why, and what to do if not.
type condition struct {
	kind            string
	status          metav1.ConditionStatus
	reason, message string
}

func yes(kind, reason, message string) condition {
	return condition{kind, metav1.ConditionTrue, reason, message}
}

func no(kind, reason, message string) condition {
	return condition{kind, metav1.ConditionFalse, reason, message}
}

func notYet(kind, reason, message string) condition {
	return condition{kind, metav1.ConditionUnknown, reason, message}
}

// setConditions writes the parts, and what follows from them: the app is ready when all of them are.
func setConditions(status *v1alpha1.HTTPAppStatus, generation int64, parts ...condition) {
	ready := yes(v1alpha1.ConditionReady, "Ready", "requests to the app's URL are answered, after waking it if it has no replica")
	if slices.Contains(parts, paused) {
		ready.message = "requests to the app's URL are answered while it has a replica; it is paused, and none wakes it"
	}
	if slices.Contains(parts, parked) {
		ready.message = "requests to the app's URL are answered while it has a replica; none wakes it"
	}
	for _, part := range parts {
		set(status, generation, part)
		if part.status == metav1.ConditionFalse && ready.status != metav1.ConditionFalse ||
			part.status == metav1.ConditionUnknown && ready.status == metav1.ConditionTrue {
			ready = condition{v1alpha1.ConditionReady, part.status, part.reason, part.message}
		}
	}
	set(status, generation, ready)
}

func set(status *v1alpha1.HTTPAppStatus, generation int64, c condition) {
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: c.kind, Status: c.status, Reason: c.reason, Message: c.message, ObservedGeneration: generation,
	})
}

func find(conditions []metav1.Condition, kind string) *metav1.Condition {
	return meta.FindStatusCondition(conditions, kind)
}

// routesCondition says whether the app owns what it claims.
func (r *Reconciler) routesCondition(app *v1alpha1.HTTPApp) condition {
	conflicts := r.Owners.Conflicts(nameOf(app))
	if len(conflicts) == 0 {
		return yes(v1alpha1.ConditionRoutesAccepted, "Accepted", "the app owns all of its routes")
	}
	var taken []string
	for _, c := range conflicts {
		taken = append(taken, fmt.Sprintf("%s belongs to the older app %s", c.Key, c.Owner))
	}
	return no(v1alpha1.ConditionRoutesAccepted, v1alpha1.ReasonHostConflict,
		strings.Join(taken, "; ")+": choose another host or path in spec.routes, or delete the older app")
}
