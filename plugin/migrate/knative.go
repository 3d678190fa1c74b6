package migrate

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Knative's defaults, where an app's are others.
const (
	knativePort        = 8080
	knativeConcurrency = 100
	knativeRate        = 200
	knativeUtilization = 70
)

// knativeService translates a Service of serving.knative.dev/v1.
func (w *world) knativeService(s *source, app *v1alpha1.HTTPApp) bool {
	template, ok := s.part("template")
	if !ok {
		s.note("nothing is made of it: %s.template is missing", s.at)
		return false
	}
	metadata, _ := template.part("metadata")
	pods, _ := template.part("spec")
	limit, _ := pods.number("containerConcurrency")
	app.Spec.ConcurrencyLimit = limit
	app.Spec.Timeouts.Request = pods.seconds("timeoutSeconds")
	app.Spec.Timeouts.ResponseHeader = pods.seconds("responseStartTimeoutSeconds")
	app.Spec.Timeouts.Idle = pods.seconds("idleTimeoutSeconds")
	pods.drop("enableServiceLinks") // false, which Knative writes itself

	app.Spec.Template = &corev1.PodTemplateSpec{}
	spec := &app.Spec.Template.Spec
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(pods.fields, spec, true); err != nil {
		s.note("not all of %s is understood: %v", pods.at, err)
	}
	if len(spec.Containers) == 0 {
		s.note("nothing is made of it: %s has no container", pods.at)
		return false
	}
	template.container(app)

	var inner map[string]string
	metadata.into("labels", &inner)
	app.Spec.Template.Labels = labels(inner)
	var annotations map[string]string
	metadata.into("annotations", &annotations)
	metadata.drop("name", "creationTimestamp")
	metadata.rest()
	template.autoscaling(app, annotations)
	app.Spec.Template.Annotations = labels(annotations)
	template.rest()

	for _, t := range s.parts("traffic") {
		percent, said := t.number("percent")
		var latest bool
		if t.into("latestRevision", &latest); t.text("tag") != "" || !latest || said && percent != 100 {
			s.note("not translated: %s; all requests go to the latest revision", t.at)
		}
	}
	for _, d := range w.domains {
		if d.GetNamespace() != app.Namespace {
			continue
		}
		if name, _, _ := unstructured.NestedString(d.Object, "spec", "ref", "name"); name == app.Name {
			app.Spec.Routes = append(app.Spec.Routes, v1alpha1.Route{Hosts: []string{d.GetName()}})
			if secret, _, _ := unstructured.NestedString(d.Object, "spec", "tls", "secretName"); secret != "" {
				app.Spec.TLS = &v1alpha1.TLS{SecretName: secret}
			}
		}
	}
	if len(app.Spec.Routes) == 0 {
		s.note("its host will be that of an app of its name; to keep the one it has, write it into spec.routes")
	}
	if s.object.GetLabels()["networking.knative.dev/visibility"] == "cluster-local" {
		s.note("not translated: that it is to be reached inside of the cluster only")
	}
	for _, key := range slices.Sorted(maps.Keys(s.object.GetAnnotations())) {
		if strings.HasPrefix(key, "networking.knative.dev/") {
			s.note("not translated: the annotation %s", key)
		}
	}
	s.note("the names of its Services are the same: delete the Knative Service before the app is made")
	s.rest()
	return true
}

// container makes the container what it is under Knative, which fills in its port and its readiness.
func (s *source) container(app *v1alpha1.HTTPApp) {
	containers := app.Spec.Template.Spec.Containers
	c := &containers[0]
	for i := range containers {
		if containers[i].Name == "" {
			containers[i].Name = "app"
			if i > 0 {
				containers[i].Name += "-" + strconv.Itoa(i)
			}
		}
		if len(containers[i].Ports) > 0 {
			c = &containers[i]
		}
	}
	if len(c.Ports) == 0 {
		c.Ports = []corev1.ContainerPort{{ContainerPort: knativePort}}
	}
	port := &c.Ports[0]
	if port.ContainerPort == 0 {
		port.ContainerPort = knativePort
	}
	if port.Name == "h2c" {
		app.Spec.Protocol = v1alpha1.ProtocolH2C
	}
	if len(containers) > 1 {
		app.Spec.Port = &intstr.IntOrString{IntVal: port.ContainerPort}
	}
	if !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "PORT" }) {
		c.Env = append(c.Env, corev1.EnvVar{Name: "PORT", Value: strconv.Itoa(int(port.ContainerPort))})
	}
	if c.ReadinessProbe == nil {
		c.ReadinessProbe = &corev1.Probe{}
	}
	for _, probe := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe, c.StartupProbe} {
		if probe == nil {
			continue
		}
		at := intstr.FromInt32(port.ContainerPort)
		switch {
		case probe.HTTPGet != nil && probe.HTTPGet.Port == (intstr.IntOrString{}):
			probe.HTTPGet.Port = at
		case probe.TCPSocket != nil && probe.TCPSocket.Port == (intstr.IntOrString{}):
			probe.TCPSocket.Port = at
		case probe.GRPC != nil && probe.GRPC.Port == 0:
			probe.GRPC.Port = port.ContainerPort
		case probe.ProbeHandler == (corev1.ProbeHandler{}):
			probe.TCPSocket = &corev1.TCPSocketAction{Port: at}
		}
	}
	if c.ReadinessProbe.PeriodSeconds == 0 {
		c.ReadinessProbe.PeriodSeconds = 1
	}
	s.note("the variables K_SERVICE, K_REVISION and K_CONFIGURATION are not set any more")
}

// autoscaling reads Knative's annotations. Those that it has read are taken out.
func (s *source) autoscaling(app *v1alpha1.HTTPApp, annotations map[string]string) {
	const prefix = "autoscaling.knative.dev/"
	scaling := &app.Spec.Scaling
	take := func(names ...string) (value, name string) {
		for _, name := range names {
			if v, ok := annotations[prefix+name]; ok {
				delete(annotations, prefix+name)
				return v, name
			}
		}
		return "", ""
	}
	number := func(names ...string) (n float64, ok bool) {
		text, name := take(names...)
		if text == "" {
			return 0, false
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			s.note("%s%s is %q, which is no number", prefix, name, text)
		}
		return n, err == nil
	}
	duration := func(name string) *metav1.Duration {
		text, _ := take(name)
		if text == "" {
			return nil
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			s.note("%s%s is %q, which is no duration", prefix, name, text)
			return nil
		}
		return &metav1.Duration{Duration: d}
	}
	if n, ok := number("min-scale", "minScale"); ok {
		scaling.MinReplicas = ptr.To(int32(n))
	}
	if n, ok := number("max-scale", "maxScale"); ok && n > 0 {
		scaling.MaxReplicas = ptr.To(int32(n))
	} else {
		s.note("otherwise than before: without %smax-scale there was no bound; an app has ten replicas at most unless spec.scaling.maxReplicas says another number", prefix)
	}
	utilization, ok := number("target-utilization-percentage", "targetUtilizationPercentage")
	if !ok {
		utilization = knativeUtilization
	}
	target, said := number("target")
	switch metric, _ := take("metric"); metric {
	case "", "concurrency":
		switch limit := float64(app.Spec.ConcurrencyLimit); {
		case limit > 0 && (!said || target > limit):
			target = limit
		case !said:
			target = knativeConcurrency
		}
		scaling.Target = share(target, utilization)
	case "rps":
		scaling.Metric = v1alpha1.MetricRequestRate
		if !said {
			target = knativeRate
		}
		scaling.Target = share(target, utilization)
	default:
		s.note("not translated: scaling by %s; a ScaledObject of your own may have such a trigger beside the app's", metric)
	}
	scaling.Window = duration("window")
	if delay := duration("scale-down-delay"); delay != nil {
		scaling.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{
			ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To(int32(delay.Seconds()))},
		}
	}
	scaling.Cooldown = duration("scale-to-zero-pod-retention-period")
	if class, _ := take("class"); class != "" && !strings.HasPrefix(class, "kpa.") {
		s.note("not translated: %sclass %s", prefix, class)
	}
	take("initial-scale", "initialScale")                          // an app starts when it is asked
	take("panic-window-percentage", "panicWindowPercentage")       // a rush is seen in two seconds
	take("panic-threshold-percentage", "panicThresholdPercentage") // and at twice the replicas
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if strings.HasPrefix(key, prefix) {
			s.note("not translated: the annotation %s", key)
		}
	}
}
