package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic/dynamicinformer"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

var ingresses = networkingv1.SchemeGroupVersion.WithResource("ingresses")

// interceptorPort is the port of the interceptors' Service.
const interceptorPort = 80

// exposure is what is known of what lets apps in from outside.
type exposure struct {
	ingresses, classes cache.SharedIndexInformer
	// httpRoutes and grants run when the Gateway API is served; gateways says that they know what there is.
	httpRoutes, grants cache.SharedIndexInformer
	gateways           *atomic.Bool
}

func newExposure(config Config, ours func(*metav1.ListOptions)) exposure {
	granted := func(o *metav1.ListOptions) { o.LabelSelector = managedBy + "=" + workload.FieldManager }
	return exposure{
		ingresses:  networkinginformers.NewFilteredIngressInformer(config.Client, metav1.NamespaceAll, 0, cache.Indexers{}, ours),
		classes:    networkinginformers.NewIngressClassInformer(config.Client, 0, cache.Indexers{}),
		httpRoutes: dynamicinformer.NewFilteredDynamicInformer(config.Dynamic, httpRoutes, metav1.NamespaceAll, 0, cache.Indexers{}, ours).Informer(),
		grants:     dynamicinformer.NewFilteredDynamicInformer(config.Dynamic, referenceGrants, config.InterceptorService.Namespace, 0, cache.Indexers{}, granted).Informer(),
		gateways:   &atomic.Bool{},
	}
}

// entry is a host and what of its paths is the app's.
type entry struct {
	host  string
	paths []string
}

// entriesOf are the hosts and paths that the app owns, in the order of its routes. Which headers requests need is for interceptors to see.
func (r *Reconciler) entriesOf(app *v1alpha1.HTTPApp) []entry {
	lost := map[routes.Key]bool{}
	for _, c := range r.Owners.Conflicts(nameOf(app)) {
		lost[c.Key] = true
	}
	return entriesOf(app, lost)
}

func entriesOf(app *v1alpha1.HTTPApp, lost map[routes.Key]bool) []entry {
	var entries []entry
	for _, key := range routes.Keys(app) {
		if lost[key] {
			continue
		}
		at := slices.IndexFunc(entries, func(e entry) bool { return e.host == key.Host })
		if at < 0 {
			at, entries = len(entries), append(entries, entry{host: key.Host})
		}
		if path := cmp.Or(key.PathPrefix, "/"); !slices.Contains(entries[at].paths, path) {
			entries[at].paths = append(entries[at].paths, path)
		}
	}
	return entries
}

func hostsIn(entries []entry) []string {
	var hosts []string
	for _, e := range entries {
		hosts = append(hosts, e.host)
	}
	return hosts
}

// reconcileExposure makes the Ingress and the HTTPRoute that the app asks for, and takes away what it does not ask for any more. Without
// spec.expose there is no condition.
func (r *Reconciler) reconcileExposure(ctx context.Context, app *v1alpha1.HTTPApp) (*condition, error) {
	expose := ptr.Deref(app.Spec.Expose, v1alpha1.Expose{})
	entries := r.entriesOf(app)
	if app.Spec.Expose != nil && len(entries) == 0 {
		// An Ingress or an HTTPRoute without hosts would be for all of them.
		expose = v1alpha1.Expose{}
	}
	byIngress, ingressErr := r.reconcileIngress(ctx, app, expose.Ingress, entries)
	byRoute, routeErr := r.reconcileHTTPRoute(ctx, app, expose.HTTPRoute, entries)
	err := errors.Join(ingressErr, routeErr)
	if app.Spec.Expose != nil && len(entries) == 0 {
		c := no(v1alpha1.ConditionExposed, "NoHosts", "the app owns none of its routes, so there is nothing to let in")
		return &c, err
	}
	return both(byIngress, byRoute), err
}

// both is the worse of two conditions, or what both say when neither is worse.
func both(a, b *condition) *condition {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	for _, status := range []metav1.ConditionStatus{metav1.ConditionFalse, metav1.ConditionUnknown} {
		for _, c := range []*condition{a, b} {
			if c.status == status {
				return c
			}
		}
	}
	c := *a
	c.message += "; " + b.message
	return &c
}

// backendName is the name of the Service that an Ingress leads to, since that has to be in its namespace.
func backendName(app *v1alpha1.HTTPApp) string { return v1alpha1.ExposeServiceName(app.Name) }

// reconcileIngress makes the Ingress and the Service behind it, or takes them away when none is wanted.
func (r *Reconciler) reconcileIngress(ctx context.Context, app *v1alpha1.HTTPApp, wanted *v1alpha1.ExposeIngress, entries []entry) (*condition, error) {
	const kind = v1alpha1.ConditionExposed
	if wanted == nil {
		return nil, errors.Join(
			r.removeMade(ctx, app, ingresses, r.exposure.ingresses.GetStore()),
			r.removeNamed(ctx, app, services, backendName(app), r.services.GetStore()))
	}
	var live *networkingv1.Ingress
	if obj, there, err := r.exposure.ingresses.GetStore().GetByKey(nameOf(app).String()); err != nil {
		return nil, err
	} else if there {
		live = obj.(*networkingv1.Ingress)
	}
	class := r.ingressClass(wanted, live)
	err := r.apply(ctx, app, services, r.backend(app), r.services.GetStore())
	if err == nil {
		err = r.apply(ctx, app, ingresses, ingressOf(app, wanted, class, entries), r.exposure.ingresses.GetStore())
	}
	if err != nil {
		c := no(kind, reasonOf(err), err.Error())
		return &c, retry(err)
	}
	c := r.ingressCondition(wanted, class, live)
	return &c, nil
}

// backend is the Service of an Ingress: another name of the interceptors' Service, so that nothing has to be kept up to date.
func (r *Reconciler) backend(app *v1alpha1.HTTPApp) *corev1.Service {
	service := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: made(app),
		Spec: corev1.ServiceSpec{
			Type:         corev1.ServiceTypeExternalName,
			ExternalName: fmt.Sprintf("%s.%s.svc.%s", r.InterceptorService.Name, r.InterceptorService.Namespace, r.ClusterDomain),
			Ports:        []corev1.ServicePort{{Name: "http", Port: interceptorPort, Protocol: corev1.ProtocolTCP}},
		},
	}
	service.Name = backendName(app)
	return service
}

// legacyClass is how the class of an Ingress was said before there was a field for it.
const legacyClass = "kubernetes.io/ingress.class"

// ingressClass is the class that is asked for, or else the one that the Ingress has, or else the cluster's default. It is empty when an
// annotation says it.
func (r *Reconciler) ingressClass(wanted *v1alpha1.ExposeIngress, live *networkingv1.Ingress) string {
	switch {
	case wanted.ClassName != "" || wanted.Annotations[legacyClass] != "":
		return wanted.ClassName
	case live != nil && live.Spec.IngressClassName != nil:
		return *live.Spec.IngressClassName
	}
	var newest *networkingv1.IngressClass
	for _, obj := range r.exposure.classes.GetStore().List() {
		// Of several the host's admission takes the newest.
		class := obj.(*networkingv1.IngressClass)
		if class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" &&
			(newest == nil || newest.CreationTimestamp.Before(&class.CreationTimestamp)) {
			newest = class
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Name
}

func ingressOf(app *v1alpha1.HTTPApp, wanted *v1alpha1.ExposeIngress, class string, entries []entry) *networkingv1.Ingress {
	ingress := &networkingv1.Ingress{
		TypeMeta:   metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "Ingress"},
		ObjectMeta: made(app),
	}
	ingress.Annotations = wanted.Annotations
	if class != "" {
		ingress.Spec.IngressClassName = &class
	}
	if wanted.TLSSecretName != "" {
		ingress.Spec.TLS = []networkingv1.IngressTLS{{Hosts: hostsIn(entries), SecretName: wanted.TLSSecretName}}
	}
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
		Name: backendName(app), Port: networkingv1.ServiceBackendPort{Number: interceptorPort},
	}}
	for _, e := range entries {
		rule := networkingv1.IngressRule{Host: e.host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{}}}
		for _, path := range e.paths {
			rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{
				Path: path, PathType: ptr.To(networkingv1.PathTypePrefix), Backend: backend,
			})
		}
		ingress.Spec.Rules = append(ingress.Spec.Rules, rule)
	}
	return ingress
}

// ingressCondition says what is known of who serves the Ingress. Not all controllers say that they do.
func (r *Reconciler) ingressCondition(wanted *v1alpha1.ExposeIngress, class string, live *networkingv1.Ingress) condition {
	const kind = v1alpha1.ConditionExposed
	var classes []string
	for _, obj := range r.exposure.classes.GetStore().List() {
		classes = append(classes, obj.(*networkingv1.IngressClass).Name)
	}
	slices.Sort(classes)
	has := "the cluster has no IngressClass: install an Ingress controller"
	if len(classes) > 0 {
		has = "the cluster has " + strings.Join(classes, ", ")
	}
	switch {
	case wanted.Annotations[legacyClass] != "":
	case class == "":
		return no(kind, "NoIngressClass", "the Ingress is nobody's, because no IngressClass is the default: name one in spec.expose.ingress.className; "+has)
	case !slices.Contains(classes, class):
		return no(kind, "IngressClassNotFound", fmt.Sprintf("the Ingress is nobody's, because there is no IngressClass %s: correct spec.expose.ingress.className; %s", class, has))
	}
	message := "an Ingress"
	if class != "" {
		message += " of class " + class
	}
	message += " leads the app's hosts to the interceptors"
	var at []string
	if live != nil {
		for _, a := range live.Status.LoadBalancer.Ingress {
			at = append(at, cmp.Or(a.Hostname, a.IP))
		}
	}
	if len(at) > 0 {
		message += ", at " + strings.Join(at, ", ")
	}
	return yes(kind, "IngressMade", message)
}

// ingressClassChanged looks at all apps that want an Ingress: there are few classes, and they hardly change.
func (r *Reconciler) ingressClassChanged(any) {
	for _, obj := range r.Apps.GetStore().List() {
		if app := obj.(*v1alpha1.HTTPApp); app.Spec.Expose != nil && app.Spec.Expose.Ingress != nil {
			r.enqueue(nameOf(app))
		}
	}
}
