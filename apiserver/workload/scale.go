package workload

import (
	"context"
	"fmt"
	"strings"
	"sync"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Scales reads and writes the scale subresource of workloads of any kind.
type Scales struct {
	client    dynamic.Interface
	discovery discovery.ServerResourcesInterface

	mu sync.Mutex
	// resources are the kinds that were found. What was not found is looked for again each time: its definition may come.
	resources map[schema.GroupVersionKind]schema.GroupVersionResource
}

// NewScales makes a Scales. Kubernetes' own kinds are known without asking discovery, so that waking an app does not wait
// for it.
func NewScales(client dynamic.Interface, discovery discovery.ServerResourcesInterface) *Scales {
	apps := schema.GroupVersion{Group: "apps", Version: "v1"}
	return &Scales{client: client, discovery: discovery, resources: map[schema.GroupVersionKind]schema.GroupVersionResource{
		apps.WithKind("Deployment"):  apps.WithResource("deployments"),
		apps.WithKind("StatefulSet"): apps.WithResource("statefulsets"),
		apps.WithKind("ReplicaSet"):  apps.WithResource("replicasets"),
	}}
}

// NoScaleError says that a kind cannot be scaled.
type NoScaleError struct {
	Ref v1alpha1.WorkloadReference
	Why string
}

func (e *NoScaleError) Error() string {
	return fmt.Sprintf("%s %s cannot be scaled: %s", e.Ref.Kind, e.Ref.Name, e.Why)
}

// Get returns the scale of a workload.
func (s *Scales) Get(ctx context.Context, namespace string, ref v1alpha1.WorkloadReference) (*autoscalingv1.Scale, error) {
	resource, err := s.Resource(ref)
	if err != nil {
		return nil, err
	}
	obj, err := s.client.Resource(resource).Namespace(namespace).Get(ctx, ref.Name, metav1.GetOptions{}, "scale")
	if err != nil {
		return nil, err
	}
	return asScale(obj)
}

// Update writes the scale of a workload, on the conditions that its uid and resourceVersion set.
func (s *Scales) Update(ctx context.Context, namespace string, ref v1alpha1.WorkloadReference, scale *autoscalingv1.Scale, opts metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	resource, err := s.Resource(ref)
	if err != nil {
		return nil, err
	}
	scale = scale.DeepCopy()
	scale.TypeMeta = metav1.TypeMeta{APIVersion: autoscalingv1.SchemeGroupVersion.String(), Kind: "Scale"}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(scale)
	if err != nil {
		return nil, err
	}
	obj, err := s.client.Resource(resource).Namespace(namespace).Update(ctx, &unstructured.Unstructured{Object: content}, opts, "scale")
	if err != nil {
		return nil, err
	}
	return asScale(obj)
}

func asScale(obj *unstructured.Unstructured) (*autoscalingv1.Scale, error) {
	scale := &autoscalingv1.Scale{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, scale); err != nil {
		return nil, fmt.Errorf("the answer is no scale: %w", err)
	}
	return scale, nil
}

// Resource returns the resource of a workload's kind.
func (s *Scales) Resource(ref v1alpha1.WorkloadReference) (schema.GroupVersionResource, error) {
	version, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return schema.GroupVersionResource{}, &NoScaleError{ref, fmt.Sprintf("%q is no API version", ref.APIVersion)}
	}
	kind := version.WithKind(ref.Kind)
	s.mu.Lock()
	resource, known := s.resources[kind]
	s.mu.Unlock()
	if known {
		return resource, nil
	}
	list, err := s.discovery.ServerResourcesForGroupVersion(ref.APIVersion)
	if apierrors.IsNotFound(err) {
		return schema.GroupVersionResource{}, &NoScaleError{ref, fmt.Sprintf("the cluster does not serve %s", ref.APIVersion)}
	}
	if err != nil {
		return schema.GroupVersionResource{}, fmt.Errorf("discovery of %s: %w", ref.APIVersion, err)
	}
	scalable := map[string]bool{}
	for _, r := range list.APIResources {
		if name, ok := strings.CutSuffix(r.Name, "/scale"); ok {
			scalable[name] = true
		}
	}
	for _, r := range list.APIResources {
		if r.Kind != ref.Kind || strings.Contains(r.Name, "/") {
			continue
		}
		if !scalable[r.Name] {
			return schema.GroupVersionResource{}, &NoScaleError{ref, fmt.Sprintf("%s of %s has no scale subresource", r.Name, ref.APIVersion)}
		}
		resource = version.WithResource(r.Name)
		s.mu.Lock()
		s.resources[kind] = resource
		s.mu.Unlock()
		return resource, nil
	}
	return schema.GroupVersionResource{}, &NoScaleError{ref, fmt.Sprintf("%s has no kind %s", ref.APIVersion, ref.Kind)}
}
