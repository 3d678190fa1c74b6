// Package activate wakes apps that have no replica while requests wait for them, and scales those up at once that many more requests come
// to than they have replicas for. It runs in every replica of the API server:
// each write has a precondition, so that several of them doing it at the same time do it once.
package activate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

const (
	defaultWorkers = 16
	// A wake-up that failed is tried again after retryFirst, then twice as long, up to retryMost, while requests wait.
	retryFirst = 10 * time.Millisecond
	retryMost  = 5 * time.Second
	// lookAgain is how soon a workload that no informer knows is looked at again while requests keep coming.
	lookAgain = 500 * time.Millisecond
	// tries is how often a write that others got ahead of is decided anew before it is put off.
	tries = 5
)

// The reasons of events.
const (
	ReasonWaking     = "Waking"
	ReasonRush       = "Rush"
	ReasonWakeFailed = "WakeFailed"
)

// Counts are the live counts of apps: a queue.Collector.
type Counts interface {
	Sample(app types.NamespacedName, window time.Duration) queue.Sample
	Subscribe() *queue.Subscription
}

// Scales reads and writes the scale of workloads: a workload.Scales.
type Scales interface {
	Get(ctx context.Context, namespace string, ref v1alpha1.WorkloadReference) (*autoscalingv1.Scale, error)
	Update(ctx context.Context, namespace string, ref v1alpha1.WorkloadReference, scale *autoscalingv1.Scale, opts metav1.UpdateOptions) (*autoscalingv1.Scale, error)
}

// Owners tell which apps own a route, and call changed when that, or an app, has changed: an owners.Owners.
type Owners interface {
	Owns(app types.NamespacedName) bool
	Subscribe(changed func(app types.NamespacedName)) (end func())
	HasSynced() bool
}

// Config is what an Activator works with. The informers are started by their owner.
type Config struct {
	Counts Counts
	// Apps is an informer of *v1alpha1.HTTPApp, Deployments one of workload.NewDeploymentInformer.
	Apps, Deployments cache.SharedIndexInformer
	// Owners are those of the routes of these apps.
	Owners Owners
	Scales Scales
	Events record.EventRecorder
	// Workers is how many apps are woken at the same time; default 16.
	Workers int
}

// Activator wakes apps.
type Activator struct {
	Config
	queue     workqueue.TypedRateLimitingInterface[types.NamespacedName]
	subscribe func() changes

	mu sync.Mutex
	// written is what this process wrote last, for as long as the informer does not show it yet.
	written map[types.NamespacedName]written
	// looked is when a workload that no informer knows was last looked at.
	looked map[types.NamespacedName]time.Time
}

// changes is a queue.Subscription.
type changes interface {
	Changed() <-chan struct{}
	Take() []types.NamespacedName
	Close()
}

// written is a scale that was written on top of the Deployment's version over.
type written struct {
	over, version string
	replicas      int32
}

// New makes an Activator; it works while Run runs.
func New(config Config) (*Activator, error) {
	switch {
	case config.Counts == nil || config.Scales == nil || config.Events == nil:
		return nil, errors.New("the activator needs counts, scales and a recorder of events")
	case config.Apps == nil || config.Deployments == nil || config.Owners == nil:
		return nil, errors.New("the activator needs the informers of apps and of Deployments, and the owners of routes")
	}
	if config.Workers <= 0 {
		config.Workers = defaultWorkers
	}
	if err := workload.AddIndex(config.Apps); err != nil {
		return nil, err
	}
	return &Activator{
		Config: config,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](retryFirst, retryMost),
			workqueue.TypedRateLimitingQueueConfig[types.NamespacedName]{Name: "activate"}),
		subscribe: func() changes { return config.Counts.Subscribe() },
		written:   map[types.NamespacedName]written{},
		looked:    map[types.NamespacedName]time.Time{},
	}, nil
}

// Run wakes apps until the context ends. It is called once.
func (a *Activator) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer a.queue.ShutDown()

	defer a.Owners.Subscribe(a.offer)()
	apps, err := a.Apps.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: a.appGone})
	if err != nil {
		return err
	}
	defer func() { _ = a.Apps.RemoveEventHandler(apps) }()
	deployments, err := a.Deployments.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { a.deploymentChanged(obj) },
		UpdateFunc: func(_, obj any) { a.deploymentChanged(obj) },
	})
	if err != nil {
		return err
	}
	defer func() { _ = a.Deployments.RemoveEventHandler(deployments) }()
	if !cache.WaitForCacheSync(ctx.Done(), a.Owners.HasSynced, deployments.HasSynced) {
		return nil // the context ended
	}

	sub := a.subscribe()
	defer sub.Close()
	for range a.Workers {
		wg.Go(func() { a.work(ctx) })
	}
	// What waits since before the subscription.
	for _, obj := range a.Apps.GetStore().List() {
		a.offer(nameOf(obj.(*v1alpha1.HTTPApp)))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sub.Changed():
			for _, app := range sub.Take() {
				a.offer(app)
			}
		}
	}
}

func (a *Activator) appGone(obj any) {
	key, err := cache.DeletionHandlingObjectToName(obj)
	if err != nil {
		return
	}
	name := types.NamespacedName(key)
	a.mu.Lock()
	delete(a.written, name)
	delete(a.looked, name)
	a.mu.Unlock()
}

// deploymentChanged sees, among others, a Deployment that was scaled to zero just as a request came.
func (a *Activator) deploymentChanged(obj any) {
	d, ok := obj.(*appsv1.Deployment)
	if !ok {
		return
	}
	ref := v1alpha1.WorkloadReference{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Name: d.Name}
	for _, app := range workload.AppsOf(a.Apps.GetIndexer(), d.Namespace, ref) {
		a.offer(app)
	}
}

// offer queues an app if it may be in need. It runs for every change of every app's counts, so it looks at nothing but
// memory.
func (a *Activator) offer(name types.NamespacedName) {
	app, wanted := a.need(name)
	if app == nil {
		return
	}
	if a.queue.NumRequeues(name) > 0 {
		return // it failed, and is to be tried again when its time comes
	}
	ref := workload.RefOf(app)
	if !workload.IsDeployment(ref) {
		a.mu.Lock()
		wait := lookAgain - time.Since(a.looked[name])
		a.mu.Unlock()
		a.queue.AddAfter(name, wait)
		return
	}
	if d, ok := a.deployment(app, ref); ok && wanted.of(d) > 0 {
		a.queue.Add(name)
	}
}

// need returns the app if it has requests and may be woken, and the replicas that they call for.
func (a *Activator) need(name types.NamespacedName) (*v1alpha1.HTTPApp, demanded) {
	sample := a.Counts.Sample(name, queue.Rush)
	if !sample.Waiting() {
		return nil, demanded{}
	}
	obj, there, err := a.Apps.GetStore().GetByKey(name.String())
	if err != nil || !there {
		return nil, demanded{}
	}
	app, ok := obj.(*v1alpha1.HTTPApp)
	if !ok || app.DeletionTimestamp != nil || app.Spec.Scaling.Paused || app.Spec.Scaling.Activation == v1alpha1.ActivationNever || !a.Owners.Owns(name) {
		return nil, demanded{}
	}
	wanted := demanded{app: app, now: demand.Replicas(app, sample.Pending, sample.InFlight), pending: sample.Pending}
	// An average over less says little, and the last counts of an interceptor that was lost may count twice.
	if sample.Observed >= queue.Rush && sample.Reporting == sample.Expected {
		value := sample.Concurrency
		if app.Spec.Scaling.Metric == v1alpha1.MetricRequestRate {
			value = sample.RequestRate
		}
		wanted.lately = demand.For(app, value)
	}
	return app, wanted
}

// demanded is what an app's requests call for: those of this moment, and those of the last seconds on average.
type demanded struct {
	app         *v1alpha1.HTTPApp
	now, lately int32
	pending     int64
}

// of returns the replicas that a workload is to be scaled up to, or none.
func (d demanded) of(s state) int32 {
	return demand.Rise(d.app, s.replicas, s.serves, d.pending > 0, d.now, d.lately)
}

// state is what is known of a workload.
type state struct {
	uid      types.UID
	version  string
	replicas int32
	// serves is true when a replica is ready. From then on the autoscaler decides, but for rushes.
	serves bool
}

// deployment returns what the informer knows of an app's Deployment, or what was written since.
func (a *Activator) deployment(app *v1alpha1.HTTPApp, ref v1alpha1.WorkloadReference) (state, bool) {
	obj, there, err := a.Deployments.GetStore().GetByKey(app.Namespace + "/" + ref.Name)
	if err != nil || !there {
		return state{}, false
	}
	d, ok := obj.(*appsv1.Deployment)
	if !ok || d.DeletionTimestamp != nil {
		return state{}, false
	}
	s := state{d.UID, d.ResourceVersion, ptr.Deref(d.Spec.Replicas, 1), d.Status.ReadyReplicas > 0}
	a.mu.Lock()
	defer a.mu.Unlock()
	if w, ok := a.written[nameOf(app)]; ok {
		if w.over == s.version {
			s.version, s.replicas = w.version, w.replicas
		} else {
			delete(a.written, nameOf(app))
		}
	}
	return s, true
}

func (a *Activator) work(ctx context.Context) {
	for {
		name, shutdown := a.queue.Get()
		if shutdown {
			return
		}
		if err := a.wake(ctx, name); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Cannot wake an app", "app", name)
			a.queue.AddRateLimited(name)
		} else {
			a.queue.Forget(name)
			a.grown(name)
		}
		a.queue.Done(name)
	}
}

// wake scales an app's workload up to what its requests call for, if that is not its autoscaler's to do.
func (a *Activator) wake(ctx context.Context, name types.NamespacedName) error {
	app, wanted := a.need(name)
	if app == nil {
		return nil
	}
	ref := workload.RefOf(app)
	var known state
	if workload.IsDeployment(ref) {
		d, ok := a.deployment(app, ref)
		if !ok || wanted.of(d) == 0 {
			return nil // the informer tells when it is there
		}
		known = d
	} else {
		a.mu.Lock()
		a.looked[name] = time.Now()
		a.mu.Unlock()
		s, err := a.look(ctx, app, ref)
		if err != nil || wanted.of(s) == 0 {
			return a.failed(app, err)
		}
		known = s
	}
	shown := known.version
	a.mu.Lock()
	if w, ok := a.written[name]; ok && w.version == known.version {
		shown = w.over
	}
	a.mu.Unlock()

	for range tries {
		scale := &autoscalingv1.Scale{
			ObjectMeta: metav1.ObjectMeta{Namespace: app.Namespace, Name: ref.Name, UID: known.uid, ResourceVersion: known.version},
			Spec:       autoscalingv1.ScaleSpec{Replicas: wanted.of(known)},
		}
		scale, err := a.Scales.Update(ctx, app.Namespace, ref, scale, metav1.UpdateOptions{FieldManager: workload.FieldManager})
		if err == nil {
			a.woken(app, ref, known, wanted, written{shown, scale.ResourceVersion, scale.Spec.Replicas})
			return nil
		}
		if !apierrors.IsConflict(err) {
			return a.failed(app, err)
		}
		// Somebody was faster: another replica, the autoscaler, or the workload's own status.
		if app, wanted = a.need(name); app == nil || workload.RefOf(app) != ref {
			return nil
		}
		serves := known.serves
		if known, err = a.look(ctx, app, ref); err != nil {
			return a.failed(app, err)
		}
		if workload.IsDeployment(ref) {
			known.serves = serves
		}
		if wanted.of(known) == 0 {
			return nil
		}
	}
	return fmt.Errorf("its %s %s changes faster than it can be scaled", ref.Kind, ref.Name)
}

// look reads a workload's scale. A scale does not tell whether a replica is ready, so one that runs counts as serving.
func (a *Activator) look(ctx context.Context, app *v1alpha1.HTTPApp, ref v1alpha1.WorkloadReference) (state, error) {
	scale, err := a.Scales.Get(ctx, app.Namespace, ref)
	if err != nil {
		return state{}, err
	}
	return state{scale.UID, scale.ResourceVersion, scale.Spec.Replicas, scale.Spec.Replicas > 0}, nil
}

func (a *Activator) woken(app *v1alpha1.HTTPApp, ref v1alpha1.WorkloadReference, was state, wanted demanded, w written) {
	if workload.IsDeployment(ref) {
		a.mu.Lock()
		a.written[nameOf(app)] = w
		a.mu.Unlock()
	}
	klog.V(2).InfoS("Scaled an app up", "app", nameOf(app), "from", was.replicas, "to", w.replicas, "pending", wanted.pending)
	switch {
	case was.replicas == 0:
		a.Events.Eventf(eventsAbout(app), corev1.EventTypeNormal, ReasonWaking,
			"woken from zero to %d %s: %d pending %s",
			w.replicas, plural(int64(w.replicas), "replica"), wanted.pending, plural(wanted.pending, "request"))
	case was.serves:
		a.Events.Eventf(eventsAbout(app), corev1.EventTypeNormal, ReasonRush,
			"scaled from %d to %d replicas at once: that many are what the requests of the last %v call for", was.replicas, w.replicas, queue.Rush)
	}
}

// grown queues an app again whose requests have come to call for more while its workload was written.
func (a *Activator) grown(name types.NamespacedName) {
	if app, wanted := a.need(name); app != nil {
		if d, ok := a.deployment(app, workload.RefOf(app)); ok && workload.IsDeployment(workload.RefOf(app)) && wanted.of(d) > 0 {
			a.queue.Add(name)
		}
	}
}

// failed tells the user of an error that waiting does not mend. A workload that is not there (yet) is the reconciler's to
// tell.
func (a *Activator) failed(app *v1alpha1.HTTPApp, err error) error {
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	a.Events.Eventf(eventsAbout(app), corev1.EventTypeWarning, ReasonWakeFailed, "cannot be woken, is tried again: %v", err)
	return err
}

// eventsAbout names the app as the API shows it; informers leave the type out.
func eventsAbout(app *v1alpha1.HTTPApp) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp",
		Namespace: app.Namespace, Name: app.Name, UID: app.UID, ResourceVersion: app.ResourceVersion,
	}
}

func plural(n int64, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func nameOf(app *v1alpha1.HTTPApp) types.NamespacedName {
	return types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
}
