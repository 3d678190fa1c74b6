package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Kinds are those that become apps, and Others those that say something of them.
var (
	Kinds = []schema.GroupKind{
		{Group: "http.keda.sh", Kind: "HTTPScaledObject"}, {Group: "http.keda.sh", Kind: "InterceptorRoute"}, {Group: "serving.knative.dev", Kind: "Service"},
	}
	Others = []schema.GroupKind{
		{Group: "keda.sh", Kind: "ScaledObject"}, {Group: "serving.knative.dev", Kind: "DomainMapping"}, {Kind: "Service"},
	}
)

// KindOf is the kind, in lower case, that somebody calls by its name, its plural or its short name.
func KindOf(name string) (kind string, ok bool) {
	switch name {
	case "httpscaledobject", "httpscaledobjects", "httpso":
		return "httpscaledobject", true
	case "interceptorroute", "interceptorroutes":
		return "interceptorroute", true
	case "ksvc", "kservice", "service.serving.knative.dev", "services.serving.knative.dev":
		return "service", true
	}
	return name, false
}

// Result is what became of an object.
type Result struct {
	// Of the object.
	Kind, Namespace, Name string
	// App is nil when none can be made.
	App *v1alpha1.HTTPApp
	// Notes say what does not translate, is otherwise than it was, or has to be done by hand.
	Notes []string
}

// world is all that was read.
type world struct {
	scaledObjects, domains []*unstructured.Unstructured
	services               map[[2]string]*corev1.Service
}

// Apps translates all objects that are apps. Those that only say something of others are looked at with them; all else is ignored.
func Apps(objects []*unstructured.Unstructured) ([]Result, error) {
	w := world{services: map[[2]string]*corev1.Service{}}
	for _, o := range objects {
		switch o.GroupVersionKind().GroupKind() {
		case Others[0]:
			w.scaledObjects = append(w.scaledObjects, o)
		case Others[1]:
			w.domains = append(w.domains, o)
		case Others[2]:
			service := &corev1.Service{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, service); err != nil {
				return nil, fmt.Errorf("service %s/%s: %w", o.GetNamespace(), o.GetName(), err)
			}
			w.services[[2]string{service.Namespace, service.Name}] = service
		}
	}
	var results []Result
	for _, o := range objects {
		var translate func(*source, *v1alpha1.HTTPApp) bool
		switch o.GroupVersionKind().GroupKind() {
		case Kinds[0]:
			translate = w.httpScaledObject
		case Kinds[1]:
			translate = w.interceptorRoute
		case Kinds[2]:
			translate = w.knativeService
		default:
			continue
		}
		r := Result{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
		app := &v1alpha1.HTTPApp{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp"},
			ObjectMeta: metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), Labels: labels(o.GetLabels())},
		}
		if translate(sourceOf(o, &r.Notes), app) {
			r.App = app
		}
		results = append(results, r)
	}
	slices.SortStableFunc(results, func(a, b Result) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return results, nil
}

// labels are those that somebody has given the object.
func labels(all map[string]string) map[string]string {
	its := map[string]string{}
	for key, value := range all {
		switch domain, _, _ := strings.Cut(key, "/"); {
		case strings.HasSuffix(domain, "knative.dev"), strings.HasSuffix(domain, "keda.sh"), key == "app.kubernetes.io/managed-by":
		default:
			its[key] = value
		}
	}
	if len(its) == 0 {
		return nil
	}
	return its
}

// port finds which port of the pods is meant by one of a Service. It is nil when the app need not say it.
func (w *world) port(s *source, name string) *intstr.IntOrString {
	number, _ := s.number("port")
	portName := s.text("portName")
	service := w.services[[2]string{s.object.GetNamespace(), name}]
	switch {
	case service == nil:
		s.note("Service %s was not read: if it has more than one port, spec.port has to name the one of the pods", name)
		return nil
	case len(service.Spec.Ports) == 1:
		return nil
	}
	for _, p := range service.Spec.Ports {
		if p.Port == number || portName != "" && p.Name == portName {
			if p.TargetPort == (intstr.IntOrString{}) {
				return &intstr.IntOrString{IntVal: p.Port}
			}
			return &p.TargetPort
		}
	}
	s.note("Service %s has no port %s: spec.port has to name the one of the pods", name, cmp.Or(portName, fmt.Sprint(number)))
	return nil
}

// fallback reads a Service that answers while there is no pod.
func (w *world) fallback(s *source, name string) *v1alpha1.FallbackService {
	number, _ := s.number("port")
	if portName := s.text("portName"); portName != "" {
		service := w.services[[2]string{s.object.GetNamespace(), name}]
		if service != nil {
			for _, p := range service.Spec.Ports {
				if p.Name == portName {
					number = p.Port
				}
			}
		}
		if number == 0 {
			s.note("the number of the fallback Service %s's port %s is not known: spec.coldStart.fallback.port has to be written", name, portName)
		}
	}
	return &v1alpha1.FallbackService{ServiceName: name, Port: number}
}

// routes are all the combinations of hosts, paths and headers.
func (s *source) routes(hosts, paths []string, headers []*source) (routes []v1alpha1.Route) {
	var known []string
	for _, host := range hosts {
		if host == "" || host == "*" {
			s.note("not translated: a route for every host; name the hosts in spec.routes")
			continue
		}
		known = append(known, strings.ToLower(host))
	}
	var matches []v1alpha1.HeaderMatch
	for _, h := range headers {
		name, value := h.text("name"), h.take("value")
		text, ok := value.(string)
		if !ok {
			s.note("not translated: a route for requests that have the header %s, whatever its value; spec.routes takes headers with values", name)
			return nil
		}
		matches = append(matches, v1alpha1.HeaderMatch{Name: name, Value: text})
	}
	if len(known) == 0 {
		return nil
	}
	if len(paths) == 0 {
		paths = []string{""}
	}
	for _, path := range paths {
		if path == "/" {
			path = ""
		} else if path != "" {
			path = "/" + strings.Trim(path, "/")
		}
		routes = append(routes, v1alpha1.Route{Hosts: known, PathPrefix: path, Headers: matches})
	}
	return routes
}
