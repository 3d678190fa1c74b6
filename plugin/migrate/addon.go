package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const (
	// mostReplicas is KEDA's default.
	mostReplicas = 100
	// fallbackAfter is how long the add-on waits for an app that has a fallback.
	fallbackAfter = 30 * time.Second
)

// httpScaledObject translates an HTTPScaledObject of http.keda.sh/v1alpha1.
func (w *world) httpScaledObject(s *source, app *v1alpha1.HTTPApp) bool {
	target, _ := s.part("scaleTargetRef")
	if !workload(target, app) {
		return false
	}
	app.Spec.ServiceName = target.text("service")
	app.Spec.Port = w.port(target, app.Spec.ServiceName)
	target.rest()
	app.Spec.Routes = s.routes(s.texts("hosts"), s.texts("pathPrefixes"), s.parts("headers"))

	replicas, _ := s.part("replicas")
	scaling := &app.Spec.Scaling
	replicas.bounds(scaling, "min", "max")
	replicas.rest()
	scaling.Cooldown = s.seconds("scaledownPeriod")
	if metric, ok := s.part("scalingMetric"); ok {
		metric.metric(scaling)
		s.drop("targetPendingRequests")
	} else if n, ok := s.number("targetPendingRequests"); ok {
		scaling.Target = resource.NewQuantity(int64(n), resource.DecimalSI)
	}
	timeouts, _ := s.part("timeouts")
	app.Spec.Queue.MaxWait = timeouts.duration("conditionWait")
	app.Spec.Timeouts.ResponseHeader = timeouts.duration("responseHeader")
	timeouts.rest()
	if other, ok := s.part("coldStartTimeoutFailoverRef"); ok {
		fallback := w.fallback(other, other.text("service"))
		fallback.After = cmp.Or(other.seconds("timeoutSeconds"), &metav1.Duration{Duration: fallbackAfter})
		cold(app).Fallback = fallback
		other.rest()
	}
	if page, ok := s.part("placeholderConfig"); ok {
		var enabled bool
		if page.into("enabled", &enabled) && enabled {
			p := &v1alpha1.Placeholder{Body: page.text("content")}
			p.StatusCode, _ = page.number("statusCode")
			page.contentType(p)
			cold(app).Placeholder = p
		}
		page.drop("content", "statusCode", "headers", "refreshInterval") // of one that is off, or the page's own
		page.rest()
	}
	s.because("initialCooldownPeriod", "an app that was never asked for anything sleeps from its first moment")
	s.because("scalingSet", "there is one set of interceptors")
	annotations := s.object.GetAnnotations()
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		switch {
		case key == "httpscaledobject.keda.sh/skip-scaledobject-creation" && annotations[key] == "true":
			scaling.Autoscaler = v1alpha1.AutoscalerNone
			s.note("its ScaledObject is your own: give that %s", trigger(app))
		case strings.HasPrefix(key, "httpscaledobject.keda.sh/"):
			s.note("not translated: the annotation %s", key)
		}
	}
	s.note("delete the HTTPScaledObject before the app is made: its ScaledObject scales the workload, and two would fight over it")
	s.rest()
	return true
}

// trigger is how a ScaledObject of the user's own takes part in what scales an app.
func trigger(app *v1alpha1.HTTPApp) string {
	return fmt.Sprintf("a trigger of type external-push with the metadata httpApp: %s and scalerAddress: kedahttp-scaler.kedahttp-system.svc:9090", app.Name)
}

// workload reads what is scaled.
func workload(s *source, app *v1alpha1.HTTPApp) bool {
	name := s.text("name")
	if name == "" {
		s.note("nothing is made of it: %s.name does not say what is scaled", s.at)
		return false
	}
	app.Spec.WorkloadRef = &v1alpha1.WorkloadReference{
		APIVersion: cmp.Or(s.text("apiVersion"), "apps/v1"), Kind: cmp.Or(s.text("kind"), "Deployment"), Name: name,
	}
	return true
}

func cold(app *v1alpha1.HTTPApp) *v1alpha1.ColdStart {
	if app.Spec.ColdStart == nil {
		app.Spec.ColdStart = &v1alpha1.ColdStart{}
	}
	return app.Spec.ColdStart
}

// bounds reads how many replicas there may be. KEDA's default for the most is not that of an app.
func (s *source) bounds(scaling *v1alpha1.Scaling, least, most string) {
	if n, ok := s.number(least); ok {
		scaling.MinReplicas = &n
	}
	scaling.MaxReplicas = ptr.To[int32](mostReplicas)
	if n, ok := s.number(most); ok {
		scaling.MaxReplicas = &n
	}
}

// metric reads what is scaled by.
func (s *source) metric(scaling *v1alpha1.Scaling) {
	concurrency, there := s.part("concurrency")
	rate, also := s.part("requestRate")
	of := concurrency
	switch {
	case there && also:
		s.note("not translated: %s; an app follows one metric, which is the concurrency", rate.at)
	case also:
		of, scaling.Metric = rate, v1alpha1.MetricRequestRate
		scaling.Window = rate.duration("window")
		rate.drop("granularity") // rates are exact
	case !there:
		return
	}
	if n, ok := of.number("targetValue"); ok {
		scaling.Target = resource.NewQuantity(int64(n), resource.DecimalSI)
	}
	of.rest()
	s.rest()
}

// contentType reads the headers of a placeholder, of which an app has one.
func (s *source) contentType(p *v1alpha1.Placeholder) {
	var headers map[string]string
	s.into("headers", &headers)
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if strings.EqualFold(name, "Content-Type") {
			p.ContentType = headers[name]
		} else {
			s.note("not translated: %s.headers.%s; a placeholder's one header is its Content-Type", s.at, name)
		}
	}
}

// interceptorRoute translates an InterceptorRoute of http.keda.sh/v1beta1 and the ScaledObject that refers to it.
func (w *world) interceptorRoute(s *source, app *v1alpha1.HTTPApp) bool {
	scaled, its := w.scaledBy(s)
	if scaled == nil {
		s.note("nothing is made of it: none of the ScaledObjects that were read has a trigger for it, and so says what is scaled")
		return false
	}
	if !w.scaledObject(scaled, its, app) {
		return false
	}
	target, _ := s.part("target")
	app.Spec.ServiceName = target.text("service")
	app.Spec.Port = w.port(target, app.Spec.ServiceName)
	target.rest()

	for _, rule := range s.parts("rules") {
		app.Spec.Routes = append(app.Spec.Routes, rule.rule(nil)...)
	}
	hosts := hostsOf(app.Spec.Routes)
	for _, static := range s.parts("staticRoutes") {
		if mode := static.text("responseMode"); mode != "Always" {
			s.note("not translated: %s, a response only while the app has no pod; spec.coldStart.placeholder is for all of its requests", static.at)
			continue
		}
		response, _ := static.part("response")
		fixed := response.static()
		for _, rule := range static.parts("rules") {
			for _, route := range rule.rule(hosts) {
				route.Static = fixed
				app.Spec.Routes = append(app.Spec.Routes, route)
			}
		}
		static.rest()
	}
	if metric, ok := s.part("scalingMetric"); ok {
		metric.metric(&app.Spec.Scaling)
	}

	timeouts, _ := s.part("timeouts")
	readiness := timeouts.duration("readiness")
	if app.Spec.Timeouts.Request = timeouts.duration("request"); app.Spec.Timeouts.Request != nil {
		s.note("otherwise than before: %s.request ends when the response begins; what flows is ended by spec.timeouts.idle alone", timeouts.at)
	}
	app.Spec.Timeouts.ResponseHeader = timeouts.duration("responseHeader")
	timeouts.rest()
	start, _ := s.part("coldStart")
	if fallback, ok := start.part("fallback"); ok {
		service, _ := fallback.part("service")
		f := w.fallback(service, service.text("name"))
		if f.After = readiness; readiness == nil || readiness.Duration == 0 {
			f.After = &metav1.Duration{Duration: fallbackAfter}
		}
		cold(app).Fallback = f
		service.rest()
		fallback.rest()
	} else if readiness != nil && readiness.Duration > 0 {
		app.Spec.Queue.MaxWait = readiness
	}
	if page, ok := start.part("placeholder"); ok {
		response, _ := page.part("response")
		p := &v1alpha1.Placeholder{Body: response.text("body")}
		p.StatusCode, _ = response.number("statusCode")
		response.contentType(p)
		response.because("bodyFromConfigMap", "the body is in the app")
		response.rest()
		page.rest()
		cold(app).Placeholder = p
	}
	if n, ok := start.number("maxPendingRequests"); ok {
		app.Spec.Queue.MaxPending = &n
	}
	if start.text("overflow") == "Placeholder" {
		s.note("not translated: %s.overflow; requests beyond spec.queue.maxPending get 503 with Retry-After", start.at)
	}
	start.rest()
	s.rest()
	return true
}

// rule reads what requests a route is for. A rule without hosts is for those that are given.
func (s *source) rule(hosts []string) []v1alpha1.Route {
	var paths []string
	for _, p := range s.parts("paths") {
		paths = append(paths, p.text("value"))
		p.rest()
	}
	its := s.texts("hosts")
	switch {
	case len(its) > 0:
		hosts = its
	case len(hosts) == 0:
		hosts = []string{"*"}
	}
	routes := s.routes(hosts, paths, s.parts("headers"))
	s.rest()
	return routes
}

func hostsOf(routes []v1alpha1.Route) (hosts []string) {
	seen := map[string]bool{}
	for _, route := range routes {
		for _, host := range route.Hosts {
			if !seen[host] {
				seen[host] = true
				hosts = append(hosts, host)
			}
		}
	}
	return hosts
}

// static reads a fixed response.
func (s *source) static() *v1alpha1.StaticResponse {
	response := &v1alpha1.StaticResponse{Body: s.text("body")}
	response.StatusCode, _ = s.number("statusCode")
	var headers map[string]string
	s.into("headers", &headers)
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		response.Headers = append(response.Headers, v1alpha1.ResponseHeader{Name: name, Value: headers[name]})
	}
	s.because("bodyFromConfigMap", "the body is in the app")
	s.rest()
	return response
}

// scaledBy finds the ScaledObject of a route, and which of its triggers is the route's.
func (w *world) scaledBy(s *source) (scaled *source, its int) {
	for _, o := range w.scaledObjects {
		if o.GetNamespace() != s.object.GetNamespace() {
			continue
		}
		triggers, _, _ := unstructured.NestedSlice(o.Object, "spec", "triggers")
		for i, t := range triggers {
			fields, _ := t.(map[string]any)
			if name, _, _ := unstructured.NestedString(fields, "metadata", "interceptorRoute"); name == s.object.GetName() {
				scaled := sourceOf(o, s.notes)
				scaled.at = "the ScaledObject " + o.GetName() + "'s spec"
				return scaled, i
			}
		}
	}
	return nil, 0
}

// scaledObject reads who scales a route's workload, and how.
func (w *world) scaledObject(s *source, its int, app *v1alpha1.HTTPApp) bool {
	target, _ := s.part("scaleTargetRef")
	if !workload(target, app) {
		return false
	}
	target.rest()
	scaling := &app.Spec.Scaling
	s.bounds(scaling, "minReplicaCount", "maxReplicaCount")
	scaling.Cooldown = s.seconds("cooldownPeriod")
	advanced, _ := s.part("advanced")
	hpa, _ := advanced.part("horizontalPodAutoscalerConfig")
	behavior := &autoscalingv2.HorizontalPodAutoscalerBehavior{}
	if hpa.into("behavior", behavior) {
		scaling.Behavior = behavior
	}
	hpa.rest()
	advanced.drop("restoreToOriginalReplicaCount")
	advanced.rest()
	s.drop("pollingInterval") // the counts are pushed
	s.because("initialCooldownPeriod", "an app that was never asked for anything sleeps from its first moment")
	triggers := s.parts("triggers")
	for i, t := range triggers {
		if i != its {
			s.note("not translated: %s, a trigger of type %s; an app may have a ScaledObject of your own, with this one and the app's", t.at, t.text("type"))
		}
	}
	annotations := s.object.GetAnnotations()
	scaling.Paused = annotations["autoscaling.keda.sh/paused"] == "true"
	if n, ok := annotations["autoscaling.keda.sh/paused-replicas"]; ok {
		scaling.Paused = true
		s.note("otherwise than before: it is paused at as many replicas as it has, not at %s", n)
	}
	if len(triggers) > 1 {
		scaling.Autoscaler = v1alpha1.AutoscalerNone
		s.note("keep the ScaledObject %s, and give it, instead of the route's, %s", s.object.GetName(), trigger(app))
	} else {
		s.note("delete the ScaledObject %s before the app is made: two would fight over the workload", s.object.GetName())
	}
	s.rest()
	return true
}

// share is a part of a target, in whole numbers, of which it is at least one.
func share(target, percent float64) *resource.Quantity {
	return resource.NewQuantity(int64(max(1, math.Round(target*percent/100))), resource.DecimalSI)
}
