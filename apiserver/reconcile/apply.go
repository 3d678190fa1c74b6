package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// replicasManager owns the first number of replicas of a Deployment, until somebody scales it. Were it the one that owns the
// rest, each later apply, which does not speak of replicas, would set them back to the default.
const replicasManager = workload.FieldManager + "-replicas"

// takenError says that an object that was not made for the app has the name.
type takenError struct{ kind, name string }

func (e *takenError) Error() string {
	return fmt.Sprintf("there is a %s %s that was not made for this app, and it is left alone: delete or rename it, or give the app another name", e.kind, e.name)
}

// reasonOf is the reason for a condition that an apply failed.
func reasonOf(err error) string {
	var taken *takenError
	switch {
	case errors.As(err, &taken):
		return "NameTaken"
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		return "Invalid"
	case apierrors.IsForbidden(err):
		return "Forbidden"
	default:
		return "ApplyFailed"
	}
}

// retry returns the error if trying the same again may help. What is invalid stays so until the app changes, and a namespace
// that goes takes the app with it.
func retry(err error) error {
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

// made is the metadata of everything that is made for an app.
func made(app *v1alpha1.HTTPApp) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: app.Namespace,
		Name:      app.Name,
		Labels:    map[string]string{v1alpha1.AppLabel: app.Name, managedBy: workload.FieldManager},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp", Name: app.Name, UID: app.UID,
			Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
		}},
	}
}

// fields are what an apply speaks of: the object without status and without what is empty.
func fields(object runtime.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	if m, ok := content["metadata"].(map[string]any); ok {
		delete(m, "creationTimestamp")
	}
	unstructured.RemoveNestedField(content, "spec", "template", "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(content, "spec", "strategy")
	return &unstructured.Unstructured{Object: content}, nil
}

// apply makes an object as it should be, by server-side apply, unless it is known to be so. What others own in it, they keep.
func (r *Reconciler) apply(ctx context.Context, app *v1alpha1.HTTPApp, resource schema.GroupVersionResource, desired runtime.Object, known cache.Store) error {
	object, err := fields(desired)
	if err != nil {
		return err
	}
	return r.applyFields(ctx, app, resource, object, known, nil)
}

// applyDeployment is apply, for a Deployment: it is made with as many replicas as the app has at least, and its replicas are
// somebody else's from then on.
func (r *Reconciler) applyDeployment(ctx context.Context, app *v1alpha1.HTTPApp, desired *appsv1.Deployment) error {
	object, err := fields(desired)
	if err != nil {
		return err
	}
	least := int64(ptr.Deref(app.Spec.Scaling.MinReplicas, 0))
	create := func(o *unstructured.Unstructured) error {
		return unstructured.SetNestedField(o.Object, least, "spec", "replicas")
	}
	return r.applyFields(ctx, app, deployments, object, r.Deployments.GetStore(), create)
}

func (r *Reconciler) applyFields(ctx context.Context, app *v1alpha1.HTTPApp, resource schema.GroupVersionResource,
	object *unstructured.Unstructured, known cache.Store, create func(*unstructured.Unstructured) error) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	wanted := hex.EncodeToString(sum[:])
	name := object.GetName()
	key := appliedKey{resource, nameOf(app), name}

	if obj, there, err := known.GetByKey(app.Namespace + "/" + name); err == nil && there {
		m, err := meta.Accessor(obj)
		if err != nil {
			return err
		}
		if !owned(m, app) {
			return &takenError{object.GetKind(), name}
		}
		r.mu.Lock()
		state := r.applied[key]
		r.mu.Unlock()
		if state.desired == wanted && state.live == versionOf(m) {
			return nil
		}
	}
	client := r.Dynamic.Resource(resource).Namespace(app.Namespace)
	// The informer may be behind, or not show what is not ours.
	live, err := client.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		live = nil
		if create != nil {
			object = object.DeepCopy()
			if err := create(object); err != nil {
				return err
			}
		}
	case err != nil:
		return err
	case !owned(live, app):
		return &takenError{object.GetKind(), name}
	case create != nil:
		if err := r.handOverReplicas(ctx, resource, live); err != nil {
			return err
		}
	}
	applied, err := client.Apply(ctx, name, object, metav1.ApplyOptions{FieldManager: workload.FieldManager, Force: true})
	if err != nil {
		return err
	}
	if live == nil && create != nil {
		if err := r.handOverReplicas(ctx, resource, applied); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.applied[key] = appliedState{wanted, versionOf(applied), applied.GetUID(), applied.GetGeneration()}
	r.mu.Unlock()
	return nil
}

// versionOf changes whenever what is applied may have been changed, and not with the status where that can be told apart.
func versionOf(m metav1.Object) string {
	if digest := digestOfDeployment(m); digest != "" {
		return fmt.Sprintf("%s/%s", m.GetUID(), digest)
	}
	if generation := m.GetGeneration(); generation != 0 {
		return fmt.Sprintf("%s/%d", m.GetUID(), generation)
	}
	if spec := specOfHPA(m); spec != "" {
		return fmt.Sprintf("%s/%s", m.GetUID(), spec)
	}
	return fmt.Sprintf("%s/%s", m.GetUID(), m.GetResourceVersion())
}

// digestOfDeployment digests the spec of a Deployment but for its replicas: waking an app is no reason to apply all of it again.
func digestOfDeployment(m metav1.Object) string {
	switch o := m.(type) {
	case *appsv1.Deployment:
		return workload.DigestOf(o)
	case *unstructured.Unstructured:
		d := &appsv1.Deployment{}
		if o.GetKind() == "Deployment" && runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, d) == nil {
			return workload.Digest(d)
		}
	}
	return ""
}

// specOfHPA digests the spec of an HPA, which has no generation and whose status changes all the time.
func specOfHPA(m metav1.Object) string {
	var spec any
	switch o := m.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		// As it comes from the server, or the order of the fields would differ.
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&o.Spec)
		if err != nil {
			return ""
		}
		spec = content
	case *unstructured.Unstructured:
		if o.GetKind() != "HorizontalPodAutoscaler" {
			return ""
		}
		spec = o.Object["spec"]
	default:
		return ""
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// handOverReplicas gives the replicas to a manager of their own, if they are among what is applied here.
func (r *Reconciler) handOverReplicas(ctx context.Context, resource schema.GroupVersionResource, live *unstructured.Unstructured) error {
	if !appliesReplicas(live.GetManagedFields()) {
		return nil
	}
	replicas, _, err := unstructured.NestedInt64(live.Object, "spec", "replicas")
	if err != nil {
		return err
	}
	only := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": live.GetAPIVersion(),
		"kind":       live.GetKind(),
		"metadata":   map[string]any{"name": live.GetName(), "namespace": live.GetNamespace(), "uid": string(live.GetUID())},
		"spec":       map[string]any{"replicas": replicas},
	}}
	_, err = r.Dynamic.Resource(resource).Namespace(live.GetNamespace()).Apply(ctx, live.GetName(), only, metav1.ApplyOptions{FieldManager: replicasManager})
	if apierrors.IsConflict(err) {
		return nil // it was scaled meanwhile, so the replicas are somebody else's already
	}
	return err
}

func appliesReplicas(entries []metav1.ManagedFieldsEntry) bool {
	for _, e := range entries {
		if e.Manager != workload.FieldManager || e.Operation != metav1.ManagedFieldsOperationApply || e.FieldsV1 == nil {
			continue
		}
		var set fieldpath.Set
		if err := set.FromJSON(e.FieldsV1.GetRawReader()); err == nil && set.Has(fieldpath.MakePathOrDie("spec", "replicas")) {
			return true
		}
	}
	return false
}

// removeMade deletes an object of the app's name that was made for it, if there is one.
func (r *Reconciler) removeMade(ctx context.Context, app *v1alpha1.HTTPApp, resource schema.GroupVersionResource, known cache.Store) error {
	return r.removeNamed(ctx, app, resource, app.Name, known)
}

func (r *Reconciler) removeNamed(ctx context.Context, app *v1alpha1.HTTPApp, resource schema.GroupVersionResource, name string, known cache.Store) error {
	obj, there, err := known.GetByKey(app.Namespace + "/" + name)
	if err != nil || !there {
		return err
	}
	m, err := meta.Accessor(obj)
	if err != nil || !owned(m, app) {
		return err
	}
	err = r.Dynamic.Resource(resource).Namespace(app.Namespace).Delete(ctx, name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(m.GetUID()))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
