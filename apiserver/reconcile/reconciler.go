// Package reconcile makes what an app is made of: its Deployment, its Service, its ScaledObject or HPA, its Ingress or HTTPRoute, and the
// right of interceptors to read its certificate, and says in the app's conditions how that went. One replica of the API server runs it.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	autoscalinginformers "k8s.io/client-go/informers/autoscaling/v2"
	coreinformers "k8s.io/client-go/informers/core/v1"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

const (
	workers = 4
	// What failed is tried again after retryFirst, then twice as long, up to retryMost.
	retryFirst = 100 * time.Millisecond
	retryMost  = time.Minute
	// lookAgain is how often an adopted workload that no informer knows is looked at, and for a Service that an app names and that is missing.
	lookAgain = 10 * time.Second
	// starting is how long nothing is said of pods that come up as they should: most are ready by then, and the stages on the way there
	// would take the processor from them when many apps wake at once.
	starting = time.Second
	// appears is how often discovery is asked for what others serve, KEDA and the Gateway API, while it is not there.
	appears = 10 * time.Second
)

// StatusWriter writes an app's status, on the condition that its resourceVersion is still the same.
type StatusWriter interface {
	UpdateStatus(ctx context.Context, app *v1alpha1.HTTPApp) error
}

// Owners tell which app owns a route, and call changed when that, or an app, has changed: an owners.Owners.
type Owners interface {
	Conflicts(app types.NamespacedName) []routes.Conflict
	HostOwner(host string) *v1alpha1.HTTPApp
	Subscribe(changed func(app types.NamespacedName)) (end func())
	HasSynced() bool
}

// Config is what a Reconciler works with. The informers are started by their owner.
type Config struct {
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	// Apps is an informer of *v1alpha1.HTTPApp, Deployments one of workload.NewDeploymentInformer.
	Apps, Deployments cache.SharedIndexInformer
	// Owners are those of the routes of these apps.
	Owners  Owners
	Scales  *workload.Scales
	Status  StatusWriter
	Events  record.EventRecorder
	Metrics Metrics
	// ScalerAddress is where KEDA reaches the scaler.
	ScalerAddress string
	// ScalerAuthentication is the ClusterTriggerAuthentication with which KEDA speaks TLS to it, if there is one.
	ScalerAuthentication string
	// PublicPort is the port under which the interceptors are reached from outside, for the apps' URLs.
	PublicPort int
	// PublicTLSPort is the same for TLS; 0: there is none.
	PublicTLSPort int
	// Interceptor is the service account of the interceptors.
	Interceptor types.NamespacedName
	// InterceptorService is the Service by which requests reach the interceptors, on port 80.
	InterceptorService types.NamespacedName
	// ClusterDomain is what the names of Services end with.
	ClusterDomain string
}

// Reconciler sees to it that apps are what they should be.
type Reconciler struct {
	Config
	queue         workqueue.TypedRateLimitingInterface[types.NamespacedName]
	services      cache.SharedIndexInformer
	pods          cache.SharedIndexInformer
	scaledObjects cache.SharedIndexInformer
	hpas          cache.SharedIndexInformer
	roles         cache.SharedIndexInformer
	roleBindings  cache.SharedIndexInformer
	secrets       *secrets.Watcher
	exposure      exposure

	mu sync.Mutex
	// applied is what was last applied, so that nothing is applied again that is as it was.
	applied map[appliedKey]appliedState
	// awake are the apps whose Deployment was seen to be to have replicas, which their status may be too slow to say, and since when.
	awake map[types.NamespacedName]time.Time
	// keda says that ScaledObjects are known.
	keda atomic.Bool
}

type appliedKey struct {
	resource schema.GroupVersionResource
	app      types.NamespacedName
	name     string
}

type appliedState struct {
	desired, live string
	// uid and generation are those of the object as it was applied.
	uid        types.UID
	generation int64
}

// New makes a Reconciler; it works while Run runs.
func New(config Config) (*Reconciler, error) {
	switch {
	case config.Client == nil || config.Dynamic == nil || config.Scales == nil:
		return nil, errors.New("the reconciler needs clients of the cluster")
	case config.Apps == nil || config.Deployments == nil || config.Owners == nil:
		return nil, errors.New("the reconciler needs the informers of apps and of Deployments, and the owners of routes")
	case config.Metrics == nil:
		return nil, errors.New("the reconciler needs to know who serves external metrics")
	case config.Status == nil || config.Events == nil:
		return nil, errors.New("the reconciler needs somebody to tell what became of it")
	}
	if err := workload.AddIndex(config.Apps); err != nil {
		return nil, err
	}
	ours := func(o *metav1.ListOptions) { o.LabelSelector = v1alpha1.AppLabel }
	r := &Reconciler{
		Config: config,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](retryFirst, retryMost),
			workqueue.TypedRateLimitingQueueConfig[types.NamespacedName]{Name: "reconcile"}),
		services: coreinformers.NewFilteredServiceInformer(config.Client, metav1.NamespaceAll, 0, cache.Indexers{}, ours),
		pods:     coreinformers.NewFilteredPodInformer(config.Client, metav1.NamespaceAll, 0, cache.Indexers{byApp: appOfLabel}, ours),
		// All of them, and all HPAs: others' may scale an app's workload, too.
		scaledObjects: dynamicinformer.NewFilteredDynamicInformer(config.Dynamic, scaledObjects, metav1.NamespaceAll, 0, cache.Indexers{byTarget: targetOf}, nil).Informer(),
		hpas:          autoscalinginformers.NewFilteredHorizontalPodAutoscalerInformer(config.Client, metav1.NamespaceAll, 0, cache.Indexers{byTarget: targetOf}, nil),
		roles:         rbacinformers.NewFilteredRoleInformer(config.Client, metav1.NamespaceAll, 0, cache.Indexers{}, ours),
		roleBindings:  rbacinformers.NewFilteredRoleBindingInformer(config.Client, metav1.NamespaceAll, 0, cache.Indexers{}, ours),
		exposure:      newExposure(config, ours),
		applied:       map[appliedKey]appliedState{},
		awake:         map[types.NamespacedName]time.Time{},
	}
	r.secrets = secrets.NewWatcher(func(namespace string, options func(*metav1.ListOptions)) cache.ListerWatcher {
		return cache.NewFilteredListWatchFromClient(config.Client.CoreV1().RESTClient(), "secrets", namespace, options)
	}, r.enqueue)
	return r, errors.Join(r.pods.SetTransform(slimPod), r.scaledObjects.SetTransform(slimScaledObject), r.hpas.SetTransform(slimHPA))
}

// byApp is the index of pods by the app that they are of.
const byApp = "app"

func appOfLabel(obj any) ([]string, error) {
	m, ok := obj.(metav1.Object)
	if !ok {
		return nil, fmt.Errorf("%T is no object", obj)
	}
	return []string{m.GetNamespace() + "/" + m.GetLabels()[v1alpha1.AppLabel]}, nil
}

// slimPod leaves out all that does not say why a pod is not ready.
func slimPod(obj any) (any, error) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil // a tombstone
	}
	return &corev1.Pod{
		ObjectMeta: workload.SlimMeta(p.ObjectMeta),
		Status: corev1.PodStatus{
			Phase: p.Status.Phase, Conditions: p.Status.Conditions,
			ContainerStatuses: p.Status.ContainerStatuses, InitContainerStatuses: p.Status.InitContainerStatuses,
		},
	}, nil
}

// Run reconciles until the context ends. It is called once.
func (r *Reconciler) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer r.queue.ShutDown()

	defer r.Owners.Subscribe(r.enqueue)()
	synced := []cache.InformerSynced{r.Owners.HasSynced}
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		r.Apps:        everyChange(func(any) {}, r.appGone),
		r.Deployments: everyChange(r.deploymentChanged, r.deploymentChanged),
		r.services:    everyChange(r.madeChanged, r.madeChanged),
		r.pods:        everyChange(r.podChanged, r.podChanged),
		r.scaledObjects: cache.ResourceEventHandlerFuncs{
			AddFunc: r.scaledObjectChanged,
			UpdateFunc: func(was, is any) {
				if saysAnother(was, is) {
					r.scaledObjectChanged(was)
					r.scaledObjectChanged(is)
				}
			},
			DeleteFunc: r.scaledObjectChanged,
		},
		r.hpas:         cache.ResourceEventHandlerFuncs{AddFunc: r.hpaChanged, UpdateFunc: r.hpaUpdated, DeleteFunc: r.hpaChanged},
		r.roles:        everyChange(r.madeChanged, r.madeChanged),
		r.roleBindings: everyChange(r.madeChanged, r.madeChanged),

		r.exposure.ingresses:  everyChange(r.madeChanged, r.madeChanged),
		r.exposure.classes:    everyChange(r.ingressClassChanged, r.ingressClassChanged),
		r.exposure.httpRoutes: everyChange(r.madeChanged, r.madeChanged),
		r.exposure.grants:     everyChange(r.grantChanged, r.grantChanged),
	} {
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			return err
		}
		defer func() { _ = informer.RemoveEventHandler(registration) }()
		if informer != r.scaledObjects && informer != r.exposure.httpRoutes && informer != r.exposure.grants {
			synced = append(synced, registration.HasSynced)
		}
	}
	wg.Go(func() { r.services.RunWithContext(ctx) })
	wg.Go(func() { r.pods.RunWithContext(ctx) })
	wg.Go(func() { r.hpas.RunWithContext(ctx) })
	wg.Go(func() { r.roles.RunWithContext(ctx) })
	wg.Go(func() { r.roleBindings.RunWithContext(ctx) })
	defer r.secrets.Close()
	wg.Go(func() { r.followMetrics(ctx) })
	wg.Go(func() { r.exposure.ingresses.RunWithContext(ctx) })
	wg.Go(func() { r.exposure.classes.RunWithContext(ctx) })
	wg.Go(func() { r.follow(ctx, scaledObjects, &r.keda, r.scaledObjects) })
	wg.Go(func() { r.follow(ctx, httpRoutes, r.exposure.gateways, r.exposure.httpRoutes, r.exposure.grants) })
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil // the context ended
	}
	r.enqueueAll()
	for range workers {
		wg.Go(func() { r.work(ctx) })
	}
	<-ctx.Done()
	return nil
}

// follow waits until a resource that others bring is served, and runs the informers of it and of what comes with it from then on.
func (r *Reconciler) follow(ctx context.Context, resource schema.GroupVersionResource, there *atomic.Bool, informers ...cache.SharedIndexInformer) {
	err := wait.PollUntilContextCancel(ctx, appears, true, func(context.Context) (bool, error) {
		list, err := r.Client.Discovery().ServerResourcesForGroupVersion(resource.GroupVersion().String())
		return err == nil && slices.ContainsFunc(list.APIResources, func(a metav1.APIResource) bool { return a.Name == resource.Resource }), nil
	})
	if err != nil {
		return // the context ended
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	var synced []cache.InformerSynced
	for _, informer := range informers {
		wg.Go(func() { informer.RunWithContext(ctx) })
		synced = append(synced, informer.HasSynced)
	}
	if cache.WaitForCacheSync(ctx.Done(), synced...) {
		there.Store(true)
		r.enqueueAll()
	}
}

func everyChange(changed, gone func(any)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, obj any) { changed(obj) },
		DeleteFunc: func(obj any) {
			if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = tombstone.Obj
			}
			gone(obj)
		},
	}
}

func (r *Reconciler) enqueue(app types.NamespacedName) { r.queue.Add(app) }

func (r *Reconciler) enqueueAll() {
	for _, obj := range r.Apps.GetStore().List() {
		r.enqueue(nameOf(obj.(*v1alpha1.HTTPApp)))
	}
}

func (r *Reconciler) appGone(obj any) {
	app, ok := obj.(*v1alpha1.HTTPApp)
	if !ok {
		return
	}
	r.secrets.Set(nameOf(app), "")
	r.enqueue(nameOf(app)) // for what it may have been the last to need
	r.mu.Lock()
	delete(r.awake, nameOf(app))
	for key := range r.applied {
		if key.app == nameOf(app) {
			delete(r.applied, key)
		}
	}
	r.mu.Unlock()
}

// deploymentChanged finds the apps that a Deployment was made for, that adopted it, or that it is in the way of.
func (r *Reconciler) deploymentChanged(obj any) {
	if d, ok := obj.(*appsv1.Deployment); ok {
		wait := time.Duration(0)
		awake := ptr.Deref(d.Spec.Replicas, 1) > 0
		if awake && d.Status.ReadyReplicas == 0 {
			wait = starting
		}
		ref := v1alpha1.WorkloadReference{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Name: d.Name}
		for _, app := range workload.AppsOf(r.Apps.GetIndexer(), d.Namespace, ref) {
			if awake {
				r.noteAwake(app, time.Now())
			}
			r.queue.AddAfter(app, wait)
		}
	}
}

func (r *Reconciler) noteAwake(app types.NamespacedName, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, known := r.awake[app]; !known || since.Before(before) {
		r.awake[app] = since
	}
}

// awakeSince returns, and forgets, since when an app was seen to be to have replicas; zero if it was not.
func (r *Reconciler) awakeSince(app types.NamespacedName) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := r.awake[app]
	delete(r.awake, app)
	return since
}

// podChanged looks at once at a pod that is in trouble.
func (r *Reconciler) podChanged(obj any) {
	if p, ok := obj.(*corev1.Pod); ok {
		wait := starting
		if reason, _ := troubleOf(p, time.Now()); reason != "" {
			wait = 0
		}
		r.queue.AddAfter(types.NamespacedName{Namespace: p.Namespace, Name: p.Labels[v1alpha1.AppLabel]}, wait)
	}
}

// madeChanged finds the app that an object was made for.
func (r *Reconciler) madeChanged(obj any) {
	if m, ok := obj.(metav1.Object); ok {
		r.enqueue(types.NamespacedName{Namespace: m.GetNamespace(), Name: m.GetLabels()[v1alpha1.AppLabel]})
	}
}

func (r *Reconciler) work(ctx context.Context) {
	for {
		name, shutdown := r.queue.Get()
		if shutdown {
			return
		}
		err := r.reconcile(ctx, name)
		switch {
		case err == nil || ctx.Err() != nil:
			r.queue.Forget(name)
		case apierrors.IsConflict(err):
			// Somebody was faster; what they wrote is on its way here.
			r.queue.AddRateLimited(name)
		default:
			klog.ErrorS(err, "Cannot reconcile an app", "app", name)
			r.queue.AddRateLimited(name)
		}
		r.queue.Done(name)
	}
}

// reconcile makes one app what it should be, and says in its status what it is.
func (r *Reconciler) reconcile(ctx context.Context, name types.NamespacedName) error {
	obj, there, err := r.Apps.GetStore().GetByKey(name.String())
	if err == nil && !there {
		return r.releaseGrant(ctx, name.Namespace)
	}
	if err != nil {
		return err
	}
	app, ok := obj.(*v1alpha1.HTTPApp)
	if !ok || app.DeletionTimestamp != nil || app.Spec.Template == nil && app.Spec.WorkloadRef == nil {
		return nil // it is going, or its record is broken
	}
	status := *app.Status.DeepCopy()
	status.Traffic = nil
	status.ObservedGeneration = app.Generation
	ref := workload.RefOf(app)
	status.Workload = &ref

	awake := r.awakeSince(name)
	w, workloadErr := r.reconcileWorkload(ctx, app)
	status.Replicas, status.ReadyReplicas = w.replicas, w.readyReplicas
	switch {
	case !workload.IsLent(app):
		status.LentReplicas = 0
	case w.wanted > 0:
		status.LentReplicas = w.wanted
	}
	before := find(app.Status.Conditions, v1alpha1.ConditionWorkloadReady)
	slept := before != nil && before.Reason == v1alpha1.ReasonScaledToZero
	if slept && !awake.IsZero() {
		status.LastScaleFromZeroTime = ptr.To(metav1.NewMicroTime(awake))
	}
	if w.condition.reason == v1alpha1.ReasonScaledToZero && (!slept || !awake.IsZero()) {
		status.LastScaleToZeroTime = ptr.To(metav1.NowMicro())
	}
	scaler, scalerErr := r.reconcileScaler(ctx, app)
	parts := []condition{r.routesCondition(app), w.condition, scaler}
	secure, tlsErr := r.reconcileTLS(ctx, app)
	if secure != nil {
		parts = append(parts, *secure)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionTLSReady)
	}
	exposed, exposeErr := r.reconcileExposure(ctx, app)
	if exposed != nil {
		parts = append(parts, *exposed)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionExposed)
	}
	setConditions(&status, app.Generation, parts...)
	status.URL = r.url(app, secure != nil && secure.status == metav1.ConditionTrue)

	if !equality.Semantic.DeepEqual(status, app.Status) {
		written := app.DeepCopy()
		written.Status = status
		if err := r.Status.UpdateStatus(ctx, written); err != nil {
			if !awake.IsZero() {
				r.noteAwake(name, awake)
			}
			return err
		}
		r.tell(app, &status)
	}
	if w.unwatched {
		r.queue.AddAfter(name, lookAgain)
	}
	return errors.Join(workloadErr, scalerErr, tlsErr, exposeErr)
}

// tell makes an event of a condition that became false.
func (r *Reconciler) tell(app *v1alpha1.HTTPApp, status *v1alpha1.HTTPAppStatus) {
	about := &corev1.ObjectReference{
		APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp",
		Namespace: app.Namespace, Name: app.Name, UID: app.UID, ResourceVersion: app.ResourceVersion,
	}
	for _, now := range status.Conditions {
		if now.Type == v1alpha1.ConditionReady {
			continue // it only repeats the others
		}
		before := find(app.Status.Conditions, now.Type)
		if before != nil && before.Status == now.Status && before.Reason == now.Reason {
			continue
		}
		switch {
		case now.Status == metav1.ConditionFalse:
			r.Events.Event(about, corev1.EventTypeWarning, now.Reason, now.Message)
		case now.Status == metav1.ConditionTrue && before != nil && before.Status == metav1.ConditionFalse:
			r.Events.Event(about, corev1.EventTypeNormal, now.Reason, now.Message)
		}
	}
}

// url is where the app's pods are reached: by its first route without a fixed response, with TLS if that is served. What exposes the
// app listens on the usual ports.
func (r *Reconciler) url(app *v1alpha1.HTTPApp, secure bool) string {
	at := slices.IndexFunc(app.Spec.Routes, func(r v1alpha1.Route) bool { return r.Static == nil && len(r.Hosts) > 0 })
	if at < 0 {
		return ""
	}
	route := app.Spec.Routes[at]
	scheme, port, usual := "http", r.PublicPort, 80
	if secure && r.PublicTLSPort != 0 {
		scheme, port, usual = "https", r.PublicTLSPort, 443
	}
	if e := app.Spec.Expose; e != nil {
		port = usual
		if e.Ingress != nil && e.Ingress.TLSSecretName != "" {
			scheme = "https"
		}
	}
	url := scheme + "://" + route.Hosts[0]
	if port != 0 && port != usual {
		url += fmt.Sprintf(":%d", port)
	}
	if route.PathPrefix != "" && route.PathPrefix != "/" {
		url += route.PathPrefix
	}
	return url
}

func nameOf(app *v1alpha1.HTTPApp) types.NamespacedName {
	return types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
}

// owned reports whether an object was made for the app.
func owned(m metav1.Object, app *v1alpha1.HTTPApp) bool {
	owner := metav1.GetControllerOf(m)
	return owner != nil && owner.UID == app.UID
}
