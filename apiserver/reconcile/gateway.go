package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

const gatewayGroup = "gateway.networking.k8s.io"

var (
	httpRoutes      = schema.GroupVersionResource{Group: gatewayGroup, Version: "v1", Resource: "httproutes"}
	referenceGrants = schema.GroupVersionResource{Group: gatewayGroup, Version: "v1beta1", Resource: "referencegrants"}
)

const managedBy = "app.kubernetes.io/managed-by"

// reconcileHTTPRoute makes the HTTPRoute and lets it lead to the interceptors, or takes it away when none is wanted.
func (r *Reconciler) reconcileHTTPRoute(ctx context.Context, app *v1alpha1.HTTPApp, wanted *v1alpha1.ExposeHTTPRoute, entries []entry) (*condition, error) {
	const kind = v1alpha1.ConditionExposed
	if !r.exposure.gateways.Load() {
		if wanted == nil {
			return nil, nil // nothing was made
		}
		c := no(kind, "GatewayAPINotInstalled", fmt.Sprintf(
			"the cluster does not serve HTTPRoutes of %s: install the Gateway API and what implements it, or set spec.expose.ingress instead", httpRoutes.GroupVersion()))
		return &c, nil
	}
	if wanted == nil {
		if err := r.removeMade(ctx, app, httpRoutes, r.exposure.httpRoutes.GetStore()); err != nil {
			return nil, err
		}
		return nil, r.releaseGrant(ctx, app.Namespace)
	}
	err := r.grant(ctx, app.Namespace)
	if err == nil {
		err = r.applyFields(ctx, app, httpRoutes, r.httpRoute(app, wanted, entries), r.exposure.httpRoutes.GetStore(), nil)
	}
	if apierrors.IsNotFound(err) {
		// It was taken away again.
		c := no(kind, "GatewayAPINotInstalled", "an HTTPRoute or the ReferenceGrant for it cannot be made: "+err.Error())
		return &c, err
	}
	if err != nil {
		c := no(kind, reasonOf(err), err.Error())
		return &c, retry(err)
	}
	obj, there, err := r.exposure.httpRoutes.GetStore().GetByKey(nameOf(app).String())
	if err != nil || !there {
		c := notYet(kind, "Creating", "the HTTPRoute is being made")
		return &c, err
	}
	c := httpRouteCondition(obj.(*unstructured.Unstructured), app.Namespace, wanted.ParentRefs)
	return &c, nil
}

// httpRoute leads all hosts and paths of the app to the interceptors: each path of one host is one of the others', too, which is for the
// interceptors to tell apart.
func (r *Reconciler) httpRoute(app *v1alpha1.HTTPApp, wanted *v1alpha1.ExposeHTTPRoute, entries []entry) *unstructured.Unstructured {
	meta := made(app)
	meta.Annotations = wanted.Annotations
	metadata, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&meta)
	if err != nil {
		panic(err) // it is made of strings
	}
	delete(metadata, "creationTimestamp")
	var hosts, parents, matches []any
	var paths []string
	for _, e := range entries {
		hosts = append(hosts, e.host)
		for _, path := range e.paths {
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	if slices.Contains(paths, "/") {
		paths = []string{"/"}
	}
	for _, path := range paths {
		matches = append(matches, map[string]any{"path": map[string]any{"type": "PathPrefix", "value": path}})
	}
	for _, ref := range wanted.ParentRefs {
		parent := map[string]any{"group": gatewayGroup, "kind": "Gateway", "name": ref.Name, "namespace": cmp.Or(ref.Namespace, app.Namespace)}
		if ref.SectionName != "" {
			parent["sectionName"] = ref.SectionName
		}
		if ref.Port != 0 {
			parent["port"] = int64(ref.Port)
		}
		parents = append(parents, parent)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": httpRoutes.GroupVersion().String(),
		"kind":       "HTTPRoute",
		"metadata":   metadata,
		"spec": map[string]any{
			"parentRefs": parents,
			"hostnames":  hosts,
			"rules": []any{map[string]any{
				"matches": matches,
				"backendRefs": []any{map[string]any{
					"group": "", "kind": "Service", "name": r.InterceptorService.Name, "namespace": r.InterceptorService.Namespace, "port": int64(interceptorPort),
				}},
			}},
		},
	}}
}

// httpRouteCondition passes on what Gateways say of the HTTPRoute.
func httpRouteCondition(route *unstructured.Unstructured, namespace string, wanted []v1alpha1.GatewayReference) condition {
	const kind = v1alpha1.ConditionExposed
	var status struct {
		Parents []struct {
			ParentRef struct {
				Namespace   *string `json:"namespace"`
				Name        string  `json:"name"`
				SectionName string  `json:"sectionName"`
				Port        int32   `json:"port"`
			} `json:"parentRef"`
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"parents"`
	}
	content, _, _ := unstructured.NestedMap(route.Object, "status")
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &status); err != nil {
		return notYet(kind, "NotAccepted", "what Gateways say of the HTTPRoute cannot be read: "+err.Error())
	}
	var names []string
	for _, ref := range wanted {
		in := cmp.Or(ref.Namespace, namespace)
		name := in + "/" + ref.Name
		names = append(names, name)
		taken := false
		for _, parent := range status.Parents {
			p := parent.ParentRef
			if p.Name != ref.Name || p.Namespace != nil && *p.Namespace != in || p.SectionName != ref.SectionName || p.Port != ref.Port {
				continue
			}
			for _, c := range parent.Conditions {
				if c.ObservedGeneration < route.GetGeneration() {
					continue // it speaks of an earlier one
				}
				if c.Status == metav1.ConditionFalse && (c.Type == "Accepted" || c.Type == "ResolvedRefs") {
					return no(kind, cmp.Or(c.Reason, "NotAccepted"), fmt.Sprintf("Gateway %s says of the HTTPRoute: %s", name, cmp.Or(c.Message, c.Reason)))
				}
				taken = taken || c.Type == "Accepted" && c.Status == metav1.ConditionTrue
			}
		}
		if !taken {
			return notYet(kind, "NotAccepted", fmt.Sprintf(
				"Gateway %s has not taken the HTTPRoute yet: see whether it is there, and whether its listeners allow routes of namespace %s", name, namespace))
		}
	}
	return yes(kind, "HTTPRouteAccepted", "an HTTPRoute leads the app's hosts from Gateway "+strings.Join(names, ", ")+" to the interceptors")
}

// grantName is the name of the ReferenceGrant for the HTTPRoutes of a namespace.
func grantName(namespace string) string { return "kedahttp-httproutes-" + namespace }

// grant lets the HTTPRoutes of a namespace lead to the interceptors' Service. It goes with that Service.
func (r *Reconciler) grant(ctx context.Context, namespace string) error {
	at := r.InterceptorService
	if _, there, err := r.exposure.grants.GetStore().GetByKey(at.Namespace + "/" + grantName(namespace)); err != nil || there {
		return err
	}
	service, err := r.Client.CoreV1().Services(at.Namespace).Get(ctx, at.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	grant := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": referenceGrants.GroupVersion().String(),
		"kind":       "ReferenceGrant",
		"metadata": map[string]any{
			"name": grantName(namespace), "namespace": at.Namespace,
			"labels":          map[string]any{managedBy: workload.FieldManager},
			"ownerReferences": []any{map[string]any{"apiVersion": "v1", "kind": "Service", "name": at.Name, "uid": string(service.UID)}},
		},
		"spec": map[string]any{
			"from": []any{map[string]any{"group": gatewayGroup, "kind": "HTTPRoute", "namespace": namespace}},
			"to":   []any{map[string]any{"group": "", "kind": "Service", "name": at.Name}},
		},
	}}
	_, err = r.Dynamic.Resource(referenceGrants).Namespace(at.Namespace).Apply(ctx, grant.GetName(), grant, metav1.ApplyOptions{FieldManager: workload.FieldManager, Force: true})
	return err
}

// releaseGrant takes the right of grant back when no app of the namespace needs it any more.
func (r *Reconciler) releaseGrant(ctx context.Context, namespace string) error {
	at := r.InterceptorService.Namespace
	if _, there, err := r.exposure.grants.GetStore().GetByKey(at + "/" + grantName(namespace)); err != nil || !there {
		return err
	}
	for _, obj := range r.Apps.GetStore().List() {
		app := obj.(*v1alpha1.HTTPApp)
		if app.Namespace == namespace && app.Spec.Expose != nil && app.Spec.Expose.HTTPRoute != nil {
			return nil
		}
	}
	err := r.Dynamic.Resource(referenceGrants).Namespace(at).Delete(ctx, grantName(namespace), metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// grantChanged looks at the apps that need a grant, or whether there are none any more.
func (r *Reconciler) grantChanged(obj any) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	namespace, ours := strings.CutPrefix(u.GetName(), grantName(""))
	if !ours {
		return
	}
	r.enqueue(types.NamespacedName{Namespace: namespace}) // no app has this name
	for _, obj := range r.Apps.GetStore().List() {
		app := obj.(*v1alpha1.HTTPApp)
		if app.Namespace == namespace && app.Spec.Expose != nil && app.Spec.Expose.HTTPRoute != nil {
			r.enqueue(nameOf(app))
		}
	}
}
