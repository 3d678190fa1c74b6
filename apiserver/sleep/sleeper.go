// Package sleep takes the last replicas of idle apps whose autoscaler cannot: a HorizontalPodAutoscaler works from one replica
// upwards. The other way, from none, is package activate's. One replica of the API server runs it.
package sleep

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

const (
	// look is how often the apps are looked at. It looks at nothing but memory.
	look = time.Second
	// retry is how long after a failure it is tried again.
	retry = 10 * time.Second
)

// The reasons of events.
const (
	ReasonSleeping    = "Sleeping"
	ReasonSleepFailed = "SleepFailed"
)

// Counts are the live counts of apps: a queue.Collector.
type Counts interface {
	queue.Sampler
	Synced() bool
}

// Scales reads and writes the scale of workloads: a workload.Scales.
type Scales interface {
	Get(ctx context.Context, namespace string, ref v1alpha1.WorkloadReference) (*autoscalingv1.Scale, error)
	Update(ctx context.Context, namespace string, ref v1alpha1.WorkloadReference, scale *autoscalingv1.Scale, opts metav1.UpdateOptions) (*autoscalingv1.Scale, error)
}

// Config is what a Sleeper works with. The informers are started by their owner.
type Config struct {
	Counts Counts
	// Apps is an informer of *v1alpha1.HTTPApp, Deployments one of workload.NewDeploymentInformer.
	Apps, Deployments cache.SharedIndexInformer
	Scales            Scales
	// Loans are of the same apps.
	Loans  *Loans
	Events record.EventRecorder
	Clock  clock.WithTicker
}

// Sleeper puts apps to sleep.
type Sleeper struct {
	Config
	// seen are the apps that are awake, as far as is known.
	seen map[types.NamespacedName]*state
}

type state struct {
	// idle is since when the app is known to be without a request.
	idle time.Time
	// notBefore puts off what failed.
	notBefore time.Time
}

// New makes a Sleeper; it works while Run runs.
func New(config Config) (*Sleeper, error) {
	switch {
	case config.Counts == nil || config.Scales == nil || config.Events == nil || config.Clock == nil:
		return nil, errors.New("the sleeper needs counts, scales, a recorder of events and a clock")
	case config.Apps == nil || config.Deployments == nil || config.Loans == nil:
		return nil, errors.New("the sleeper needs the informers of apps and of Deployments, and the loans")
	}
	return &Sleeper{Config: config, seen: map[types.NamespacedName]*state{}}, nil
}

// Run puts idle apps to sleep until the context ends. It is called once. It counts the idle time from when it began, or from the
// last request if that is later: what was before it did not see.
func (s *Sleeper) Run(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), s.Apps.HasSynced, s.Deployments.HasSynced) {
		return nil // the context ended
	}
	ticker := s.Clock.NewTicker(look)
	defer ticker.Stop()
	for {
		s.lookAtAll(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

func (s *Sleeper) lookAtAll(ctx context.Context) {
	present := map[types.NamespacedName]*state{}
	for _, obj := range s.Apps.GetStore().List() {
		app, ok := obj.(*v1alpha1.HTTPApp)
		if !ok || !ours(app) {
			continue
		}
		name := nameOf(app)
		replicas, known := s.replicas(app)
		if known && (replicas > 0) != mayRest(app) {
			continue // as it should be: asleep, or one that never is
		}
		seen := s.seen[name]
		if seen == nil {
			seen = &state{}
		}
		present[name] = seen
		s.look(ctx, app, seen)
	}
	s.seen = present
	s.giveBack(ctx)
}

// replicas are those of a workload that an informer knows.
func (s *Sleeper) replicas(app *v1alpha1.HTTPApp) (replicas int32, known bool) {
	ref := workload.RefOf(app)
	if !workload.IsDeployment(ref) {
		return 0, false
	}
	obj, there, err := s.Deployments.GetStore().GetByKey(app.Namespace + "/" + ref.Name)
	if err != nil || !there {
		return 0, false
	}
	d, ok := obj.(*appsv1.Deployment)
	if !ok {
		return 0, false
	}
	return ptr.Deref(d.Spec.Replicas, 1), true
}

// look does what is due for one app that is awake, or must be.
func (s *Sleeper) look(ctx context.Context, app *v1alpha1.HTTPApp, seen *state) {
	now := s.Clock.Now()
	seen.idle = s.idle(app, seen.idle)
	if now.Before(seen.notBefore) {
		return
	}
	wanted, _ := demand.Bounds(app)
	if mayRest(app) && now.Sub(seen.idle) < cooldownOf(app) {
		return
	}
	changed, err := s.scale(ctx, app, seen, wanted)
	switch {
	case ctx.Err() != nil:
	case apierrors.IsConflict(err):
		// The workload changed since it was read; the next look decides anew.
	case apierrors.IsNotFound(err):
		seen.notBefore = now.Add(retry) // the reconciler tells the user
	case err != nil:
		klog.ErrorS(err, "Cannot put an app to sleep", "app", klog.KObj(app))
		s.Events.Eventf(eventsAbout(app), corev1.EventTypeWarning, ReasonSleepFailed, "cannot be scaled to %d, is tried again: %v", wanted, err)
		seen.notBefore = now.Add(retry)
	case changed && wanted == 0:
		klog.V(2).InfoS("Put an app to sleep", "app", klog.KObj(app), "idle", now.Sub(seen.idle))
		s.Events.Eventf(eventsAbout(app), corev1.EventTypeNormal, ReasonSleeping, "scaled to zero: no request for %v", now.Sub(seen.idle).Round(time.Second))
		seen.notBefore = now.Add(retry)
	default:
		// As it should be. A workload that no informer knows is asked again.
		seen.notBefore = now.Add(retry)
	}
}

func (s *Sleeper) idle(app *v1alpha1.HTTPApp, before time.Time) time.Time {
	sample := s.Counts.Sample(nameOf(app), time.Second)
	return idleSince(before, s.Clock.Now(), sample, s.Counts.Synced())
}

// scale takes an app's replicas to none, or from none to the fewest that it may have.
func (s *Sleeper) scale(ctx context.Context, app *v1alpha1.HTTPApp, seen *state, wanted int32) (changed bool, err error) {
	ref := workload.RefOf(app)
	scale, err := s.Scales.Get(ctx, app.Namespace, ref)
	if err != nil {
		return false, err
	}
	if (scale.Spec.Replicas > 0) == (wanted > 0) {
		seen.idle = s.Clock.Now() // it may be scaled up by hand next, and is not idle for long then
		return false, nil
	}
	if wanted == 0 {
		if workload.IsLent(app) && app.Status.LentReplicas == 0 {
			return false, nil // it is not yet written down what it gets back
		}
		// A request that came meanwhile goes first. One that comes now finds no replica a moment later, and wakes the app.
		if seen.idle = s.idle(app, seen.idle); s.Clock.Now().Sub(seen.idle) < cooldownOf(app) {
			return false, nil
		}
	}
	scale = &autoscalingv1.Scale{
		// On the condition that nobody has scaled it since.
		ObjectMeta: metav1.ObjectMeta{Namespace: app.Namespace, Name: ref.Name, UID: scale.UID, ResourceVersion: scale.ResourceVersion},
		Spec:       autoscalingv1.ScaleSpec{Replicas: wanted},
	}
	if _, err := s.Scales.Update(ctx, app.Namespace, ref, scale, metav1.UpdateOptions{FieldManager: workload.FieldManager}); err != nil {
		return false, fmt.Errorf("scaling %s %s: %w", ref.Kind, ref.Name, err)
	}
	return true, nil
}

// eventsAbout names the app as the API shows it; informers leave the type out.
func eventsAbout(app *v1alpha1.HTTPApp) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp",
		Namespace: app.Namespace, Name: app.Name, UID: app.UID, ResourceVersion: app.ResourceVersion,
	}
}
