package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// byManifests selects what the manifests have made. What the API server makes itself, for apps too, says that it manages it, as Helm does.
const byManifests = "app.kubernetes.io/part-of=kedahttp,!app.kubernetes.io/managed-by,!" + v1alpha1.AppLabel

// prunable are the kinds of what versions have installed or may have. CustomResourceDefinitions are not among them, since the apps would
// go with them, nor are Namespaces.
var prunable = []schema.GroupKind{
	{Kind: "ConfigMap"},
	{Kind: "Service"},
	{Kind: "ServiceAccount"},
	{Group: "apps", Kind: "Deployment"},
	{Group: "apps", Kind: "DaemonSet"},
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"},
	{Group: "apiregistration.k8s.io", Kind: "APIService"},
	{Group: "batch", Kind: "Job"},
	{Group: "cert-manager.io", Kind: "Certificate"},
	{Group: "cert-manager.io", Kind: "Issuer"},
	{Group: "keda.sh", Kind: "ScaledObject"},
	{Group: "monitoring.coreos.com", Kind: "PodMonitor"},
	{Group: "monitoring.coreos.com", Kind: "PrometheusRule"},
	{Group: "monitoring.coreos.com", Kind: "ServiceMonitor"},
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"},
	{Group: "policy", Kind: "PodDisruptionBudget"},
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"},
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"},
	{Group: "rbac.authorization.k8s.io", Kind: "Role"},
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"},
}

// leftBehind finds what an earlier version has installed, by this plugin, and this one does not have any more. It looks into those
// namespaces only that it installs something into.
func (i *installer) leftBehind(ctx context.Context, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	wanted, namespaces := sets.New[string](), sets.New[string]()
	key := func(o *unstructured.Unstructured) string {
		return o.GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
	}
	for _, o := range objects {
		wanted.Insert(key(o))
		if o.GetNamespace() != "" {
			namespaces.Insert(o.GetNamespace())
		}
	}
	var left []*unstructured.Unstructured
	for _, kind := range prunable {
		mapping, err := i.mapper.RESTMapping(kind)
		if meta.IsNoMatchError(err) {
			continue // nobody can have made one
		}
		if err != nil {
			return nil, err
		}
		in := []string{metav1.NamespaceNone}
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			in = sets.List(namespaces)
		}
		for _, namespace := range in {
			list, err := i.client.Resource(mapping.Resource).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: byManifests})
			if apierrors.IsNotFound(err) {
				continue // the kind went meanwhile
			}
			if err != nil {
				return nil, err
			}
			for n := range list.Items {
				if o := &list.Items[n]; !wanted.Has(key(o)) && appliedByPlugin(o) {
					left = append(left, o)
				}
			}
		}
	}
	return left, nil
}

func appliedByPlugin(o *unstructured.Unstructured) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == fieldManager && f.Operation == metav1.ManagedFieldsOperationApply
	})
}

// refuseRemoval names what an upgrade would remove.
func refuseRemoval(left []*unstructured.Unstructured) error {
	if len(left) == 0 {
		return nil
	}
	var names []string
	for _, o := range left {
		name := describeObject(o)
		if o.GetNamespace() != "" {
			name += " in namespace " + o.GetNamespace()
		}
		names = append(names, name)
	}
	return fmt.Errorf("an earlier version has installed these, and this one does not have them:\n  %s\nKeep them: -k with the kustomization that has them. Remove them: --yes",
		strings.Join(names, "\n  "))
}
