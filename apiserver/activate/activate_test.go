package activate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/owners"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// world is the cluster and the interceptors as an Activator sees them.
type world struct {
	t           *testing.T
	apps        *cachetesting.FakeControllerSource
	deployments *cachetesting.FakeControllerSource
	events      *record.FakeRecorder
	activator   *Activator

	mu        sync.Mutex
	samples   map[types.NamespacedName]queue.Sample
	dirty     map[types.NamespacedName]struct{}
	wake      chan struct{}
	version   int
	scales    map[string]*autoscalingv1.Scale
	updates   []int32
	refuse    error
	meanwhile func()
	// hold is what writes to the Deployment of its name wait for.
	hold map[string]chan struct{}
	// blind: the informer of Deployments is not told what is written.
	blind bool
	// moved has a value whenever something was asked of the scales.
	moved chan struct{}
}

func (w *world) Sample(app types.NamespacedName, _ time.Duration) queue.Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.samples[app]
}
func (w *world) Subscribe() *queue.Subscription { panic("replaced by the test") }
func (w *world) Changed() <-chan struct{}       { return w.wake }
func (w *world) Close()                         {}
func (w *world) Take() (apps []types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for app := range w.dirty {
		apps = append(apps, app)
	}
	clear(w.dirty)
	return apps
}

func (w *world) Get(_ context.Context, namespace string, ref v1alpha1.WorkloadReference) (*autoscalingv1.Scale, error) {
	defer w.tell()
	w.mu.Lock()
	defer w.mu.Unlock()
	scale, ok := w.scales[namespace+"/"+ref.Name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "deployments"}, ref.Name)
	}
	return scale.DeepCopy(), nil
}

func (w *world) Update(_ context.Context, namespace string, ref v1alpha1.WorkloadReference, scale *autoscalingv1.Scale, _ metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	defer w.tell()
	w.mu.Lock()
	before, hold := w.meanwhile, w.hold[ref.Name]
	w.meanwhile = nil
	w.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if before != nil {
		before()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return nil, w.refuse
	}
	current := w.scales[namespace+"/"+ref.Name]
	if current == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "deployments"}, ref.Name)
	}
	if scale.ResourceVersion != current.ResourceVersion || scale.UID != current.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: "deployments"}, ref.Name, errors.New("it changed"))
	}
	w.version++
	current.ResourceVersion, current.Spec.Replicas = strconv.Itoa(w.version), scale.Spec.Replicas
	w.updates = append(w.updates, scale.Spec.Replicas)
	if !w.blind {
		w.showLocked(namespace, ref.Name, 0)
	}
	return current.DeepCopy(), nil
}

func (w *world) tell() {
	select {
	case w.moved <- struct{}{}:
	default:
	}
}

// showLocked lets the informer see a Deployment as it is.
func (w *world) showLocked(namespace, name string, ready int32) {
	scale := w.scales[namespace+"/"+name]
	w.deployments.Modify(&appsv1.Deployment{
		ObjectMeta: scale.ObjectMeta,
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(scale.Spec.Replicas)},
		Status:     appsv1.DeploymentStatus{ReadyReplicas: ready},
	})
}

func (w *world) deployment(name string, replicas, ready int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.version++
	w.scales["shop/"+name] = &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), ResourceVersion: strconv.Itoa(w.version)},
		Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
	}
	w.showLocked("shop", name, ready)
}

func (w *world) requests(app string, pending, inFlight int64) {
	w.sampled(types.NamespacedName{Namespace: "shop", Name: app}, queue.Sample{Pending: pending, InFlight: inFlight, Reporting: 1, Expected: 1})
}

func (w *world) sampled(name types.NamespacedName, s queue.Sample) {
	w.mu.Lock()
	w.samples[name] = s
	w.dirty[name] = struct{}{}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *world) app(name string, change ...func(*v1alpha1.HTTPApp)) {
	app := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("app-" + name), CreationTimestamp: metav1.Unix(1000, 0)},
		Spec: v1alpha1.HTTPAppSpec{
			Routes:  []v1alpha1.Route{{Hosts: []string{name + ".example.com"}, PathPrefix: "/"}},
			Scaling: v1alpha1.Scaling{MaxReplicas: ptr.To[int32](8), Target: ptr.To(resource.MustParse("10"))},
		},
	}
	for _, c := range change {
		c(app)
	}
	w.apps.Modify(app)
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, apps: cachetesting.NewFakeControllerSource(), deployments: cachetesting.NewFakeControllerSource(),
		events: record.NewFakeRecorder(1000), samples: map[types.NamespacedName]queue.Sample{}, dirty: map[types.NamespacedName]struct{}{},
		wake: make(chan struct{}, 1), scales: map[string]*autoscalingv1.Scale{}, moved: make(chan struct{}, 1),
	}
	return w
}

func (w *world) start() {
	apps := cache.NewSharedIndexInformer(w.apps, &v1alpha1.HTTPApp{}, 0, cache.Indexers{})
	deployments := cache.NewSharedIndexInformer(w.deployments, &appsv1.Deployment{}, 0, cache.Indexers{})
	known, err := owners.New(apps)
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := New(Config{Counts: w, Apps: apps, Deployments: deployments, Owners: known, Scales: w, Events: w.events})
	if err != nil {
		w.t.Fatal(err)
	}
	a.subscribe = func() changes { return w }
	w.activator = a
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { apps.Run(ctx.Done()) })
	wg.Go(func() { deployments.Run(ctx.Done()) })
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(func() { cancel(); wg.Wait() })
}

// wrote waits until the scale was written so often, and returns what.
func (w *world) wrote(times int) []int32 {
	w.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		w.mu.Lock()
		updates := slices.Clone(w.updates)
		w.mu.Unlock()
		if len(updates) >= times {
			return updates
		}
		select {
		case <-w.moved:
		case <-limit:
			w.t.Fatalf("only %v was written", updates)
		}
	}
}

// wroteNothing lets everything happen that was set off, ended by the waking of another app, and checks that no more than
// this was written.
func (w *world) wroteNothing() {
	w.t.Helper()
	w.mu.Lock()
	before := len(w.updates)
	w.mu.Unlock()
	w.app("marker", func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.MinReplicas = ptr.To[int32](7) })
	w.deployment("marker", 0, 0)
	w.requests("marker", 1, 0)
	if updates := w.wrote(before + 1); len(updates) != before+1 || updates[before] != 7 {
		w.t.Errorf("%v was written", updates[before:])
	}
}

func TestARequestWakesAnAppStraightToTheDemand(t *testing.T) {
	w := newWorld(t)
	w.app("a")
	w.deployment("a", 0, 0)
	w.start()
	w.requests("a", 35, 0)
	if got := w.wrote(1); got[0] != 4 {
		t.Errorf("it was woken to %d, not 4", got[0])
	}
	if event, want := <-w.events.Events, "Normal Waking woken from zero to 4 replicas: 35 pending requests"; event != want {
		t.Errorf("the event is %q, not %q", event, want)
	}
}

func TestRequestsFromBeforeTheStartWakeAnApp(t *testing.T) {
	w := newWorld(t)
	w.app("a")
	w.deployment("a", 0, 0)
	w.requests("a", 1, 0)
	<-w.wake // the subscription tells only what comes after it
	w.Take()
	w.start()
	w.wrote(1)
}

func TestAnAppThatGoesToSleepUnderARequestIsWokenAgain(t *testing.T) {
	w := newWorld(t)
	w.app("a")
	w.deployment("a", 1, 1)
	w.start()
	w.requests("a", 1, 0)
	w.wroteNothing()
	w.deployment("a", 0, 1)
	if got := w.wrote(2); got[1] != 1 {
		t.Errorf("it was woken to %d", got[1])
	}
}

// Whoever scales an app to zero under requests that its pods answer means those pods.
func TestRequestsInFlightDoNotKeepAnAppFromGoingToSleep(t *testing.T) {
	w := newWorld(t)
	w.app("a")
	w.deployment("a", 1, 1)
	w.start()
	w.requests("a", 0, 12)
	w.deployment("a", 0, 1)
	w.wroteNothing()
	w.requests("a", 1, 12)
	if got := w.wrote(1); got[0] != 7 {
		t.Errorf("it was woken to %d", got[0])
	}
}

func TestAGrowingQueueIsFollowedUntilAReplicaIsReady(t *testing.T) {
	for _, blind := range []bool{false, true} {
		t.Run(fmt.Sprintf("informer blind: %v", blind), func(t *testing.T) {
			w := newWorld(t)
			w.blind = blind
			w.app("a")
			w.deployment("a", 0, 0)
			w.start()
			w.requests("a", 1, 0)
			w.wrote(1)
			w.requests("a", 25, 0)
			w.wrote(2)
			w.requests("a", 5, 0) // never lower
			w.requests("a", 500, 0)
			if got := w.wrote(3); !slices.Equal(got, []int32{1, 3, 8}) {
				t.Errorf("%v was written", got)
			}
		})
	}
}

func TestAnAppThatIsRushedAtIsScaledUpAtOnceAndOnce(t *testing.T) {
	rush := queue.Sample{InFlight: 60, Concurrency: 55, Observed: queue.Rush, Reporting: 2, Expected: 2}
	for what, c := range map[string]struct {
		change  func(*queue.Sample)
		written []int32
	}{
		"a rush":                  {func(*queue.Sample) {}, []int32{6}},
		"less than twice as much": {func(s *queue.Sample) { s.Concurrency = 30 }, nil},
		"an average over less":    {func(s *queue.Sample) { s.Observed /= 2 }, nil},
		"a lost interceptor":      {func(s *queue.Sample) { s.Reporting = 1 }, nil},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.app("a")
			w.deployment("a", 2, 2)
			w.start()
			s := rush
			c.change(&s)
			w.sampled(types.NamespacedName{Namespace: "shop", Name: "a"}, s)
			if got := w.wrote(len(c.written)); !slices.Equal(got, c.written) {
				t.Errorf("%v was written, not %v", got, c.written)
			}
			w.sampled(types.NamespacedName{Namespace: "shop", Name: "a"}, s)
			w.wroteNothing()
		})
	}
}

func TestAnAppThatServesIsLeftToTheAutoscaler(t *testing.T) {
	w := newWorld(t)
	w.app("a")
	w.deployment("a", 1, 1)
	w.start()
	w.requests("a", 80, 10)
	w.wroteNothing()
}

func TestWhoMayNotBeWokenIsNot(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.HTTPApp){
		"a paused app":               func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Paused = true },
		"an app that none wakes":     func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Activation = v1alpha1.ActivationNever },
		"an app that is deleted":     func(a *v1alpha1.HTTPApp) { a.DeletionTimestamp = ptr.To(metav1.Now()) },
		"an app whose route is lost": func(a *v1alpha1.HTTPApp) { a.Spec.Routes[0].Hosts = []string{"owned.example.com"} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.app("owner", func(a *v1alpha1.HTTPApp) {
				a.CreationTimestamp = metav1.Unix(1, 0)
				a.Spec.Routes[0].Hosts = []string{"owned.example.com"}
			})
			w.app("a", change)
			w.deployment("a", 0, 0)
			w.start()
			w.requests("a", 5, 0)
			w.wroteNothing()
		})
	}
}

func TestAnAppThatWinsItsRouteIsWoken(t *testing.T) {
	w := newWorld(t)
	owner := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "owner", CreationTimestamp: metav1.Unix(1, 0)},
		Spec: v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{{Hosts: []string{"a.example.com"}}}}}
	w.apps.Modify(owner)
	w.app("a")
	w.deployment("a", 0, 0)
	w.start()
	w.requests("a", 1, 0)
	w.wroteNothing()
	w.apps.Delete(owner)
	w.wrote(2)
}

func TestAnotherReplicaMayBeFaster(t *testing.T) {
	w := newWorld(t)
	w.app("a")
	w.deployment("a", 0, 0)
	w.start()
	w.meanwhile = func() { w.deployment("a", 2, 0) }
	w.requests("a", 15, 0)
	w.wroteNothing()
}

func TestAChangeInBetweenIsNoReasonNotToWake(t *testing.T) {
	w := newWorld(t)
	w.app("a")
	w.deployment("a", 0, 0)
	w.start()
	w.meanwhile = func() { w.deployment("a", 0, 0) }
	w.requests("a", 15, 0)
	if got := w.wrote(1); got[0] != 2 {
		t.Errorf("it was woken to %d", got[0])
	}
}

func TestAFailureIsToldAndTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.app("a")
	w.deployment("a", 0, 0)
	w.refuse = errors.New("quota exceeded")
	w.start()
	w.requests("a", 1, 0)
	if event, want := <-w.events.Events, "Warning WakeFailed cannot be woken, is tried again: quota exceeded"; event != want {
		t.Errorf("the event is %q, not %q", event, want)
	}
	w.mu.Lock()
	w.refuse = nil
	w.mu.Unlock()
	w.wrote(1)
}

func TestAWorkloadOfAnyKindIsWoken(t *testing.T) {
	w := newWorld(t)
	w.app("a", func(a *v1alpha1.HTTPApp) {
		a.Spec.WorkloadRef = &v1alpha1.WorkloadReference{APIVersion: "example.com/v1", Kind: "Machine", Name: "m"}
	})
	w.scales["shop/m"] = &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "m", UID: "m", ResourceVersion: "1"}}
	w.blind = true
	w.start()
	w.requests("a", 15, 0)
	if got := w.wrote(1); got[0] != 2 {
		t.Errorf("it was woken to %d", got[0])
	}
}

func TestManyAppsAreWokenAtOnce(t *testing.T) {
	const apps = 300
	w := newWorld(t)
	for i := range apps {
		w.app(fmt.Sprint("a", i))
		w.deployment(fmt.Sprint("a", i), 0, 0)
	}
	w.start()
	for i := range apps {
		w.requests(fmt.Sprint("a", i), 1, 0)
	}
	if got := w.wrote(apps); len(got) != apps {
		t.Errorf("%d writes for %d apps", len(got), apps)
	}
}

func TestAnAppThatCannotBeWrittenDelaysNoOther(t *testing.T) {
	const others = 100
	w := newWorld(t)
	slow := make(chan struct{})
	w.hold = map[string]chan struct{}{"slow": slow}
	w.app("slow", func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.MinReplicas = ptr.To[int32](7) })
	w.deployment("slow", 0, 0)
	for i := range others {
		w.app(fmt.Sprint("a", i))
		w.deployment(fmt.Sprint("a", i), 0, 0)
	}
	w.start()
	for i := range others {
		// Its count changes all the time.
		w.requests("slow", int64(1+i%2), 0)
		w.requests(fmt.Sprint("a", i), 1, 0)
	}
	if got := w.wrote(others); slices.Contains(got, 7) {
		t.Errorf("what is held was written: %v", got)
	}
	close(slow)
	if got := w.wrote(others + 1); got[others] != 7 {
		t.Errorf("it was woken to %d", got[others])
	}
}
