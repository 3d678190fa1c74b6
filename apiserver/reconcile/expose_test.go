package reconcile

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// known are the owners of routes of whom nobody is told.
type known struct{ *routes.Index }

func (known) Subscribe(func(types.NamespacedName)) (end func()) { return func() {} }
func (known) HasSynced() bool                                   { return true }

// exposing is a reconciler that knows some classes, "*" before the name of the default one.
func exposing(t *testing.T, classes ...string) *Reconciler {
	t.Helper()
	r := &Reconciler{Config: Config{
		Owners:             known{routes.NewIndex()},
		InterceptorService: types.NamespacedName{Namespace: "system", Name: "interceptor"}, ClusterDomain: "cluster.local",
	}}
	r.exposure.classes = networkinginformers.NewIngressClassInformer(nil, 0, cache.Indexers{})
	for i, name := range classes {
		name, byDefault := strings.CutPrefix(name, "*")
		class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(int64(i), 0)}}
		if byDefault {
			class.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
		}
		if err := r.exposure.classes.GetStore().Add(class); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func exposed() *v1alpha1.HTTPApp {
	return &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "1", CreationTimestamp: metav1.Unix(10, 0)},
		Spec: v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{
			{Hosts: []string{"a.test", "*.b.test"}, PathPrefix: "/"},
			{Hosts: []string{"a.test"}, PathPrefix: "/api/"},
			{Hosts: []string{"a.test"}, PathPrefix: "/", Headers: []v1alpha1.HeaderMatch{{Name: "X-Beta", Value: "1"}}},
		}},
	}
}

func TestAnIngressLeadsTheHostsAndPathsThatAreTheAppsToTheInterceptors(t *testing.T) {
	r, app := exposing(t), exposed()
	r.Owners.(known).Set(&v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "older", CreationTimestamp: metav1.Unix(1, 0)},
		Spec:       v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{{Hosts: []string{"*.b.test"}}}},
	})
	r.Owners.(known).Set(app)
	ingress := ingressOf(app, &v1alpha1.ExposeIngress{TLSSecretName: "cert", Annotations: map[string]string{"a": "b"}}, "nginx", r.entriesOf(app))
	if len(ingress.Spec.Rules) != 1 || ingress.Spec.Rules[0].Host != "a.test" {
		t.Fatalf("its rules are %v, and *.b.test is another's", ingress.Spec.Rules)
	}
	var paths []string
	for _, p := range ingress.Spec.Rules[0].HTTP.Paths {
		paths = append(paths, p.Path)
		if *p.PathType != networkingv1.PathTypePrefix || p.Backend.Service.Name != "kedahttp-web" || p.Backend.Service.Port.Number != 80 {
			t.Errorf("path %s leads to %v", p.Path, p.Backend.Service)
		}
	}
	if !slices.Equal(paths, []string{"/", "/api"}) {
		t.Errorf("the paths are %v", paths)
	}
	if tls := ingress.Spec.TLS; len(tls) != 1 || tls[0].SecretName != "cert" || !slices.Equal(tls[0].Hosts, []string{"a.test"}) {
		t.Errorf("TLS is %v", tls)
	}
	if *ingress.Spec.IngressClassName != "nginx" || ingress.Annotations["a"] != "b" || !owned(ingress, app) || ingress.Labels[v1alpha1.AppLabel] != "web" {
		t.Errorf("it is %v", ingress)
	}
	if backend := r.backend(app); backend.Spec.ExternalName != "interceptor.system.svc.cluster.local" || backend.Name != "kedahttp-web" || !owned(backend, app) {
		t.Errorf("its backend is %v", backend)
	}
}

func TestAnIngressIsOfTheClassThatIsAskedForOrThatItHasOrTheDefault(t *testing.T) {
	having := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: ptr.To("was")}}
	legacy := v1alpha1.ExposeIngress{Annotations: map[string]string{legacyClass: "x"}}
	for name, c := range map[string]struct {
		classes []string
		wanted  v1alpha1.ExposeIngress
		live    *networkingv1.Ingress
		class   string
		status  metav1.ConditionStatus
		says    string
	}{
		"asked for":             {[]string{"a", "*b"}, v1alpha1.ExposeIngress{ClassName: "a"}, having, "a", metav1.ConditionTrue, "of class a"},
		"the default":           {[]string{"a", "*b"}, v1alpha1.ExposeIngress{}, nil, "b", metav1.ConditionTrue, "of class b"},
		"the newest default":    {[]string{"*a", "*b", "c"}, v1alpha1.ExposeIngress{}, nil, "b", metav1.ConditionTrue, "of class b"},
		"what it has":           {[]string{"was", "*b"}, v1alpha1.ExposeIngress{}, having, "was", metav1.ConditionTrue, "of class was"},
		"no default":            {[]string{"b", "a"}, v1alpha1.ExposeIngress{}, nil, "", metav1.ConditionFalse, "the cluster has a, b"},
		"mistyped":              {[]string{"nginx"}, v1alpha1.ExposeIngress{ClassName: "ngnix"}, nil, "ngnix", metav1.ConditionFalse, "no IngressClass ngnix"},
		"no controller":         {nil, v1alpha1.ExposeIngress{}, nil, "", metav1.ConditionFalse, "install an Ingress controller"},
		"said by an annotation": {[]string{"*b"}, legacy, nil, "", metav1.ConditionTrue, "leads the app's hosts"},
	} {
		t.Run(name, func(t *testing.T) {
			r := exposing(t, c.classes...)
			class := r.ingressClass(&c.wanted, c.live)
			got := r.ingressCondition(&c.wanted, class, c.live)
			if class != c.class || got.status != c.status || !strings.Contains(got.message, c.says) {
				t.Errorf("class %q, %s: %s", class, got.status, got.message)
			}
		})
	}
}

func TestAnHTTPRouteLeadsFromItsGatewaysToTheInterceptors(t *testing.T) {
	r, app := exposing(t), exposed()
	r.Owners.(known).Set(app)
	route := r.httpRoute(app, &v1alpha1.ExposeHTTPRoute{ParentRefs: []v1alpha1.GatewayReference{
		{Name: "own"}, {Namespace: "gateways", Name: "public", SectionName: "web", Port: 80},
	}}, r.entriesOf(app))
	for _, c := range []struct {
		want any
		at   []string
	}{
		{"web", []string{"metadata", "name"}},
		{[]any{"a.test", "*.b.test"}, []string{"spec", "hostnames"}},
		{[]any{
			map[string]any{"group": gatewayGroup, "kind": "Gateway", "namespace": "shop", "name": "own"},
			map[string]any{"group": gatewayGroup, "kind": "Gateway", "namespace": "gateways", "name": "public", "sectionName": "web", "port": int64(80)},
		}, []string{"spec", "parentRefs"}},
		{[]any{map[string]any{
			"matches":     []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/"}}},
			"backendRefs": []any{map[string]any{"group": "", "kind": "Service", "name": "interceptor", "namespace": "system", "port": int64(80)}},
		}}, []string{"spec", "rules"}},
	} {
		if got, _, _ := unstructured.NestedFieldNoCopy(route.Object, c.at...); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v is %v, not %v", c.at, got, c.want)
		}
	}
	if !owned(route, app) {
		t.Error("it would stay when the app is deleted")
	}
}

func TestWhatGatewaysSayOfTheHTTPRouteIsPassedOn(t *testing.T) {
	wanted := []v1alpha1.GatewayReference{{Name: "one"}, {Namespace: "gateways", Name: "two"}}
	says := func(namespace, name string, generation int64, kind, status string) any {
		return map[string]any{"parentRef": map[string]any{"namespace": namespace, "name": name}, "controllerName": "c", "conditions": []any{map[string]any{
			"type": kind, "status": status, "reason": "Because", "message": "of something", "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z",
		}}}
	}
	one, two := says("shop", "one", 2, "Accepted", "True"), says("gateways", "two", 2, "Accepted", "True")
	for name, c := range map[string]struct {
		parents []any
		status  metav1.ConditionStatus
		says    string
	}{
		"nobody has":      {nil, metav1.ConditionUnknown, "shop/one"},
		"one of two":      {[]any{one}, metav1.ConditionUnknown, "gateways/two"},
		"all":             {[]any{one, two}, metav1.ConditionTrue, "shop/one, gateways/two"},
		"an earlier one":  {[]any{one, says("gateways", "two", 1, "Accepted", "True")}, metav1.ConditionUnknown, "gateways/two"},
		"refused":         {[]any{one, says("gateways", "two", 2, "Accepted", "False")}, metav1.ConditionFalse, "gateways/two says of the HTTPRoute: of something"},
		"its backend not": {[]any{one, two, says("gateways", "two", 2, "ResolvedRefs", "False")}, metav1.ConditionFalse, "of something"},
	} {
		t.Run(name, func(t *testing.T) {
			route := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"generation": int64(2)}, "status": map[string]any{"parents": c.parents}}}
			got := httpRouteCondition(route, "shop", wanted)
			if got.status != c.status || !strings.Contains(got.message, c.says) {
				t.Errorf("%s: %s", got.status, got.message)
			}
		})
	}
}

func TestWithoutTheGatewayAPIAnHTTPRouteIsNotMadeAndItIsSaid(t *testing.T) {
	r, app := exposing(t), exposed()
	r.exposure = newExposure(r.Config, nil)
	c, err := r.reconcileHTTPRoute(t.Context(), app, &v1alpha1.ExposeHTTPRoute{}, nil)
	if err != nil || c == nil || c.reason != "GatewayAPINotInstalled" {
		t.Errorf("%v, %v", c, err)
	}
}

func TestOfTwoWaysInTheWorseIsTold(t *testing.T) {
	const kind = v1alpha1.ConditionExposed
	good, bad, new := yes(kind, "A", "a"), no(kind, "B", "b"), notYet(kind, "C", "c")
	for _, c := range []struct {
		a, b *condition
		want string
	}{{nil, nil, ""}, {&good, nil, "a"}, {nil, &bad, "b"}, {&good, &bad, "b"}, {&new, &bad, "b"}, {&new, &good, "c"}, {&good, &good, "a; a"}} {
		got := ""
		if both := both(c.a, c.b); both != nil {
			got = both.message
		}
		if got != c.want {
			t.Errorf("%q, not %q", got, c.want)
		}
	}
}

func TestTheURLOfAnExposedAppIsThatOfWhatExposesIt(t *testing.T) {
	r, app := &Reconciler{Config: Config{PublicPort: 8080, PublicTLSPort: 8443}}, exposed()
	for want, expose := range map[string]*v1alpha1.Expose{
		"http://a.test:8080": nil,
		"http://a.test":      {Ingress: &v1alpha1.ExposeIngress{}},
		"https://a.test":     {Ingress: &v1alpha1.ExposeIngress{TLSSecretName: "cert"}},
	} {
		app.Spec.Expose = expose
		if got := r.url(app, false); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}
