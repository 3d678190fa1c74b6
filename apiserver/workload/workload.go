// Package workload knows the workload behind an app: which it is, how many replicas it has, and how to change that.
package workload

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// FieldManager owns the fields of what is made for apps.
const FieldManager = "kedahttp"

// RefOf returns the workload of an app: the one that it adopts, or the Deployment that is made for it.
func RefOf(app *v1alpha1.HTTPApp) v1alpha1.WorkloadReference {
	if app.Spec.WorkloadRef != nil {
		return *app.Spec.WorkloadRef
	}
	return v1alpha1.WorkloadReference{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Name: app.Name}
}

// IsDeployment reports whether a workload is one that the Deployment informer knows.
func IsDeployment(ref v1alpha1.WorkloadReference) bool {
	return ref.Kind == "Deployment" && ref.APIVersion == appsv1.SchemeGroupVersion.String()
}

// IsLent reports whether the workload was there before the app, and is taken to zero by us: whoever takes away the last replica sees to
// it that it does not stay gone when the app goes. KEDA does that of what it scales.
func IsLent(app *v1alpha1.HTTPApp) bool {
	return app.Spec.WorkloadRef != nil && app.Spec.Scaling.Autoscaler == v1alpha1.AutoscalerHPA
}

// byWorkload is the index of apps by the workload that they adopt. Of the others the name says it: an index of thousands is no small thing.
const byWorkload = "workload"

// AddIndex lets AppsOf find the apps of an informer of apps. Calling it again does no harm.
func AddIndex(apps cache.SharedIndexInformer) error {
	if _, there := apps.GetIndexer().GetIndexers()[byWorkload]; there {
		return nil
	}
	return apps.AddIndexers(cache.Indexers{byWorkload: func(obj any) ([]string, error) {
		app, ok := obj.(*v1alpha1.HTTPApp)
		if !ok {
			return nil, fmt.Errorf("%T is no app", obj)
		}
		if app.Spec.WorkloadRef == nil {
			return nil, nil
		}
		return []string{indexKey(app.Namespace, RefOf(app))}, nil
	}})
}

// AppsOf returns the apps whose workload it is.
func AppsOf(apps cache.Indexer, namespace string, ref v1alpha1.WorkloadReference) []types.NamespacedName {
	found, err := apps.ByIndex(byWorkload, indexKey(namespace, ref))
	if err != nil {
		panic(fmt.Sprintf("AddIndex was not called: %v", err))
	}
	if made, there, err := apps.GetByKey(namespace + "/" + ref.Name); err == nil && there {
		if app, ok := made.(*v1alpha1.HTTPApp); ok && app.Spec.WorkloadRef == nil && RefOf(app) == ref {
			found = append(found, app)
		}
	}
	names := make([]types.NamespacedName, 0, len(found))
	for _, obj := range found {
		app := obj.(*v1alpha1.HTTPApp)
		names = append(names, types.NamespacedName{Namespace: app.Namespace, Name: app.Name})
	}
	return names
}

func indexKey(namespace string, ref v1alpha1.WorkloadReference) string {
	return namespace + "/" + ref.APIVersion + "/" + ref.Kind + "/" + ref.Name
}

// NewDeploymentInformer makes an informer of all Deployments, since any of them may be adopted or be in the way of one that
// is to be made. Of each it keeps what apps need and no more; it must not be used for anything else.
func NewDeploymentInformer(client kubernetes.Interface) (cache.SharedIndexInformer, error) {
	informer := appsinformers.NewDeploymentInformer(client, metav1.NamespaceAll, 0, cache.Indexers{})
	return informer, informer.SetTransform(func(obj any) (any, error) {
		d, ok := obj.(*appsv1.Deployment)
		if !ok {
			return obj, nil // a tombstone
		}
		return slim(d), nil
	})
}

// digestOf is the annotation, in the informer only, with the digest of what was left out of a Deployment. No Deployment has one of
// such a name.
const digestOf = "/digest"

// DigestOf returns the Digest of a Deployment of the informer.
func DigestOf(d *appsv1.Deployment) string { return d.Annotations[digestOf] }

// Digest tells apart what Deployments are to be, but for their replicas: scaling one changes its generation, but not this.
func Digest(d *appsv1.Deployment) string {
	spec := d.Spec
	spec.Replicas = nil
	text, err := json.Marshal(&spec)
	if err != nil {
		return fmt.Sprintf("generation %d", d.Generation) // there is no such spec
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// slim leaves out what is large and not looked at: most of the pod template. What an informer lists as it starts gets here twice.
func slim(d *appsv1.Deployment) *appsv1.Deployment {
	if DigestOf(d) != "" {
		return d
	}
	s := &appsv1.Deployment{
		ObjectMeta: SlimMeta(d.ObjectMeta),
		Spec:       appsv1.DeploymentSpec{Replicas: d.Spec.Replicas, Selector: d.Spec.Selector},
		Status:     d.Status,
	}
	s.Annotations = map[string]string{digestOf: Digest(d)}
	for _, c := range d.Spec.Template.Spec.Containers {
		s.Spec.Template.Spec.Containers = append(s.Spec.Template.Spec.Containers, corev1.Container{Name: c.Name, Ports: c.Ports})
	}
	return s
}

// SlimMeta leaves out what other managers say of an object.
func SlimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	s := metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID,
		ResourceVersion: m.ResourceVersion, Generation: m.Generation,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
		Labels: m.Labels, OwnerReferences: m.OwnerReferences,
	}
	for _, f := range m.ManagedFields {
		if f.Manager == FieldManager {
			s.ManagedFields = append(s.ManagedFields, f)
		}
	}
	return s
}
