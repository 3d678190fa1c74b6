package reconcile

import (
	"cmp"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// Two HPAs of one workload take each other's pods for theirs, so that neither scales; each ScaledObject has one. KEDA's admission webhook
// refuses the second ScaledObject, where there is a webhook. What others made goes first: ours is not made, or taken away.

// byTarget is the index of ScaledObjects, and of HPAs, by what they scale.
const byTarget = "target"

func targetOf(obj any) ([]string, error) {
	ref, ok := target(obj)
	if !ok {
		return nil, fmt.Errorf("%T is neither a ScaledObject nor an HPA", obj)
	}
	return []string{targetKey(obj.(metav1.Object).GetNamespace(), ref)}, nil
}

// target is what a ScaledObject, with KEDA's defaults, or an HPA scales.
func target(obj any) (ref v1alpha1.WorkloadReference, ok bool) {
	switch o := obj.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		ref := o.Spec.ScaleTargetRef
		return v1alpha1.WorkloadReference{APIVersion: ref.APIVersion, Kind: ref.Kind, Name: ref.Name}, true
	case *unstructured.Unstructured:
		field := func(name, otherwise string) string {
			value, _, _ := unstructured.NestedString(o.Object, "spec", "scaleTargetRef", name)
			return cmp.Or(value, otherwise)
		}
		return v1alpha1.WorkloadReference{
			APIVersion: field("apiVersion", appsv1.SchemeGroupVersion.String()), Kind: field("kind", "Deployment"), Name: field("name", ""),
		}, true
	}
	return v1alpha1.WorkloadReference{}, false
}

func targetKey(namespace string, ref v1alpha1.WorkloadReference) string {
	return namespace + "/" + ref.APIVersion + "/" + ref.Kind + "/" + ref.Name
}

// itself is how a ScaledObject or an HPA names an app as its target.
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

// slimHPA leaves out all that does not say what an HPA scales that was made for no app, KEDA's for ScaledObjects included.
func slimHPA(obj any) (any, error) {
	h, ok := obj.(*autoscalingv2.HorizontalPodAutoscaler)
	if !ok || madeForApp(h) {
		return obj, nil
	}
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: h.Namespace, Name: h.Name, UID: h.UID, ResourceVersion: h.ResourceVersion, OwnerReferences: h.OwnerReferences,
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: h.Spec.ScaleTargetRef},
	}, nil
}

func madeForApp(o metav1.Object) bool {
	owner := metav1.GetControllerOf(o)
	return owner != nil && owner.Kind == "HTTPApp" && owner.APIVersion == v1alpha1.SchemeGroupVersion.String()
}

// ofScaledObject reports whether KEDA made an HPA. Then it is the ScaledObject that is looked at.
func ofScaledObject(o metav1.Object) bool {
	owner := metav1.GetControllerOf(o)
	return owner != nil && owner.Kind == "ScaledObject"
}

// hpaChanged finds the app that an HPA was made for, and those whose workload it scales.
func (r *Reconciler) hpaChanged(obj any) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	h, ok := obj.(*autoscalingv2.HorizontalPodAutoscaler)
	if !ok || ofScaledObject(h) {
		return
	}
	if madeForApp(h) {
		r.madeChanged(h)
	}
	r.targetChanged(h)
}

// hpaUpdated is hpaChanged, without what the HPA controller notes every few seconds of HPAs that were made for no app.
func (r *Reconciler) hpaUpdated(was, is any) {
	before, ok := was.(*autoscalingv2.HorizontalPodAutoscaler)
	after, isOne := is.(*autoscalingv2.HorizontalPodAutoscaler)
	switch {
	case !ok || !isOne || before.UID != after.UID || before.Spec.ScaleTargetRef != after.Spec.ScaleTargetRef || madeForApp(before) != madeForApp(after):
		r.hpaChanged(was)
		r.hpaChanged(is)
	case madeForApp(after):
		r.madeChanged(after)
	}
}

// targetChanged finds the apps whose workload an object scales.
func (r *Reconciler) targetChanged(obj metav1.Object) {
	ref, ok := target(obj)
	if !ok {
		return
	}
	for _, app := range workload.AppsOf(r.Apps.GetIndexer(), obj.GetNamespace(), ref) {
		r.enqueue(app)
	}
	if ref == itself(ref.Name) {
		r.enqueue(types.NamespacedName{Namespace: obj.GetNamespace(), Name: ref.Name})
	}
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
	r.targetChanged(u)
}

// rival is what scales an app's workload and was not made for the app.
type rival struct{ kind, name string }

// rivalOf returns one of the app's rivals, if there are any.
func (r *Reconciler) rivalOf(app *v1alpha1.HTTPApp) *rival {
	var rivals []rival
	look := func(kind string, informer cache.SharedIndexInformer) {
		for _, ref := range []v1alpha1.WorkloadReference{workload.RefOf(app), itself(app.Name)} {
			found, err := informer.GetIndexer().ByIndex(byTarget, targetKey(app.Namespace, ref))
			if err != nil {
				panic(err) // there is no such index
			}
			for _, obj := range found {
				m, err := meta.Accessor(obj)
				if err != nil {
					panic(err) // it would not be in the index
				}
				if !owned(m, app) && !ofScaledObject(m) && !r.yields(m, app) {
					rivals = append(rivals, rival{kind, m.GetName()})
				}
			}
		}
	}
	look("ScaledObject", r.scaledObjects)
	look("HorizontalPodAutoscaler", r.hpas)
	if len(rivals) == 0 {
		return nil
	}
	first := slices.MinFunc(rivals, func(a, b rival) int { return cmp.Or(cmp.Compare(b.kind, a.kind), cmp.Compare(a.name, b.name)) })
	return &first
}

// yields reports whether an autoscaler was made for another app that adopted the same workload later: of two the older one scales it.
func (r *Reconciler) yields(autoscaler metav1.Object, app *v1alpha1.HTTPApp) bool {
	owner := metav1.GetControllerOf(autoscaler)
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
func rivalCondition(app *v1alpha1.HTTPApp, rival rival) condition {
	const kind = v1alpha1.ConditionScalerReady
	ref := workload.RefOf(app)
	if app.Spec.Scaling.Autoscaler == v1alpha1.AutoscalerNone {
		return yes(kind, "ScaledByAnother", fmt.Sprintf("the %s %s scales the app", rival.kind, rival.name))
	}
	keep := "set spec.scaling.autoscaler to None"
	if rival.kind == "ScaledObject" {
		keep += " and give it a trigger of the app"
	}
	return no(kind, "ScaledByAnother", fmt.Sprintf(
		"the %s %s, which was not made for this app, scales %s %s already: delete it, or %s", rival.kind, rival.name, ref.Kind, ref.Name, keep))
}
