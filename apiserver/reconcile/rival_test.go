package reconcile

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

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

func TestAnAppYieldsToAScaledObjectThatWasNotMadeForIt(t *testing.T) {
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
		want  string
	}{
		"there is none":                          {},
		"its own":                                {[]*unstructured.Unstructured{scaling("app", app, deployment)}, ""},
		"another's, with KEDA's defaults":        {[]*unstructured.Unstructured{scaling("app", app, deployment), scaling("theirs", nil, deployment)}, "theirs"},
		"another's, spelled out":                 {[]*unstructured.Unstructured{scaling("theirs", nil, map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"})}, "theirs"},
		"one that scales the app":                {[]*unstructured.Unstructured{scaling("theirs", nil, map[string]any{"apiVersion": "apps.http.keda.sh/v1alpha1", "kind": "HTTPApp", "name": "app"})}, "theirs"},
		"of another kind":                        {[]*unstructured.Unstructured{scaling("theirs", nil, map[string]any{"kind": "StatefulSet", "apiVersion": "apps/v1", "name": "web"})}, ""},
		"of another workload":                    {[]*unstructured.Unstructured{scaling("theirs", nil, map[string]any{"name": "db"})}, ""},
		"that of an older app":                   {[]*unstructured.Unstructured{scaling("before", before, deployment)}, "before"},
		"that of a younger app":                  {[]*unstructured.Unstructured{scaling("after", after, deployment)}, ""},
		"that of an app of the name before this": {[]*unstructured.Unstructured{scaling("app", &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app", UID: "earlier"}}, deployment)}, ""},
	} {
		t.Run(what, func(t *testing.T) {
			apps := cache.NewSharedIndexInformer(nil, &v1alpha1.HTTPApp{}, 0, cache.Indexers{})
			if err := workload.AddIndex(apps); err != nil {
				t.Fatal(err)
			}
			r := &Reconciler{Config: Config{Apps: apps}, scaledObjects: cache.NewSharedIndexInformer(nil, &unstructured.Unstructured{}, 0, cache.Indexers{byTarget: targetOf})}
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
			got := ""
			if rival := r.rivalOf(app); rival != nil {
				got = rival.GetName()
				if c := rivalCondition(app, rival); c.status != metav1.ConditionFalse || !strings.Contains(c.message, got+",") || !strings.Contains(c.message, "Deployment web") {
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
	if c := rivalCondition(app, scaling("theirs", nil, nil)); c.status != metav1.ConditionTrue || !strings.Contains(c.message, "theirs") {
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
