package sleep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

var start = time.Unix(100000, 0)

const cooldown = 30 * time.Second

// world is the cluster and the interceptors as a Sleeper sees them: one app, its workload and its requests.
type world struct {
	*testing.T
	clock   *clocktesting.FakeClock
	sleeper *Sleeper
	events  *record.FakeRecorder
	sample  queue.Sample
	synced  bool
	scale   *autoscalingv1.Scale
	writes  []int32
	reads   int
	refuse  error
	// meanwhile happens between the reading of the scale and its writing.
	meanwhile func()
}

func (w *world) Synced() bool                                            { return w.synced }
func (w *world) Sample(types.NamespacedName, time.Duration) queue.Sample { return w.sample }

func (w *world) Get(context.Context, string, v1alpha1.WorkloadReference) (*autoscalingv1.Scale, error) {
	w.reads++
	read := w.scale.DeepCopy()
	if w.meanwhile != nil {
		w.meanwhile()
	}
	return read, nil
}

func (w *world) Update(_ context.Context, _ string, ref v1alpha1.WorkloadReference, scale *autoscalingv1.Scale, _ metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	if w.refuse != nil {
		return nil, w.refuse
	}
	if scale.ResourceVersion != w.scale.ResourceVersion || scale.UID != w.scale.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: "deployments"}, ref.Name, errors.New("it changed"))
	}
	w.writes = append(w.writes, scale.Spec.Replicas)
	w.scaled(scale.Spec.Replicas)
	return w.scale.DeepCopy(), nil
}

// scaled lets the workload have as many replicas, and the informer see that.
func (w *world) scaled(replicas int32) {
	version := 0
	if w.scale != nil {
		version, _ = strconv.Atoi(w.scale.ResourceVersion)
	}
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "a", UID: "u", ResourceVersion: strconv.Itoa(version + 1)}
	w.scale = &autoscalingv1.Scale{ObjectMeta: meta, Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	if err := w.sleeper.Deployments.GetStore().Update(&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: &replicas}}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) requests(pending, inFlight int64) {
	w.sample.Pending, w.sample.InFlight = pending, inFlight
}

// pass lets so many seconds pass, with a look at the end of each.
func (w *world) pass(seconds int) {
	for range seconds {
		w.clock.Step(time.Second)
		w.sleeper.lookAtAll(w.Context())
	}
}

func (w *world) app(change ...func(*v1alpha1.HTTPApp)) {
	app := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"},
		Spec: v1alpha1.HTTPAppSpec{Scaling: v1alpha1.Scaling{
			Autoscaler: v1alpha1.AutoscalerHPA, MinReplicas: ptr.To[int32](0), Cooldown: &metav1.Duration{Duration: cooldown},
		}},
	}
	for _, c := range change {
		c(app)
	}
	if err := w.sleeper.Apps.GetStore().Update(app); err != nil {
		w.Fatal(err)
	}
}

func (w *world) wrote(want ...int32) {
	w.Helper()
	if !slices.Equal(w.writes, want) {
		w.Errorf("%v was written, not %v", w.writes, want)
	}
}

// newWorld has an app with two replicas and no request, of which all interceptors report, and one look at it was taken.
func newWorld(t *testing.T, change ...func(*v1alpha1.HTTPApp)) *world {
	w := &world{
		T: t, clock: clocktesting.NewFakeClock(start), events: record.NewFakeRecorder(100), synced: true,
		sample: queue.Sample{Reporting: 2, Expected: 2, SampledAt: start},
	}
	informer := func() cache.SharedIndexInformer { return cache.NewSharedIndexInformer(nil, nil, 0, cache.Indexers{}) }
	apps := informer()
	loans, err := NewLoans(apps, w.clock)
	if err != nil {
		t.Fatal(err)
	}
	w.sleeper, err = New(Config{
		Counts: w, Scales: w, Events: w.events, Clock: w.clock,
		Apps: apps, Deployments: informer(), Loans: loans,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.app(change...)
	w.scaled(2)
	w.sleeper.lookAtAll(t.Context())
	return w
}

func TestAnAppSleepsWhenItWasIdleForItsCooldown(t *testing.T) {
	w := newWorld(t)
	w.pass(29)
	w.wrote()
	w.pass(1)
	w.wrote(0)
	if event, want := <-w.events.Events, "Normal Sleeping scaled to zero: no request for 30s"; event != want {
		t.Errorf("the event is %q, not %q", event, want)
	}
	w.pass(100)
	w.wrote(0)
	if w.reads != 1 {
		t.Errorf("the scale was read %d times", w.reads)
	}
}

func TestTheCooldownBeginsAnew(t *testing.T) {
	for what, happens := range map[string]func(*world){
		"with a request that waits":           func(w *world) { w.requests(1, 0); w.pass(1); w.requests(0, 0) },
		"with a request that is answered":     func(w *world) { w.requests(0, 1); w.pass(1); w.requests(0, 0) },
		"with a request between two looks":    func(w *world) { w.sample.LastRequest = w.clock.Now().Add(time.Second); w.pass(1) },
		"with an interceptor that is missing": func(w *world) { w.sample.Reporting = 1; w.pass(1); w.sample.Reporting = 2 },
		"with no interceptor": func(w *world) {
			w.sample.Expected, w.sample.Reporting = 0, 0
			w.pass(1)
			w.sample.Expected, w.sample.Reporting = 2, 2
		},
		"with counts that are not known": func(w *world) { w.synced = false; w.pass(1); w.synced = true },
		"with a pause": func(w *world) {
			w.app(func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Paused = true })
			w.pass(1)
			w.app()
			w.pass(1)
		},
		"when it was scaled to zero and woken": func(w *world) { w.scaled(0); w.pass(1); w.scaled(1); w.pass(1) },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.pass(28)
			happens(w)
			w.pass(29)
			w.wrote()
			w.pass(1)
			w.wrote(0)
		})
	}
}

func TestAnAppIsNotPutToSleepFor(t *testing.T) {
	for what, w := range map[string]*world{
		"another autoscaler":            newWorld(t, func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Autoscaler = v1alpha1.AutoscalerKEDA }),
		"no autoscaler":                 newWorld(t, func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Autoscaler = v1alpha1.AutoscalerNone }),
		"being paused":                  newWorld(t, func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Paused = true }),
		"having to have a replica":      newWorld(t, func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.MinReplicas = ptr.To[int32](1) }),
		"being deleted":                 newWorld(t, func(a *v1alpha1.HTTPApp) { a.DeletionTimestamp = ptr.To(metav1.Now()) }),
		"a cooldown that is not over":   newWorld(t, func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Cooldown.Duration = time.Hour }),
		"the default cooldown of 5 min": newWorld(t, func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Cooldown = nil }),
	} {
		t.Run(what, func(t *testing.T) {
			w.pass(120)
			w.wrote()
		})
	}
}

func TestIgnoranceNeverPutsAnAppToSleep(t *testing.T) {
	for what, change := range map[string]func(*world){
		"the counts are not known yet": func(w *world) { w.synced = false },
		"an interceptor is missing":    func(w *world) { w.sample.Reporting = 1 },
		"no interceptor reports":       func(w *world) { w.sample.Reporting = 0 },
		"there is no interceptor":      func(w *world) { w.sample.Reporting, w.sample.Expected = 0, 0 },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			change(w)
			w.pass(3600)
			w.wrote()
		})
	}
}

func TestARequestThatComesAtTheLastMomentGoesFirst(t *testing.T) {
	w := newWorld(t)
	w.meanwhile = func() { w.requests(1, 0) }
	w.pass(60)
	w.wrote()
}

func TestWhoScalesAtTheLastMomentGoesFirst(t *testing.T) {
	w := newWorld(t)
	w.meanwhile = func() { w.meanwhile = nil; w.scaled(3) }
	w.pass(30)
	w.wrote()
	w.pass(1)
	w.wrote(0)
}

func TestAnAppThatMayNotRestAnyMoreGetsItsFewestReplicas(t *testing.T) {
	w := newWorld(t)
	w.scaled(0)
	w.app(func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.MinReplicas = ptr.To[int32](2) })
	w.pass(5)
	w.wrote(2)
}

func TestAFailureIsToldAndTriedAgainLater(t *testing.T) {
	w := newWorld(t)
	w.refuse = errors.New("no right to")
	w.pass(39)
	if n := len(w.events.Events); n != 1 {
		t.Errorf("it was told %d times", n)
	}
	if event, want := <-w.events.Events, "Warning SleepFailed cannot be scaled to 0, is tried again: scaling Deployment a: no right to"; event != want {
		t.Errorf("the event is %q, not %q", event, want)
	}
	w.refuse = nil
	w.pass(1)
	w.wrote(0)
}

func TestAWorkloadThatNoInformerKnowsIsAskedRarely(t *testing.T) {
	w := newWorld(t, lent("StatefulSet"))
	w.pass(30)
	w.wrote(0)
	w.pass(300)
	w.wrote(0)
	if w.reads > 12 {
		t.Errorf("its scale was read %d times in 330 seconds", w.reads)
	}
	w.scaled(1)
	w.pass(2 * int(cooldown/time.Second))
	w.wrote(0, 0)
}

// lent lets the app adopt a workload, of which it is written down that it had two replicas.
func lent(kind string) func(*v1alpha1.HTTPApp) {
	return func(a *v1alpha1.HTTPApp) {
		a.Spec.WorkloadRef = &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: kind, Name: "a"}
		a.Status.LentReplicas = 2
	}
}

// The workload was put to sleep by a leader before: this one knows of it what the app's status says.
func TestAnAdoptedWorkloadIsNotLeftAtZeroWhenItsAppGoes(t *testing.T) {
	for what, goes := range map[string]func(*Loans, *v1alpha1.HTTPApp){
		"it is deleted":                      func(l *Loans, a *v1alpha1.HTTPApp) { l.deleted(a) },
		"it was deleted while nobody looked": func(l *Loans, a *v1alpha1.HTTPApp) { l.deleted(cache.DeletedFinalStateUnknown{Obj: a}) },
		"another of its name came": func(l *Loans, a *v1alpha1.HTTPApp) {
			l.updated(a, &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{UID: "another"}})
		},
		"it has another workload": func(l *Loans, a *v1alpha1.HTTPApp) {
			now := a.DeepCopy()
			now.Spec.WorkloadRef.Name = "b"
			l.updated(a, now)
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.scaled(0)
			app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"}}
			app.Spec.Scaling.Autoscaler = v1alpha1.AutoscalerHPA
			lent("Deployment")(app)
			goes(w.sleeper.Loans, app)
			w.refuse = errors.New("not now")
			w.pass(5)
			w.wrote()
			w.refuse = nil
			w.pass(5)
			w.wrote(2)
			w.scaled(0)
			w.pass(5)
			w.wrote(2)
		})
	}
}

func TestAnAdoptedWorkloadIsGivenBackOnlyByWhomItWasLentTo(t *testing.T) {
	for what, change := range map[string]func(*v1alpha1.HTTPApp){
		"another takes it to zero": func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Autoscaler = v1alpha1.AutoscalerKEDA },
		"it was made for the app":  func(a *v1alpha1.HTTPApp) { a.Spec.WorkloadRef = nil },
		"it never had a replica":   func(a *v1alpha1.HTTPApp) { a.Status.LentReplicas = 0 },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.scaled(0)
			app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"}}
			app.Spec.Scaling.Autoscaler = v1alpha1.AutoscalerHPA
			lent("Deployment")(app)
			change(app)
			w.sleeper.Loans.deleted(app)
			w.pass(5)
			w.wrote()
		})
	}
}

func TestAReplicaThatNeverLeadsForgetsWhatIsDue(t *testing.T) {
	w := newWorld(t)
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"}}
	app.Spec.Scaling.Autoscaler = v1alpha1.AutoscalerHPA
	lent("Deployment")(app)
	w.sleeper.Loans.deleted(app)
	w.clock.Step(dueFor + time.Second)
	lent("StatefulSet")(app)
	w.sleeper.Loans.deleted(app)
	if n := len(w.sleeper.Loans.due); n != 1 {
		t.Errorf("%d loans are remembered", n)
	}
}

func TestAnAdoptedWorkloadSleepsOnlyWhenItIsWrittenDownWhatItGetsBack(t *testing.T) {
	w := newWorld(t, lent("Deployment"), func(a *v1alpha1.HTTPApp) { a.Status.LentReplicas = 0 })
	w.pass(60)
	w.wrote()
	w.app(lent("Deployment"))
	w.pass(60)
	w.wrote(0)
}

func TestALeaderThatBeginsCountsTheIdleTimeItself(t *testing.T) {
	for _, last := range []time.Time{{}, start.Add(-time.Hour)} {
		t.Run(fmt.Sprint("last request ", last), func(t *testing.T) {
			w := newWorld(t)
			w.sample.LastRequest = last
			w.pass(29)
			w.wrote()
			w.pass(1)
			w.wrote(0)
		})
	}
}
