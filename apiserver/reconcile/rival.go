package reconcile

import (
	"cmp"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// Two ScaledObjects of one workload are two HPAs that take each other's pods for theirs, so that neither scales. KEDA's admission webhook
// refuses the second, where there is one. What others made goes first: ours is not made, or taken away.

// byTarget is the index of ScaledObjects by what they scale.
const byTarget = "target"

// targetOf names what a ScaledObject scales, with KEDA's defaults.
func targetOf(obj any) ([]string, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("%T is no ScaledObject", obj)
	}
	return []string{targetKey(u.GetNamespace(), target(u))}, nil
}

func target(scaledObject *unstructured.Unstructured) v1alpha1.WorkloadReference {
	field := func(name, otherwise string) string {
		value, _, _ := unstructured.NestedString(scaledObject.Object, "spec", "scaleTargetRef", name)
		return cmp.Or(value, otherwise)
	}
	return v1alpha1.WorkloadReference{
		APIVersion: field("apiVersion", appsv1.SchemeGroupVersion.String()), Kind: field("kind", "Deployment"), Name: field("name", ""),
	}
}

func targetKey(namespace string, ref v1alpha1.WorkloadReference) string {
	return namespace + "/" + ref.APIVersion + "/" + ref.Kind + "/" + ref.Name
}

// itself is how a ScaledObject names an app as its target.
func itself(app string) v1alpha1.WorkloadReference {
	return v1alpha1.WorkloadReference{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp", Name: app}
}

// slimScaledObject leaves out all that does not say what somebody else's ScaledObject scales.
func slimScaledObject(obj any) (any, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok || u.GetLabels()[v1alpha1.AppLabel] != "" {
		return obj, nil
	}
	slim := &unstructured.Unstructured{Object: map[string]any{"apiVersion": u.GetAPIVersion(), "kind": u.GetKind()}}
	slim.SetNamespace(u.GetNamespace())
	slim.SetName(u.GetName())
	slim.SetUID(u.GetUID())
	slim.SetResourceVersion(u.GetResourceVersion())
	slim.SetGeneration(u.GetGeneration())
	slim.SetOwnerReferences(u.GetOwnerReferences())
	if ref, there, _ := unstructured.NestedMap(u.Object, "spec", "scaleTargetRef"); there {
		if err := unstructured.SetNestedMap(slim.Object, ref, "spec", "scaleTargetRef"); err != nil {
			return nil, err
		}
	}
	return slim, nil
}

// saysAnother reports whether a ScaledObject has changed in anything but what KEDA notes of its own work, which it does several times
// whenever an app wakes.
func saysAnother(was, is any) bool {
	before, ok := was.(*unstructured.Unstructured)
	after, isOne := is.(*unstructured.Unstructured)
	return !ok || !isOne || before.GetGeneration() != after.GetGeneration() || before.GetUID() != after.GetUID() ||
		scaledObjectCondition(before) != scaledObjectCondition(after)
}

// scaledObjectChanged finds the app that a ScaledObject was made for, and those whose workload it scales.
func (r *Reconciler) scaledObjectChanged(obj any) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	if u.GetLabels()[v1alpha1.AppLabel] != "" {
		r.madeChanged(u)
	}
	ref := target(u)
	for _, app := range workload.AppsOf(r.Apps.GetIndexer(), u.GetNamespace(), ref) {
		r.enqueue(app)
	}
	if ref == itself(ref.Name) {
		r.enqueue(types.NamespacedName{Namespace: u.GetNamespace(), Name: ref.Name})
	}
}

// rivalOf returns a ScaledObject that was not made for the app and scales its workload, if there is one.
func (r *Reconciler) rivalOf(app *v1alpha1.HTTPApp) *unstructured.Unstructured {
	var rivals []*unstructured.Unstructured
	for _, ref := range []v1alpha1.WorkloadReference{workload.RefOf(app), itself(app.Name)} {
		found, err := r.scaledObjects.GetIndexer().ByIndex(byTarget, targetKey(app.Namespace, ref))
		if err != nil {
			panic(err) // there is no such index
		}
		for _, obj := range found {
			if u := obj.(*unstructured.Unstructured); !owned(u, app) && !r.yields(u, app) {
				rivals = append(rivals, u)
			}
		}
	}
	if len(rivals) == 0 {
		return nil
	}
	return slices.MinFunc(rivals, func(a, b *unstructured.Unstructured) int { return cmp.Compare(a.GetName(), b.GetName()) })
}

// yields reports whether a ScaledObject was made for another app that adopted the same workload later: of two the older one scales it.
func (r *Reconciler) yields(scaledObject *unstructured.Unstructured, app *v1alpha1.HTTPApp) bool {
	owner := metav1.GetControllerOf(scaledObject)
	if owner == nil || owner.Kind != "HTTPApp" {
		return false
	}
	obj, there, err := r.Apps.GetStore().GetByKey(app.Namespace + "/" + owner.Name)
	if err != nil || !there {
		return true // it goes with its app
	}
	other, ok := obj.(*v1alpha1.HTTPApp)
	return !ok || other.UID != owner.UID || routes.Compare(app, other) < 0
}

// rivalCondition says who scales an app's workload. That is as it should be for an app that wants no autoscaler made.
func rivalCondition(app *v1alpha1.HTTPApp, rival *unstructured.Unstructured) condition {
	const kind = v1alpha1.ConditionScalerReady
	ref := workload.RefOf(app)
	if app.Spec.Scaling.Autoscaler == v1alpha1.AutoscalerNone {
		return yes(kind, "ScaledByAnother", fmt.Sprintf("the ScaledObject %s scales the app", rival.GetName()))
	}
	return no(kind, "ScaledByAnother", fmt.Sprintf(
		"the ScaledObject %s, which was not made for this app, scales %s %s already: delete it, or set spec.scaling.autoscaler to None and give it a trigger of the app",
		rival.GetName(), ref.Kind, ref.Name))
}
