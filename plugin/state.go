package plugin

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// state is how an app is, in one word.
type state string

const (
	serving state = "serving"
	idle    state = "idle"
	waking  state = "waking"
	paused  state = "paused"
	// starting is an app whose parts are being made.
	starting state = "starting"
	failing  state = "failing"
)

// stateOf returns how an app is, and why in a sentence.
func stateOf(app *v1alpha1.HTTPApp) (state, string) {
	traffic := app.Status.Traffic
	waits := traffic != nil && traffic.Pending > 0
	if !meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady) {
		c := firstFalse(app)
		switch {
		case c == nil || app.Status.ObservedGeneration < app.Generation:
			return starting, "its latest change has not been seen yet"
		case c.Status == metav1.ConditionUnknown:
			return starting, c.Message
		}
		return failing, fmt.Sprintf("%s: %s", c.Reason, c.Message)
	}
	waiting := ""
	if waits {
		waiting = "; " + howMany(traffic.Pending, "request waits", "requests wait")
	}
	switch {
	case app.Status.ReadyReplicas > 0:
		return serving, fmt.Sprintf("%d of %d replicas are ready", app.Status.ReadyReplicas, app.Status.Replicas)
	case app.Spec.Scaling.Paused:
		return paused, "it has no replica, and is not woken until it is resumed" + waiting
	case waits:
		return waking, howMany(traffic.Pending, "request waits", "requests wait") + " for its first replica"
	case app.Status.Replicas > 0:
		return waking, howMany(app.Status.Replicas, "replica is starting", "replicas are starting")
	default:
		return idle, "it has no replica, and wakes at the next request"
	}
}

// headline is how an app is, in one line.
func headline(app *v1alpha1.HTTPApp, colors palette) string {
	state, why := stateOf(app)
	line := fmt.Sprintf("%s: %s", colors.state(state, string(state)), why)
	if t := app.Status.Traffic; t != nil {
		line += fmt.Sprintf("; %d pending, %d in flight", t.Pending, t.InFlight)
	}
	return line
}

// howMany says a number of things, in the words for one of them or for several.
func howMany[N int | int32 | int64](n N, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}
