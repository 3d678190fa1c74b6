package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// forgiven is for how long something may be wrong before it is taken for a failure: on the way to being well, an app's conditions
// go through states that are wrong for a moment.
const forgiven = 5 * time.Second

// forgivenKEDA is the same for what KEDA says of the ScaledObject. It tries again, after pauses that grow: for a scaler that was away for a while
// they are of some seconds.
const forgivenKEDA = 40 * time.Second

// lookAtPods is how often it is looked for what the pods have to say, which the app's conditions do not.
const lookAtPods = 10 * time.Second

// waiting waits for an app, and says meanwhile what it waits for.
type waiting struct {
	*session
	clients  *clients
	progress *progress
	timeout  time.Duration
}

// ready waits until the app is ready as it was just written.
func (w *waiting) ready(ctx context.Context, app *v1alpha1.HTTPApp) (*v1alpha1.HTTPApp, error) {
	return w.until(ctx, app, "ready", func(seen *v1alpha1.HTTPApp) (bool, string) { return readiness(seen, app.Generation) })
}

// replica starts a replica if there is none, and waits until it is ready.
func (w *waiting) replica(ctx context.Context, app *v1alpha1.HTTPApp) (*v1alpha1.HTTPApp, error) {
	if err := w.start(ctx, app); err != nil {
		return nil, err
	}
	return w.until(ctx, app, "answered by a replica", func(seen *v1alpha1.HTTPApp) (bool, string) {
		if ready, why := readiness(seen, app.Generation); !ready {
			return false, why
		}
		if seen.Status.ReadyReplicas > 0 {
			return true, fmt.Sprintf("%d of %d replicas are ready", seen.Status.ReadyReplicas, seen.Status.Replicas)
		}
		// An autoscaler that looked before it was told of the replica takes it away again. By then it knows. When the time is over, no more
		// is tried.
		if c := meta.FindStatusCondition(seen.Status.Conditions, v1alpha1.ConditionWorkloadReady); c != nil && c.Reason == v1alpha1.ReasonScaledToZero && ctx.Err() == nil {
			if err := w.start(ctx, app); err != nil {
				return false, fmt.Sprintf("no replica can be started: %v", err)
			}
		}
		return false, "waiting for a replica to be ready"
	})
}

// start asks for a replica if there is none.
func (w *waiting) start(ctx context.Context, app *v1alpha1.HTTPApp) error {
	apps := w.clients.apps.HTTPApps(app.Namespace)
	scale, err := apps.GetScale(ctx, app.Name, metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas > 0 {
		return err
	}
	scale.Spec.Replicas = max(1, ptr.Deref(app.Spec.Scaling.MinReplicas, 0))
	_, err = apps.UpdateScale(ctx, app.Name, scale, metav1.UpdateOptions{FieldManager: fieldManager})
	return err
}

// until waits until the app is as it should be. What is wrong with it for longer than is forgiven ends the wait: it does not mend
// itself, or not soon.
func (w *waiting) until(ctx context.Context, app *v1alpha1.HTTPApp, what string, check func(*v1alpha1.HTTPApp) (bool, string)) (*v1alpha1.HTTPApp, error) {
	_, _, events, _ := watchtools.NewIndexerInformerWatcherWithLogger(klog.FromContext(ctx), w.clients.watcher(app.Name), &v1alpha1.HTTPApp{})
	defer events.Stop()
	last := app
	var wrong *metav1.Condition
	giveUp := time.NewTimer(time.Hour)
	defer giveUp.Stop()
	look := time.NewTicker(lookAtPods)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if said := w.clients.trouble(ctx, last, w.now()); len(said) > 0 {
				w.progress.say("%s", said[0])
			}
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				_, why := check(last)
				return nil, timeoutError(fmt.Errorf("httpapp %s/%s is not %s after %s: %s%s", app.Namespace, app.Name, what, brief(w.timeout), why, w.diagnosis(last)))
			}
			return nil, errors.New("interrupted; what was written stays")
		case <-giveUp.C:
			return nil, fmt.Errorf("httpapp %s/%s is not %s: %s: %s%s", app.Namespace, app.Name, what, wrong.Reason, wrong.Message, w.diagnosis(last))
		case event, ok := <-events.ResultChan():
			if !ok {
				return nil, errors.New("the watch ended")
			}
			seen, isApp := event.Object.(*v1alpha1.HTTPApp)
			if !isApp {
				continue
			}
			if event.Type == watch.Deleted || seen.UID != app.UID {
				return nil, fmt.Errorf("httpapp %s/%s was deleted while it was waited for", app.Namespace, app.Name)
			}
			last = seen
			done, why := check(seen)
			w.progress.say("%s", why)
			if done {
				return last, nil
			}
			now := failure(seen, app.Generation)
			if now == nil {
				giveUp.Stop()
			} else if wrong == nil || wrong.Reason != now.Reason {
				patience := forgiven
				if now.Type == v1alpha1.ConditionScalerReady {
					patience = forgivenKEDA
				}
				giveUp.Reset(patience)
			}
			wrong = now
		}
	}
}

// failure is what is wrong with the app of a generation, or nil.
func failure(app *v1alpha1.HTTPApp, generation int64) *metav1.Condition {
	if app.Status.ObservedGeneration < generation {
		return nil
	}
	if c := firstFalse(app); c != nil && c.Status == metav1.ConditionFalse {
		return c
	}
	return nil
}

// readiness says whether the app of a generation is ready and, if not, what it waits for.
func readiness(app *v1alpha1.HTTPApp, generation int64) (ready bool, why string) {
	if app.Status.ObservedGeneration < generation {
		return false, "waiting for the change to be seen"
	}
	if meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady) {
		return true, "ready"
	}
	if c := firstFalse(app); c != nil {
		return false, fmt.Sprintf("%s: %s: %s", c.Type, c.Reason, c.Message)
	}
	return false, "waiting for its conditions"
}

// parts are the conditions that Ready follows from, the most telling first.
var parts = []string{v1alpha1.ConditionRoutesAccepted, v1alpha1.ConditionWorkloadReady, v1alpha1.ConditionScalerReady, v1alpha1.ConditionTLSReady, v1alpha1.ConditionExposed, v1alpha1.ConditionReady}

// firstFalse is the condition that keeps an app from being ready: one that is false before one that is not known.
func firstFalse(app *v1alpha1.HTTPApp) *metav1.Condition {
	for _, status := range []metav1.ConditionStatus{metav1.ConditionFalse, metav1.ConditionUnknown} {
		for _, kind := range parts {
			if c := meta.FindStatusCondition(app.Status.Conditions, kind); c != nil && c.Status == status {
				return c
			}
		}
	}
	return nil
}
