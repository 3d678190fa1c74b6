package reconcile

import (
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

func scaling(name string, owner *v1alpha1.HTTPApp, target map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
		"spec": map[string]any{"scaleTargetRef": target, "triggers": []any{map[string]any{"type": "cron"}}},
	}}
	u.SetNamespace("shop")
	u.SetName(name)
	if owner != nil {
		m := made(owner)
		u.SetLabels(m.Labels)
		u.SetOwnerReferences(m.OwnerReferences)
	}
	return u
}

// hpaScaling is an HPA as it is in a cluster.
func hpaScaling(name string, owner *v1alpha1.HTTPApp, kind, target string) *autoscalingv2.HorizontalPodAutoscaler {
	h := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Annotations: map[string]string{"long": "story"}}}
	h.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: kind, Name: target}
	h.Spec.Metrics = []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType}}
	if owner != nil {
		h.ObjectMeta = made(owner)
	}
	return h
}

func hpasOfKEDA(name, target string) *autoscalingv2.HorizontalPodAutoscaler {
	h := hpaScaling(name, nil, "Deployment", target)
	h.OwnerReferences = []metav1.OwnerReference{{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: "app", Controller: ptr.To(true)}}
	return h
}

func TestAnAppYieldsToAnAutoscalerThatWasNotMadeForIt(t *testing.T) {
	born := func(name string, at int64, ref *v1alpha1.WorkloadReference) *v1alpha1.HTTPApp {
		return &v1alpha1.HTTPApp{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Unix(at, 0))},
			Spec:       v1alpha1.HTTPAppSpec{WorkloadRef: ref},
		}
	}
	web := &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
	app, before, after := born("app", 2, web), born("before", 1, web), born("after", 3, web)
	deployment := map[string]any{"name": "web"}
	for what, c := range map[string]struct {
		there []*unstructured.Unstructured
		hpas  []*autoscalingv2.HorizontalPodAutoscaler
		want  string
	}{
		"there is none": {},
		"its own":       {[]*unstructured.Unstructured{scaling("app", app, deployment)}, nil, ""},
		"another's, with KEDA's defaults": {
			[]*unstructured.Unstructured{scaling("app", app, deployment), scaling("theirs", nil, deployment)}, nil, "ScaledObject theirs"},
		"another's, spelled out": {
			[]*unstructured.Unstructured{scaling("theirs", nil, map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"})}, nil, "ScaledObject theirs"},
		"one that scales the app": {
			[]*unstructured.Unstructured{scaling("theirs", nil, map[string]any{"apiVersion": "apps.http.keda.sh/v1alpha1", "kind": "HTTPApp", "name": "app"})}, nil, "ScaledObject theirs"},
		"of another kind": {
			[]*unstructured.Unstructured{scaling("theirs", nil, map[string]any{"kind": "StatefulSet", "apiVersion": "apps/v1", "name": "web"})}, nil, ""},
		"of another workload":   {[]*unstructured.Unstructured{scaling("theirs", nil, map[string]any{"name": "db"})}, nil, ""},
		"that of an older app":  {[]*unstructured.Unstructured{scaling("before", before, deployment)}, nil, "ScaledObject before"},
		"that of a younger app": {[]*unstructured.Unstructured{scaling("after", after, deployment)}, nil, ""},
		"that of an app of the name before this": {
			[]*unstructured.Unstructured{scaling("app", &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app", UID: "earlier"}}, deployment)}, nil, ""},

		"an HPA":                             {nil, []*autoscalingv2.HorizontalPodAutoscaler{hpaScaling("theirs", nil, "Deployment", "web")}, "HorizontalPodAutoscaler theirs"},
		"its own HPA":                        {nil, []*autoscalingv2.HorizontalPodAutoscaler{hpaScaling("app", app, "Deployment", "web")}, ""},
		"KEDA's HPA for its ScaledObject":    {nil, []*autoscalingv2.HorizontalPodAutoscaler{hpasOfKEDA("keda-hpa-app", "web")}, ""},
		"an HPA of another kind of workload": {nil, []*autoscalingv2.HorizontalPodAutoscaler{hpaScaling("theirs", nil, "StatefulSet", "web")}, ""},
		"an HPA of another workload":         {nil, []*autoscalingv2.HorizontalPodAutoscaler{hpaScaling("theirs", nil, "Deployment", "db")}, ""},
		"the HPA of an older app":            {nil, []*autoscalingv2.HorizontalPodAutoscaler{hpaScaling("before", before, "Deployment", "web")}, "HorizontalPodAutoscaler before"},
		"the HPA of a younger app":           {nil, []*autoscalingv2.HorizontalPodAutoscaler{hpaScaling("after", after, "Deployment", "web")}, ""},
		"an HPA and a ScaledObject, which is told of first, with KEDA's HPA": {
			[]*unstructured.Unstructured{scaling("theirs", nil, deployment)},
			[]*autoscalingv2.HorizontalPodAutoscaler{hpaScaling("a", nil, "Deployment", "web"), hpasOfKEDA("keda-hpa-theirs", "web")}, "ScaledObject theirs"},
	} {
		t.Run(what, func(t *testing.T) {
			apps := cache.NewSharedIndexInformer(nil, &v1alpha1.HTTPApp{}, 0, cache.Indexers{})
			if err := workload.AddIndex(apps); err != nil {
				t.Fatal(err)
			}
			r := &Reconciler{
				Config:        Config{Apps: apps},
				scaledObjects: cache.NewSharedIndexInformer(nil, &unstructured.Unstructured{}, 0, cache.Indexers{byTarget: targetOf}),
				hpas:          cache.NewSharedIndexInformer(nil, &autoscalingv2.HorizontalPodAutoscaler{}, 0, cache.Indexers{byTarget: targetOf}),
			}
			for _, a := range []*v1alpha1.HTTPApp{app, before, after} {
				if err := apps.GetIndexer().Add(a); err != nil {
					t.Fatal(err)
				}
			}
			for _, u := range c.there {
				slim, err := slimScaledObject(u)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.scaledObjects.GetIndexer().Add(slim); err != nil {
					t.Fatal(err)
				}
			}
			for _, h := range c.hpas {
				slim, err := slimHPA(h)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.hpas.GetIndexer().Add(slim); err != nil {
					t.Fatal(err)
				}
			}
			got := ""
			if rival := r.rivalOf(app); rival != nil {
				got = rival.kind + " " + rival.name
				if c := rivalCondition(app, *rival); c.status != metav1.ConditionFalse || !strings.Contains(c.message, got+",") || !strings.Contains(c.message, "Deployment web") {
					t.Errorf("the condition is %+v", c)
				}
			}
			if got != c.want {
				t.Errorf("it yields to %q, not %q", got, c.want)
			}
		})
	}
}

func TestAScaledObjectOfTheUsersOwnIsToldOfAnAppThatWantsNoneMade(t *testing.T) {
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"}, Spec: v1alpha1.HTTPAppSpec{Scaling: v1alpha1.Scaling{Autoscaler: v1alpha1.AutoscalerNone}}}
	if c := rivalCondition(app, rival{"ScaledObject", "theirs"}); c.status != metav1.ConditionTrue || !strings.Contains(c.message, "theirs") {
		t.Errorf("the condition is %+v", c)
	}
}

func TestOfAnothersScaledObjectOnlyTheTargetIsKept(t *testing.T) {
	slim, err := slimScaledObject(scaling("theirs", nil, map[string]any{"name": "web"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, there, _ := unstructured.NestedSlice(slim.(*unstructured.Unstructured).Object, "spec", "triggers"); there {
		t.Error("its triggers are kept")
	}
	ours := scaling("ours", &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Name: "ours"}}, map[string]any{"name": "web"})
	if whole, err := slimScaledObject(ours); err != nil || whole != ours {
		t.Errorf("of ours, %v is kept: %v", whole, err)
	}
}

func TestWhatKEDANotesOfItsOwnWorkChangesNothing(t *testing.T) {
	is := func(generation int64, conditions ...any) *unstructured.Unstructured {
		u := scaling("app", nil, map[string]any{"name": "web"})
		u.SetGeneration(generation)
		if err := unstructured.SetNestedSlice(u.Object, conditions, "status", "conditions"); err != nil {
			t.Fatal(err)
		}
		return u
	}
	ready := func(status string) any {
		return map[string]any{"type": "Ready", "status": status, "reason": "r", "message": "m"}
	}
	active := map[string]any{"type": "Active", "status": "True"}
	if saysAnother(is(1, ready("True")), is(1, ready("True"), active)) {
		t.Error("that it is active should change nothing")
	}
	if !saysAnother(is(1, ready("True")), is(1, ready("False"))) || !saysAnother(is(1, ready("True")), is(2, ready("True"))) {
		t.Error("that KEDA refuses it, or that it was written, should be looked at")
	}
}

func TestOfAnothersHPAOnlyTheTargetIsKept(t *testing.T) {
	for what, h := range map[string]*autoscalingv2.HorizontalPodAutoscaler{"a user's": hpaScaling("theirs", nil, "Deployment", "web"), "KEDA's": hpasOfKEDA("k", "web")} {
		obj, err := slimHPA(h)
		if err != nil {
			t.Fatal(err)
		}
		slim := obj.(*autoscalingv2.HorizontalPodAutoscaler)
		if slim.Spec.Metrics != nil || slim.Annotations != nil || slim.Spec.ScaleTargetRef.Name != "web" {
			t.Errorf("of %s, %v is kept", what, slim)
		}
	}
	ours := hpaScaling("app", &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"}}, "Deployment", "web")
	if whole, err := slimHPA(ours); err != nil || whole != ours {
		t.Errorf("of ours, %v is kept: %v", whole, err)
	}
}

func TestAnAppIsLookedAtAgainWhenAnHPAComesToItsWorkloadOrGoes(t *testing.T) {
	apps := cache.NewSharedIndexInformer(nil, &v1alpha1.HTTPApp{}, 0, cache.Indexers{})
	if err := workload.AddIndex(apps); err != nil {
		t.Fatal(err)
	}
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	if err := apps.GetIndexer().Add(app); err != nil {
		t.Fatal(err)
	}
	web, db := hpaScaling("theirs", nil, "Deployment", "web"), hpaScaling("theirs", nil, "Deployment", "db")
	noted := web.DeepCopy()
	noted.Status.CurrentReplicas, noted.ResourceVersion = 3, "2"
	for what, c := range map[string]struct {
		event func(*Reconciler)
		want  int
	}{
		"one comes":                          {func(r *Reconciler) { r.hpaChanged(web) }, 1},
		"one goes":                           {func(r *Reconciler) { r.hpaChanged(cache.DeletedFinalStateUnknown{Obj: web}) }, 1},
		"one turns to another":               {func(r *Reconciler) { r.hpaUpdated(web, db) }, 1},
		"one notes what it does":             {func(r *Reconciler) { r.hpaUpdated(web, noted) }, 0},
		"one of another workload comes":      {func(r *Reconciler) { r.hpaChanged(db) }, 0},
		"KEDA's comes":                       {func(r *Reconciler) { r.hpaChanged(hpasOfKEDA("k", "web")) }, 0},
		"its own notes what it does":         {func(r *Reconciler) { own := hpaScaling("", app, "Deployment", "web"); r.hpaUpdated(own, own) }, 1},
		"its own comes, which is its target": {func(r *Reconciler) { r.hpaChanged(hpaScaling("", app, "Deployment", "web")) }, 1},
	} {
		r := &Reconciler{Config: Config{Apps: apps}, queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[types.NamespacedName]())}
		c.event(r)
		if got := r.queue.Len(); got != c.want {
			t.Errorf("when %s, %d apps are looked at, not %d", what, got, c.want)
		}
		r.queue.ShutDown()
	}
}
