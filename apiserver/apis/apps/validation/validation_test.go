package validation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// good returns an app with nothing wrong, with something done to it.
func good(change func(*v1alpha1.HTTPApp)) *v1alpha1.HTTPApp {
	app := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "shop"},
		Spec: v1alpha1.HTTPAppSpec{
			Template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{
				{Name: "app", Image: "shop", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}},
			}}},
			Routes: []v1alpha1.Route{{Hosts: []string{"shop.example.com"}, PathPrefix: "/"}},
		},
	}
	v1alpha1.SetObjectDefaults_HTTPApp(app)
	if change != nil {
		change(app)
	}
	return app
}

func adopting(change func(*v1alpha1.HTTPApp)) *v1alpha1.HTTPApp {
	return good(func(a *v1alpha1.HTTPApp) {
		a.Spec.Template = nil
		a.Spec.WorkloadRef = &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db.front"}
		if change != nil {
			change(a)
		}
	})
}

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func expose(e v1alpha1.Expose) func(*v1alpha1.HTTPApp) {
	return func(a *v1alpha1.HTTPApp) { a.Spec.Expose = &e }
}

func gateways(refs ...v1alpha1.GatewayReference) func(*v1alpha1.HTTPApp) {
	return expose(v1alpha1.Expose{HTTPRoute: &v1alpha1.ExposeHTTPRoute{ParentRefs: refs}})
}

func TestGoodAppsAreAccepted(t *testing.T) {
	for name, app := range map[string]*v1alpha1.HTTPApp{
		"made from a template": good(nil),
		"adopting":             adopting(nil),
		"a port by name":       good(func(a *v1alpha1.HTTPApp) { a.Spec.Port = ptr.To(intstr.FromString("web")) }),
		"a port by number":     good(func(a *v1alpha1.HTTPApp) { a.Spec.Port = ptr.To(intstr.FromInt32(8080)) }),
		"a number that no container speaks of": good(func(a *v1alpha1.HTTPApp) {
			a.Spec.Template.Spec.Containers[0].Ports = nil
			a.Spec.Port = ptr.To(intstr.FromInt32(3000))
		}),
		"a port name of an adopted workload": adopting(func(a *v1alpha1.HTTPApp) { a.Spec.Port = ptr.To(intstr.FromString("web")) }),
		"a wildcard": good(func(a *v1alpha1.HTTPApp) {
			a.Spec.Routes[0].Hosts = []string{"*.example.com", "example.com", "localhost"}
		}),
		"two prefixes of one host": good(func(a *v1alpha1.HTTPApp) {
			a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{Hosts: []string{"shop.example.com"}, PathPrefix: "/api/v1"})
		}),
		"one host twice, told apart by a header": good(func(a *v1alpha1.HTTPApp) {
			a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{Hosts: []string{"shop.example.com"}, PathPrefix: "/", Headers: []v1alpha1.HeaderMatch{{Name: "X-Beta", Value: "1"}}})
		}),
		"a fixed response": good(func(a *v1alpha1.HTTPApp) {
			a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{Hosts: []string{"shop.example.com"}, PathPrefix: "/old", Static: &v1alpha1.StaticResponse{
				StatusCode: 301, Headers: []v1alpha1.ResponseHeader{{Name: "location", Value: "https://shop.example.com/new"}}, Body: "moved",
			}})
		}),
		"always at least one":  good(func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.MinReplicas = ptr.To[int32](1) }),
		"a fraction as target": good(func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Target = ptr.To(resource.MustParse("500m")) }),
		"not woken by requests": good(func(a *v1alpha1.HTTPApp) {
			a.Spec.Scaling.Autoscaler, a.Spec.Scaling.Activation = v1alpha1.AutoscalerNone, v1alpha1.ActivationNever
		}),
		"woken by requests":    good(func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Activation = v1alpha1.ActivationRequests }),
		"asked each second":    good(func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.PollingInterval = duration(time.Second) }),
		"no cooldown":          good(func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Cooldown = duration(0) }),
		"restartPolicy Always": good(func(a *v1alpha1.HTTPApp) { a.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways }),
		"the app's own label":  good(func(a *v1alpha1.HTTPApp) { a.Spec.Template.Labels = map[string]string{v1alpha1.AppLabel: "shop"} }),
		"a digit first, a Service given": good(func(a *v1alpha1.HTTPApp) {
			a.Name, a.Spec.ServiceName = "1shop", "shop"
		}),
		"exposed by an Ingress of the default class": good(expose(v1alpha1.Expose{Ingress: &v1alpha1.ExposeIngress{}})),
		"exposed by two listeners of a Gateway":      good(gateways(v1alpha1.GatewayReference{Name: "g", SectionName: "a"}, v1alpha1.GatewayReference{Name: "g", SectionName: "b"})),
		"the longest name":                           good(func(a *v1alpha1.HTTPApp) { a.Name = strings.Repeat("x", 63) }),
	} {
		if errs := ValidateHTTPApp(app); len(errs) > 0 {
			t.Errorf("%s: %v", name, errs.ToAggregate())
		}
	}
}

func TestBadAppsAreRefusedWithTheFieldAndWhatWouldBeRight(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.HTTPApp)
		path   string
		says   string
	}{
		"nothing to run":     {func(a *v1alpha1.HTTPApp) { a.Spec.Template = nil }, "spec", "template and workloadRef"},
		"two things to run":  {func(a *v1alpha1.HTTPApp) { a.Spec.WorkloadRef = adopting(nil).Spec.WorkloadRef }, "spec", "exclude each other"},
		"a name with a dot":  {func(a *v1alpha1.HTTPApp) { a.Name = "a.b" }, "metadata.name", "must not contain dots"},
		"a name in capitals": {func(a *v1alpha1.HTTPApp) { a.Name = "Shop" }, "metadata.name", "lower case"},
		"a name too long":    {func(a *v1alpha1.HTTPApp) { a.Name = strings.Repeat("x", 64) }, "metadata.name", "63"},
		"a digit first":      {func(a *v1alpha1.HTTPApp) { a.Name = "1shop" }, "metadata.name", "must begin with a letter"},
		"no container":       {func(a *v1alpha1.HTTPApp) { a.Spec.Template.Spec.Containers = nil }, "spec.template.spec.containers", "at least one container"},
		"no image":           {func(a *v1alpha1.HTTPApp) { a.Spec.Template.Spec.Containers[0].Image = "" }, "spec.template.spec.containers[0].image", "needs an image"},
		"no container name":  {func(a *v1alpha1.HTTPApp) { a.Spec.Template.Spec.Containers[0].Name = "" }, "spec.template.spec.containers[0].name", "needs a name"},
		"two containers of one name": {func(a *v1alpha1.HTTPApp) {
			a.Spec.Template.Spec.Containers = append(a.Spec.Template.Spec.Containers, a.Spec.Template.Spec.Containers[0])
		}, "spec.template.spec.containers[1].name", "Duplicate"},
		"pods that end":              {func(a *v1alpha1.HTTPApp) { a.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever }, "spec.template.spec.restartPolicy", `"Always"`},
		"another app's label":        {func(a *v1alpha1.HTTPApp) { a.Spec.Template.Labels = map[string]string{v1alpha1.AppLabel: "other"} }, "spec.template.metadata.labels[" + v1alpha1.AppLabel + "]", `"shop"`},
		"a port name it has not":     {func(a *v1alpha1.HTTPApp) { a.Spec.Port = ptr.To(intstr.FromString("metrics")) }, "spec.port", "it has web (8080)"},
		"a port number it has not":   {func(a *v1alpha1.HTTPApp) { a.Spec.Port = ptr.To(intstr.FromInt32(9090)) }, "spec.port", "it has web (8080)"},
		"a port number out of range": {func(a *v1alpha1.HTTPApp) { a.Spec.Port = ptr.To(intstr.FromInt32(70000)) }, "spec.port", "from 1 to 65535"},
		"a port name that is none":   {func(a *v1alpha1.HTTPApp) { a.Spec.Port = ptr.To(intstr.FromString("Web Port")) }, "spec.port", "port number or a port name"},
		"a port name where none are named": {func(a *v1alpha1.HTTPApp) {
			a.Spec.Template.Spec.Containers[0].Ports = nil
			a.Spec.Port = ptr.To(intstr.FromString("web"))
		}, "spec.port", "names no ports"},
		"an unknown activation":      {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Activation = "requests" }, "spec.scaling.activation", `"Never"`},
		"put to sleep and not woken": {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Activation = v1alpha1.ActivationNever }, "spec.scaling.activation", "unless autoscaler is None"},
		"asked all the time":         {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.PollingInterval = duration(time.Millisecond) }, "spec.scaling.pollingInterval", "from 1s to 1h"},
		"an unknown protocol":        {func(a *v1alpha1.HTTPApp) { a.Spec.Protocol = "spdy" }, "spec.protocol", `"http1"`},

		"a fixed response without a status there is": {static(v1alpha1.StaticResponse{StatusCode: 101}), "spec.routes[0].static.statusCode", "from 200 to 599"},
		"a fixed response too long":                  {static(v1alpha1.StaticResponse{Body: strings.Repeat("x", 64<<10+1)}), "spec.routes[0].static.body", "65536"},
		"too much of them": {func(a *v1alpha1.HTTPApp) {
			for i := range 5 {
				a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{Hosts: []string{"shop.example.com"}, PathPrefix: fmt.Sprint("/", i), Static: &v1alpha1.StaticResponse{Body: strings.Repeat("x", 60<<10)}})
			}
		}, "spec.routes", "262144 bytes together"},
		"a length of its own":            {static(v1alpha1.StaticResponse{Headers: []v1alpha1.ResponseHeader{{Name: "content-length", Value: "3"}}}), "spec.routes[0].static.headers[0].name", "set by the server"},
		"a response header twice":        {static(v1alpha1.StaticResponse{Headers: []v1alpha1.ResponseHeader{{Name: "A", Value: "1"}, {Name: "a", Value: "2"}}}), "spec.routes[0].static.headers[1].name", "Duplicate"},
		"a response header without name": {static(v1alpha1.StaticResponse{Headers: []v1alpha1.ResponseHeader{{Value: "1"}}}), "spec.routes[0].static.headers[0].name", "header"},
		"two headers in one":             {static(v1alpha1.StaticResponse{Headers: []v1alpha1.ResponseHeader{{Name: "A", Value: "1\r\nB: 2"}}}), "spec.routes[0].static.headers[0].value", "one line"},

		"exposed by nothing":         {expose(v1alpha1.Expose{}), "spec.expose", "one of ingress and httpRoute"},
		"a class that is no name":    {expose(v1alpha1.Expose{Ingress: &v1alpha1.ExposeIngress{ClassName: "a b"}}), "spec.expose.ingress.className", "lowercase"},
		"two classes":                {expose(v1alpha1.Expose{Ingress: &v1alpha1.ExposeIngress{ClassName: "a", Annotations: map[string]string{legacyIngressClass: "b"}}}), "spec.expose.ingress.annotations[" + legacyIngressClass + "]", "left out"},
		"an annotation that is none": {expose(v1alpha1.Expose{Ingress: &v1alpha1.ExposeIngress{Annotations: map[string]string{"a b": "c"}}}), "spec.expose.ingress.annotations", "name part"},
		"a Secret that is no name":   {expose(v1alpha1.Expose{Ingress: &v1alpha1.ExposeIngress{TLSSecretName: "A"}}), "spec.expose.ingress.tlsSecretName", "lowercase"},
		"no Gateway":                 {gateways(), "spec.expose.httpRoute.parentRefs", "at least one Gateway"},
		"a nameless Gateway":         {gateways(v1alpha1.GatewayReference{}), "spec.expose.httpRoute.parentRefs[0].name", "a name"},
		"a Gateway twice":            {gateways(v1alpha1.GatewayReference{Name: "g"}, v1alpha1.GatewayReference{Name: "g"}), "spec.expose.httpRoute.parentRefs[1]", "Duplicate"},
		"a Gateway and its listener": {gateways(v1alpha1.GatewayReference{Name: "g"}, v1alpha1.GatewayReference{Name: "g", SectionName: "a"}), "spec.expose.httpRoute.parentRefs[1]", "both must say"},
		"a port that no Gateway has": {gateways(v1alpha1.GatewayReference{Name: "g", Port: 70000}), "spec.expose.httpRoute.parentRefs[0].port", "from 1 to 65535"},
		"more hosts than an HTTPRoute": {func(a *v1alpha1.HTTPApp) {
			gateways(v1alpha1.GatewayReference{Name: "g"})(a)
			for i := range 16 {
				a.Spec.Routes[0].Hosts = append(a.Spec.Routes[0].Hosts, fmt.Sprintf("h%d.example.com", i))
			}
		}, "spec.expose.httpRoute", "have 17: use a wildcard"},

		"a host with a scheme":     {host("http://a.com"), "spec.routes[0].hosts[0]", "without a scheme"},
		"a host with a port":       {host("a.com:80"), "spec.routes[0].hosts[0]", "without a port"},
		"a host with a path":       {host("a.com/x"), "spec.routes[0].hosts[0]", "pathPrefix"},
		"an IP address":            {host("10.0.0.1"), "spec.routes[0].hosts[0]", "not an IP address"},
		"an IPv6 address":          {host("[::1]"), "spec.routes[0].hosts[0]", "not an IP address"},
		"an underscore":            {host("under_score.example.com"), "spec.routes[0].hosts[0]", "DNS name"},
		"capitals":                 {host("Shop.example.com"), "spec.routes[0].hosts[0]", `"shop.example.com"`},
		"a dot at the end":         {host("a.com."), "spec.routes[0].hosts[0]", "end with a dot"},
		"an empty host":            {host(""), "spec.routes[0].hosts[0]", "such as shop.example.com"},
		"a wildcard in the middle": {host("a.*.com"), "spec.routes[0].hosts[0]", "*.example.com"},
		"a wildcard in a label":    {host("x*.com"), "spec.routes[0].hosts[0]", "*.example.com"},
		"only a wildcard":          {host("*"), "spec.routes[0].hosts[0]", "*.example.com"},
		"a label too long":         {host(strings.Repeat("x", 64) + ".com"), "spec.routes[0].hosts[0]", "63"},
		"a host too long":          {host(strings.Repeat("abcdefghi.", 26) + "com"), "spec.routes[0].hosts[0]", "253"},
		"no host":                  {func(a *v1alpha1.HTTPApp) { a.Spec.Routes[0].Hosts = nil }, "spec.routes[0].hosts", "at least one host"},
		"a host twice":             {func(a *v1alpha1.HTTPApp) { a.Spec.Routes[0].Hosts = []string{"a.com", "b.com", "a.com"} }, "spec.routes[0].hosts[2]", "Duplicate"},
		"a route twice": {func(a *v1alpha1.HTTPApp) {
			a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{Hosts: []string{"shop.example.com"}})
		}, "spec.routes[1].hosts[0]", "Duplicate"},
		"a prefix without a slash":   {prefix("api"), "spec.routes[0].pathPrefix", "begin with /"},
		"a query in the prefix":      {prefix("/a?b"), "spec.routes[0].pathPrefix", "query"},
		"a dot segment":              {prefix("/a/../b"), "spec.routes[0].pathPrefix", ".."},
		"an empty segment":           {prefix("/a//b"), "spec.routes[0].pathPrefix", "//"},
		"a header without a name":    {headers(v1alpha1.HeaderMatch{Value: "x"}), "spec.routes[0].headers[0].name", "name of the header"},
		"a header name that is none": {headers(v1alpha1.HeaderMatch{Name: "a b"}), "spec.routes[0].headers[0].name", "HTTP header"},
		"a header twice":             {headers(v1alpha1.HeaderMatch{Name: "x-a"}, v1alpha1.HeaderMatch{Name: "X-A"}), "spec.routes[0].headers[1].name", "Duplicate"},

		"a negative min":        {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.MinReplicas = ptr.To[int32](-1) }, "spec.scaling.minReplicas", "greater than or equal to 0"},
		"no max":                {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.MaxReplicas = ptr.To[int32](0) }, "spec.scaling.maxReplicas", "1 or more"},
		"min over max":          {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.MinReplicas = ptr.To[int32](11) }, "spec.scaling.minReplicas", "maxReplicas, which is 10"},
		"a target of zero":      {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Target = ptr.To(resource.MustParse("0")) }, "spec.scaling.target", "more than 0"},
		"a window too short":    {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Window = duration(time.Millisecond) }, "spec.scaling.window", "1s to 10m"},
		"a window too long":     {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Window = duration(time.Hour) }, "spec.scaling.window", "1s to 10m"},
		"a negative cooldown":   {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Cooldown = duration(-1) }, "spec.scaling.cooldown", "0s or more"},
		"an unknown metric":     {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Metric = "cpu" }, "spec.scaling.metric", `"concurrency"`},
		"an unknown autoscaler": {func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Autoscaler = "VPA" }, "spec.scaling.autoscaler", `"KEDA"`},
		"a scaling rule out of bounds": {func(a *v1alpha1.HTTPApp) {
			a.Spec.Scaling.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](9999)}}
		}, "spec.scaling.behavior.scaleDown.stabilizationWindowSeconds", "3600"},

		"a negative queue":   {func(a *v1alpha1.HTTPApp) { a.Spec.Queue.MaxPending = ptr.To[int32](-1) }, "spec.queue.maxPending", "greater than or equal to 0"},
		"a negative wait":    {func(a *v1alpha1.HTTPApp) { a.Spec.Queue.MaxWait = duration(-1) }, "spec.queue.maxWait", "0s or more"},
		"a negative limit":   {func(a *v1alpha1.HTTPApp) { a.Spec.ConcurrencyLimit = -1 }, "spec.concurrencyLimit", "greater than or equal to 0"},
		"a negative timeout": {func(a *v1alpha1.HTTPApp) { a.Spec.Timeouts.Request = duration(-1) }, "spec.timeouts.request", "0s or more"},
		"a fallback to nothing": {func(a *v1alpha1.HTTPApp) {
			a.Spec.ColdStart = &v1alpha1.ColdStart{Fallback: &v1alpha1.FallbackService{Port: 80}}
		}, "spec.coldStart.fallback.serviceName", "Required"},
		"a placeholder of a status that is none": {func(a *v1alpha1.HTTPApp) {
			a.Spec.ColdStart = &v1alpha1.ColdStart{Placeholder: &v1alpha1.Placeholder{StatusCode: 99}}
		}, "spec.coldStart.placeholder.statusCode", "200 to 599"},
		"a secret without a name": {func(a *v1alpha1.HTTPApp) { a.Spec.TLS = &v1alpha1.TLS{} }, "spec.tls.secretName", "Required"},
	} {
		t.Run(name, func(t *testing.T) {
			errs := ValidateHTTPApp(good(c.change))
			for _, err := range errs {
				if err.Field == c.path && strings.Contains(err.Error(), c.says) {
					return
				}
			}
			t.Errorf("no error at %s says %q; there is: %v", c.path, c.says, errs)
		})
	}
}

func host(h string) func(*v1alpha1.HTTPApp) {
	return func(a *v1alpha1.HTTPApp) { a.Spec.Routes[0].Hosts = []string{h} }
}

func prefix(p string) func(*v1alpha1.HTTPApp) {
	return func(a *v1alpha1.HTTPApp) { a.Spec.Routes[0].PathPrefix = p }
}

func headers(h ...v1alpha1.HeaderMatch) func(*v1alpha1.HTTPApp) {
	return func(a *v1alpha1.HTTPApp) { a.Spec.Routes[0].Headers = h }
}

func TestAWorkloadReferenceMustNameOneThatCanBeAdopted(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(*v1alpha1.WorkloadReference)
		path, says string
	}{
		"no version":        {func(r *v1alpha1.WorkloadReference) { r.APIVersion = "" }, "apiVersion", "apps/v1"},
		"a version of none": {func(r *v1alpha1.WorkloadReference) { r.APIVersion = "a/b/c" }, "apiVersion", "apps/v1"},
		"an app":            {func(r *v1alpha1.WorkloadReference) { r.APIVersion = v1alpha1.SchemeGroupVersion.String() }, "apiVersion", "workload of an app"},
		"no kind":           {func(r *v1alpha1.WorkloadReference) { r.Kind = "" }, "kind", "Deployment"},
		"no name":           {func(r *v1alpha1.WorkloadReference) { r.Name = "" }, "name", "name of the workload"},
		"a name of none":    {func(r *v1alpha1.WorkloadReference) { r.Name = "a/b" }, "name", "subdomain"},
	} {
		errs := ValidateHTTPApp(adopting(func(a *v1alpha1.HTTPApp) { c.change(a.Spec.WorkloadRef) }))
		if len(errs) != 1 || errs[0].Field != "spec.workloadRef."+c.path || !strings.Contains(errs[0].Error(), c.says) {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestAnAppDoesNotTurnFromMadeToAdoptingOrBack(t *testing.T) {
	made, adopts := good(nil), adopting(nil)
	made.ResourceVersion, adopts.ResourceVersion = "1", "1"
	for path, pair := range map[string][2]*v1alpha1.HTTPApp{"spec.workloadRef": {adopts, made}, "spec.template": {made, adopts}} {
		errs := ValidateHTTPAppUpdate(pair[0], pair[1])
		if len(errs) != 1 || errs[0].Field != path || !strings.Contains(errs[0].Detail, "delete it and create it again") {
			t.Errorf("%s: %v", path, errs)
		}
	}
	if errs := ValidateHTTPAppUpdate(made, made); len(errs) > 0 {
		t.Errorf("without a change: %v", errs)
	}
}

func TestAStatusMustHaveConditionsThatCanBeRead(t *testing.T) {
	old := good(func(a *v1alpha1.HTTPApp) { a.ResourceVersion = "1" })
	app := old.DeepCopy()
	app.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Fine", LastTransitionTime: metav1.Now()}}
	if errs := ValidateHTTPAppStatusUpdate(app, old); len(errs) > 0 {
		t.Errorf("a good status: %v", errs)
	}
	app.Status.Conditions[0].Status = "Perhaps"
	app.Status.Replicas = -1
	if errs := ValidateHTTPAppStatusUpdate(app, old); len(errs) != 2 {
		t.Errorf("a bad status: %v", errs)
	}
}

func static(s v1alpha1.StaticResponse) func(*v1alpha1.HTTPApp) {
	return func(a *v1alpha1.HTTPApp) { a.Spec.Routes[0].Static = &s }
}
