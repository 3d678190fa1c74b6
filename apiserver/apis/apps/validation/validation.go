// Package validation says what is wrong with an HTTPApp, where, and what would be right.
package validation

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	approutes "github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const (
	minWindow = time.Second
	// A longer time between two looks of KEDA's is a mistake.
	maxPollingInterval = time.Hour
	maxWindow          = 10 * time.Minute
	// maxBody keeps records far below what the host stores, and so does maxBodies, for all static responses of an app.
	maxBody   = 64 << 10
	maxBodies = 256 << 10
	// maxRoutes and maxHosts bound what every interceptor keeps for one app.
	maxRoutes = 64
	maxHosts  = 64
	// maxHostnames and maxParentRefs are those of the Gateway API.
	maxHostnames  = 16
	maxParentRefs = 32
	// legacyIngressClass is the annotation that said the class before there was a field for it.
	legacyIngressClass = "kubernetes.io/ingress.class"
)

// ValidateHTTPApp checks an app that is to be created.
func ValidateHTTPApp(app *v1alpha1.HTTPApp) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&app.ObjectMeta, true, validateName, field.NewPath("metadata"))
	return append(errs, validateSpec(app, field.NewPath("spec"))...)
}

// ValidateHTTPAppUpdate checks an app that is to replace another.
func ValidateHTTPAppUpdate(app, old *v1alpha1.HTTPApp) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&app.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	spec := field.NewPath("spec")
	errs = append(errs, validateSpec(app, spec)...)
	switch {
	case old.Spec.Template != nil && app.Spec.Template == nil && app.Spec.WorkloadRef != nil:
		errs = append(errs, field.Forbidden(spec.Child("workloadRef"),
			"an app that was made from a template cannot adopt a workload later; delete it and create it again with workloadRef"))
	case old.Spec.WorkloadRef != nil && app.Spec.WorkloadRef == nil && app.Spec.Template != nil:
		errs = append(errs, field.Forbidden(spec.Child("template"),
			"an app that adopted a workload cannot be made from a template later; delete it and create it again with template"))
	}
	return errs
}

// ValidateHTTPAppStatusUpdate checks a status that is to replace another.
func ValidateHTTPAppStatusUpdate(app, old *v1alpha1.HTTPApp) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&app.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	status := field.NewPath("status")
	errs = append(errs, metav1validation.ValidateConditions(app.Status.Conditions, status.Child("conditions"))...)
	errs = append(errs, apivalidation.ValidateNonnegativeField(app.Status.ObservedGeneration, status.Child("observedGeneration"))...)
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(app.Status.Replicas), status.Child("replicas"))...)
	return append(errs, apivalidation.ValidateNonnegativeField(int64(app.Status.ReadyReplicas), status.Child("readyReplicas"))...)
}

// validateName allows what can be one label of a host name.
func validateName(name string, prefix bool) []string {
	if prefix {
		name = strings.TrimSuffix(name, "-")
	}
	if len(name) > validation.DNS1123LabelMaxLength {
		return []string{fmt.Sprintf("must be no more than %d characters, because it becomes part of the app's host name", validation.DNS1123LabelMaxLength)}
	}
	return validation.IsDNS1123Label(name)
}

func validateSpec(app *v1alpha1.HTTPApp, path *field.Path) field.ErrorList {
	spec := &app.Spec
	var errs field.ErrorList
	switch {
	case spec.Template == nil && spec.WorkloadRef == nil:
		errs = append(errs, field.Required(path, "one of template and workloadRef must say what runs: template for pods of the app's own, workloadRef for a workload that exists"))
	case spec.Template != nil && spec.WorkloadRef != nil:
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, "template and workloadRef exclude each other: an app is either made from its template or adopts a workload"))
	}
	if spec.Template != nil {
		errs = append(errs, validateTemplate(app.Name, spec.Template, path.Child("template"))...)
	}
	if spec.WorkloadRef != nil {
		errs = append(errs, validateWorkloadReference(spec.WorkloadRef, path.Child("workloadRef"))...)
	}
	errs = append(errs, validatePort(spec, path.Child("port"))...)
	errs = append(errs, validateEnum(spec.Protocol, path.Child("protocol"), "", v1alpha1.ProtocolHTTP1, v1alpha1.ProtocolH2C, v1alpha1.ProtocolHTTPS)...)
	if spec.ServiceName != "" {
		errs = append(errs, validateLabel(spec.ServiceName, path.Child("serviceName"))...)
	} else if name := app.Name; name != "" && '0' <= name[0] && name[0] <= '9' {
		// Only the newest hosts allow a Service to begin with a digit.
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), name,
			"must begin with a letter, because the Service that is made for the app has the same name; or name an existing one in spec.serviceName"))
	}
	errs = append(errs, validateRoutes(spec.Routes, path.Child("routes"))...)
	errs = append(errs, validateScaling(&spec.Scaling, path.Child("scaling"))...)
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(spec.ConcurrencyLimit), path.Child("concurrencyLimit"))...)
	if n := spec.Queue.MaxPending; n != nil {
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(*n), path.Child("queue", "maxPending"))...)
	}
	errs = append(errs, validateDuration(spec.Queue.MaxWait, path.Child("queue", "maxWait"))...)
	errs = append(errs, validateDuration(spec.Timeouts.Request, path.Child("timeouts", "request"))...)
	errs = append(errs, validateDuration(spec.Timeouts.ResponseHeader, path.Child("timeouts", "responseHeader"))...)
	errs = append(errs, validateDuration(spec.Timeouts.Idle, path.Child("timeouts", "idle"))...)
	if c := spec.ColdStart; c != nil {
		errs = append(errs, validateColdStart(c, path.Child("coldStart"))...)
	}
	if t := spec.TLS; t != nil {
		errs = append(errs, validateSubdomain(t.SecretName, path.Child("tls", "secretName"))...)
	}
	if e := spec.Expose; e != nil {
		errs = append(errs, validateExpose(spec, path.Child("expose"))...)
	}
	return errs
}

// validateTemplate checks what the app's Deployment would be refused for later, when nobody waits for an answer any more, as
// far as it is cheap; the rest is the host's to say.
func validateTemplate(name string, t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabels(t.Labels, path.Child("metadata", "labels"))
	if v, ok := t.Labels[v1alpha1.AppLabel]; ok && v != name {
		errs = append(errs, field.Invalid(path.Child("metadata", "labels").Key(v1alpha1.AppLabel), v,
			fmt.Sprintf("this label selects the app's pods; leave it out or set it to %q", name)))
	}
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, path.Child("metadata", "annotations"))...)
	spec := path.Child("spec")
	if p := t.Spec.RestartPolicy; p != "" && p != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(spec.Child("restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if len(t.Spec.Containers) == 0 {
		errs = append(errs, field.Required(spec.Child("containers"), "at least one container must answer the requests"))
	}
	names := sets.New[string]()
	for _, list := range []struct {
		path       *field.Path
		containers []corev1.Container
	}{{spec.Child("initContainers"), t.Spec.InitContainers}, {spec.Child("containers"), t.Spec.Containers}} {
		for i, c := range list.containers {
			at := list.path.Index(i)
			switch {
			case c.Name == "":
				errs = append(errs, field.Required(at.Child("name"), "a container needs a name"))
			case names.Has(c.Name):
				errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
			default:
				errs = append(errs, validateLabel(c.Name, at.Child("name"))...)
			}
			names.Insert(c.Name)
			if c.Image == "" {
				errs = append(errs, field.Required(at.Child("image"), "a container needs an image"))
			} else if strings.TrimSpace(c.Image) != c.Image {
				errs = append(errs, field.Invalid(at.Child("image"), c.Image, "must not have leading or trailing spaces"))
			}
			errs = append(errs, validateContainerPorts(c.Ports, at.Child("ports"))...)
		}
	}
	return errs
}

func validateContainerPorts(ports []corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, p := range ports {
		at := path.Index(i)
		errs = append(errs, validatePortNumber(int64(p.ContainerPort), at.Child("containerPort"))...)
		if p.Name == "" {
			continue
		}
		for _, msg := range validation.IsValidPortName(p.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), p.Name, msg))
		}
		if names.Has(p.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
		}
		names.Insert(p.Name)
	}
	return errs
}

func validateWorkloadReference(ref *v1alpha1.WorkloadReference, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if ref.APIVersion == "" {
		errs = append(errs, field.Required(path.Child("apiVersion"), "the group and version of the workload, such as apps/v1"))
	} else if gv, err := schema.ParseGroupVersion(ref.APIVersion); err != nil || gv.Version == "" {
		errs = append(errs, field.Invalid(path.Child("apiVersion"), ref.APIVersion, "must be a group and a version, such as apps/v1"))
	} else if gv.Group == v1alpha1.GroupName {
		// Its scale is that of another workload: nothing is gained, and a circle has no end.
		errs = append(errs, field.Invalid(path.Child("apiVersion"), ref.APIVersion, "an app cannot be the workload of an app"))
	}
	if ref.Kind == "" {
		errs = append(errs, field.Required(path.Child("kind"), "the kind of the workload, such as Deployment"))
	}
	if ref.Name == "" {
		return append(errs, field.Required(path.Child("name"), "the name of the workload"))
	}
	return append(errs, validateSubdomain(ref.Name, path.Child("name"))...)
}

// validatePort wants a port that the template has, if it says which ports it has: a container may listen without saying so.
func validatePort(spec *v1alpha1.HTTPAppSpec, path *field.Path) field.ErrorList {
	var ports []string
	var has func(corev1.ContainerPort) bool
	port := spec.Port
	switch {
	case port == nil:
		return nil
	case port.Type == intstr.Int:
		if errs := validatePortNumber(int64(port.IntVal), path); len(errs) > 0 {
			return errs
		}
		has = func(p corev1.ContainerPort) bool { return p.ContainerPort == port.IntVal }
	default:
		for _, msg := range validation.IsValidPortName(port.StrVal) {
			return field.ErrorList{field.Invalid(path, port.StrVal, "must be a port number or a port name, and a port name "+msg)}
		}
		has = func(p corev1.ContainerPort) bool { return p.Name == port.StrVal }
	}
	if spec.Template == nil {
		return nil
	}
	for _, c := range spec.Template.Spec.Containers {
		for _, p := range c.Ports {
			if has(p) {
				return nil
			}
			number := strconv.Itoa(int(p.ContainerPort))
			if p.Name != "" {
				number = fmt.Sprintf("%s (%s)", p.Name, number)
			}
			ports = append(ports, number)
		}
	}
	switch {
	case len(ports) > 0:
		return field.ErrorList{field.Invalid(path, port.String(), "the template has no such port; it has "+strings.Join(ports, ", "))}
	case port.Type == intstr.String:
		return field.ErrorList{field.Invalid(path, port.String(), "the template names no ports; add the port to a container of the template or give its number here")}
	}
	return nil
}

func validatePortNumber(n int64, path *field.Path) field.ErrorList {
	if n < 1 || n > 65535 {
		return field.ErrorList{field.Invalid(path, n, "must be from 1 to 65535")}
	}
	return nil
}

func validateRoutes(routes []v1alpha1.Route, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(routes) > maxRoutes {
		return field.ErrorList{field.TooMany(path, len(routes), maxRoutes)}
	}
	seen := sets.New[approutes.Key]()
	bodies := 0
	for i := range routes {
		r, at := &routes[i], path.Index(i)
		if r.Static != nil {
			bodies += len(r.Static.Body)
		}
		if len(r.Hosts) == 0 {
			errs = append(errs, field.Required(at.Child("hosts"), "a route needs at least one host, such as shop.example.com or *.example.com"))
		}
		if len(r.Hosts) > maxHosts {
			errs = append(errs, field.TooMany(at.Child("hosts"), len(r.Hosts), maxHosts))
			continue
		}
		errs = append(errs, validatePathPrefix(r.PathPrefix, at.Child("pathPrefix"))...)
		errs = append(errs, validateHeaders(r.Headers, at.Child("headers"))...)
		errs = append(errs, validateStatic(r.Static, at.Child("static"))...)
		for j, host := range r.Hosts {
			at := at.Child("hosts").Index(j)
			if hostErrs := validateHost(host, at); len(hostErrs) > 0 {
				errs = append(errs, hostErrs...)
				continue
			}
			for _, key := range approutes.Keys(&v1alpha1.HTTPApp{Spec: v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{
				{Hosts: []string{host}, PathPrefix: r.PathPrefix, Headers: r.Headers},
			}}}) {
				if seen.Has(key) {
					errs = append(errs, field.Duplicate(at, host))
				}
				seen.Insert(key)
			}
		}
	}
	if bodies > maxBodies {
		errs = append(errs, field.Invalid(path, "", fmt.Sprintf("the bodies of all static responses must not be longer than %d bytes together", maxBodies)))
	}
	return errs
}

func validateHost(host string, path *field.Path) field.ErrorList {
	invalid := func(msg string) field.ErrorList { return field.ErrorList{field.Invalid(path, host, msg)} }
	name, wildcard := strings.CutPrefix(host, "*.")
	switch {
	case host == "":
		return field.ErrorList{field.Required(path, "a host is a DNS name such as shop.example.com, or *.example.com")}
	case strings.Contains(host, "://"):
		return invalid("must be a host without a scheme, such as shop.example.com")
	case strings.Contains(host, "/"):
		return invalid("must be a host without a path; a path goes into pathPrefix")
	case net.ParseIP(strings.Trim(host, "[]")) != nil:
		return invalid("must be a DNS name, not an IP address")
	case strings.Contains(host, ":"):
		return invalid("must be a host without a port: apps are told apart by name, whatever port the request comes to")
	case strings.ToLower(host) != host:
		return invalid(fmt.Sprintf("must be in lower case: %q", strings.ToLower(host)))
	case strings.HasSuffix(host, "."):
		return invalid("must not end with a dot")
	case strings.Contains(name, "*"):
		return invalid("may have one wildcard only, as its whole first label, such as *.example.com")
	}
	errs := field.ErrorList{}
	for _, msg := range validation.IsDNS1123Subdomain(name) {
		errs = append(errs, field.Invalid(path, host, "must be a DNS name: "+msg))
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > validation.DNS1123LabelMaxLength {
			errs = append(errs, field.Invalid(path, host, fmt.Sprintf("must be a DNS name: %q is longer than %d characters", label, validation.DNS1123LabelMaxLength)))
		}
	}
	if most := validation.DNS1123SubdomainMaxLength; wildcard && len(host) > most {
		errs = append(errs, field.TooLong(path, host, most))
	}
	return errs
}

func validatePathPrefix(prefix string, path *field.Path) field.ErrorList {
	switch {
	case prefix == "": // as /
		return nil
	case !strings.HasPrefix(prefix, "/"):
		return field.ErrorList{field.Invalid(path, prefix, "must begin with /")}
	case strings.ContainsAny(prefix, "?#"):
		return field.ErrorList{field.Invalid(path, prefix, "must be a path, without a query or a fragment")}
	case strings.Contains(prefix, "//"):
		return field.ErrorList{field.Invalid(path, prefix, "must not have empty segments (//)")}
	case strings.ContainsFunc(prefix, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return field.ErrorList{field.Invalid(path, prefix, "must not have spaces or control characters")}
	}
	for segment := range strings.SplitSeq(prefix, "/") {
		if segment == "." || segment == ".." {
			return field.ErrorList{field.Invalid(path, prefix, "must not have . or .. as a segment")}
		}
	}
	if len(prefix) > 1024 {
		return field.ErrorList{field.TooLong(path, prefix, 1024)}
	}
	return nil
}

func validateHeaders(headers []v1alpha1.HeaderMatch, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, h := range headers {
		at := path.Index(i)
		if h.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), "the name of the header"))
			continue
		}
		for _, msg := range validation.IsHTTPHeaderName(h.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), h.Name, msg))
		}
		if name := strings.ToLower(h.Name); seen.Has(name) {
			errs = append(errs, field.Duplicate(at.Child("name"), h.Name))
		} else {
			seen.Insert(name)
		}
		if strings.ContainsAny(h.Value, "\r\n\x00") {
			errs = append(errs, field.Invalid(at.Child("value"), h.Value, "must be one line"))
		}
	}
	return errs
}

func validateScaling(s *v1alpha1.Scaling, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	lower, upper := int32(0), v1alpha1.DefaultMaxReplicas
	if s.MinReplicas != nil {
		lower = *s.MinReplicas
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(lower), path.Child("minReplicas"))...)
	}
	if s.MaxReplicas != nil {
		if upper = *s.MaxReplicas; upper < 1 {
			errs = append(errs, field.Invalid(path.Child("maxReplicas"), upper, "must be 1 or more; to stop an app that scales by itself, set paused"))
		}
	}
	if lower >= 0 && upper >= 1 && lower > upper {
		errs = append(errs, field.Invalid(path.Child("minReplicas"), lower, fmt.Sprintf("must not be more than maxReplicas, which is %d", upper)))
	}
	errs = append(errs, validateEnum(s.Metric, path.Child("metric"), "", v1alpha1.MetricConcurrency, v1alpha1.MetricRequestRate)...)
	if t := s.Target; t != nil && t.Sign() <= 0 {
		errs = append(errs, field.Invalid(path.Child("target"), t.String(), "must be more than 0"))
	}
	if w := s.Window; w != nil && (w.Duration < minWindow || w.Duration > maxWindow) {
		errs = append(errs, field.Invalid(path.Child("window"), w.Duration.String(), "must be from 1s to 10m"))
	}
	errs = append(errs, validateDuration(s.Cooldown, path.Child("cooldown"))...)
	errs = append(errs, validateEnum(s.Autoscaler, path.Child("autoscaler"), "", v1alpha1.AutoscalerKEDA, v1alpha1.AutoscalerHPA, v1alpha1.AutoscalerNone)...)
	errs = append(errs, validateEnum(s.Activation, path.Child("activation"), "", v1alpha1.ActivationRequests, v1alpha1.ActivationNever)...)
	if s.Activation == v1alpha1.ActivationNever && s.Autoscaler != v1alpha1.AutoscalerNone {
		errs = append(errs, field.Invalid(path.Child("activation"), s.Activation, "must be Requests unless autoscaler is None: an app that is put to sleep when it is idle has to be woken again"))
	}
	if p := s.PollingInterval; p != nil && (p.Duration < time.Second || p.Duration > maxPollingInterval) {
		errs = append(errs, field.Invalid(path.Child("pollingInterval"), p.Duration.String(), "must be from 1s to 1h"))
	}
	if b := s.Behavior; b != nil {
		errs = append(errs, validateRules(b.ScaleUp, path.Child("behavior", "scaleUp"))...)
		errs = append(errs, validateRules(b.ScaleDown, path.Child("behavior", "scaleDown"))...)
	}
	return errs
}

// validateRules has the bounds of the HorizontalPodAutoscaler that the rules are handed to.
func validateRules(r *autoscalingv2.HPAScalingRules, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	if w := r.StabilizationWindowSeconds; w != nil && (*w < 0 || *w > 3600) {
		errs = append(errs, field.Invalid(path.Child("stabilizationWindowSeconds"), *w, "must be from 0 to 3600"))
	}
	if p := r.SelectPolicy; p != nil {
		errs = append(errs, validateEnum(*p, path.Child("selectPolicy"), autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect)...)
	}
	if r.Policies != nil && len(r.Policies) == 0 {
		errs = append(errs, field.Required(path.Child("policies"), "must have at least one policy, or be left out"))
	}
	for i, p := range r.Policies {
		at := path.Child("policies").Index(i)
		errs = append(errs, validateEnum(p.Type, at.Child("type"), autoscalingv2.PodsScalingPolicy, autoscalingv2.PercentScalingPolicy)...)
		if p.Value <= 0 {
			errs = append(errs, field.Invalid(at.Child("value"), p.Value, "must be more than 0"))
		}
		if p.PeriodSeconds < 1 || p.PeriodSeconds > 1800 {
			errs = append(errs, field.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, "must be from 1 to 1800"))
		}
	}
	return errs
}

func validateColdStart(c *v1alpha1.ColdStart, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if f := c.Fallback; f != nil {
		at := path.Child("fallback")
		errs = append(errs, validateLabel(f.ServiceName, at.Child("serviceName"))...)
		errs = append(errs, validatePortNumber(int64(f.Port), at.Child("port"))...)
		errs = append(errs, validateDuration(f.After, at.Child("after"))...)
	}
	if p := c.Placeholder; p != nil {
		at := path.Child("placeholder")
		errs = append(errs, validateStatusCode(p.StatusCode, at.Child("statusCode"))...)
		if strings.ContainsAny(p.ContentType, "\r\n") {
			errs = append(errs, field.Invalid(at.Child("contentType"), p.ContentType, "must be one line"))
		}
		errs = append(errs, validateBody(p.Body, at.Child("body"))...)
	}
	return errs
}

// ofTheServer are the headers that the interceptor sets, or that say how a message is sent.
var ofTheServer = sets.New("Connection", "Content-Length", "Date", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade")

func validateStatic(s *v1alpha1.StaticResponse, path *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	errs := validateStatusCode(s.StatusCode, path.Child("statusCode"))
	errs = append(errs, validateBody(s.Body, path.Child("body"))...)
	seen := sets.New[string]()
	for i, h := range s.Headers {
		at := path.Child("headers").Index(i)
		name := http.CanonicalHeaderKey(h.Name)
		for _, msg := range validation.IsHTTPHeaderName(h.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), h.Name, msg))
		}
		if ofTheServer.Has(name) {
			errs = append(errs, field.Invalid(at.Child("name"), h.Name, "is set by the server"))
		}
		if seen.Has(name) {
			errs = append(errs, field.Duplicate(at.Child("name"), h.Name))
		}
		seen.Insert(name)
		if !httpguts.ValidHeaderFieldValue(h.Value) {
			errs = append(errs, field.Invalid(at.Child("value"), h.Value, "must be one line without control characters"))
		}
	}
	return errs
}

func validateStatusCode(code int32, path *field.Path) field.ErrorList {
	if code != 0 && (code < 200 || code > 599) {
		return field.ErrorList{field.Invalid(path, code, "must be from 200 to 599")}
	}
	return nil
}

func validateBody(body string, path *field.Path) field.ErrorList {
	if len(body) > maxBody {
		return field.ErrorList{field.TooLong(path, "", maxBody)}
	}
	return nil
}

// validateExpose checks what an Ingress or an HTTPRoute would be refused for later, when nobody waits for an answer any more.
func validateExpose(spec *v1alpha1.HTTPAppSpec, path *field.Path) field.ErrorList {
	e := spec.Expose
	if e.Ingress == nil && e.HTTPRoute == nil {
		return field.ErrorList{field.Required(path, "one of ingress and httpRoute, or both, must say what lets the app's hosts in; without expose nothing is made")}
	}
	var errs field.ErrorList
	if i := e.Ingress; i != nil {
		at := path.Child("ingress")
		errs = append(errs, apivalidation.ValidateAnnotations(i.Annotations, at.Child("annotations"))...)
		if i.ClassName != "" {
			errs = append(errs, validateSubdomain(i.ClassName, at.Child("className"))...)
			if _, both := i.Annotations[legacyIngressClass]; both {
				errs = append(errs, field.Invalid(at.Child("annotations").Key(legacyIngressClass), i.Annotations[legacyIngressClass], "must be left out when className is set"))
			}
		}
		if i.TLSSecretName != "" {
			errs = append(errs, validateSubdomain(i.TLSSecretName, at.Child("tlsSecretName"))...)
		}
	}
	if r := e.HTTPRoute; r != nil {
		at := path.Child("httpRoute")
		errs = append(errs, apivalidation.ValidateAnnotations(r.Annotations, at.Child("annotations"))...)
		errs = append(errs, validateParentRefs(r.ParentRefs, at.Child("parentRefs"))...)
		hosts := sets.New[string]()
		for _, route := range spec.Routes {
			hosts.Insert(route.Hosts...)
		}
		if len(hosts) > maxHostnames {
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, fmt.Sprintf(
				"an HTTPRoute has at most %d hosts, and the routes of the app have %d: use a wildcard, or an Ingress, or write the HTTPRoutes yourself", maxHostnames, len(hosts))))
		}
	}
	return errs
}

func validateParentRefs(refs []v1alpha1.GatewayReference, path *field.Path) field.ErrorList {
	if len(refs) == 0 {
		return field.ErrorList{field.Required(path, "an HTTPRoute needs at least one Gateway that it is for")}
	}
	if len(refs) > maxParentRefs {
		return field.ErrorList{field.TooMany(path, len(refs), maxParentRefs)}
	}
	var errs field.ErrorList
	for i, ref := range refs {
		at := path.Index(i)
		errs = append(errs, validateSubdomain(ref.Name, at.Child("name"))...)
		if ref.Namespace != "" {
			errs = append(errs, validateLabel(ref.Namespace, at.Child("namespace"))...)
		}
		if ref.SectionName != "" {
			errs = append(errs, validateSubdomain(ref.SectionName, at.Child("sectionName"))...)
		}
		if ref.Port != 0 {
			errs = append(errs, validatePortNumber(int64(ref.Port), at.Child("port"))...)
		}
		for _, earlier := range refs[:i] {
			if earlier.Name != ref.Name || earlier.Namespace != ref.Namespace {
				continue
			}
			// The Gateway API wants those of one Gateway told apart, by listeners or by ports.
			if earlier.SectionName == ref.SectionName && earlier.Port == ref.Port {
				errs = append(errs, field.Duplicate(at, ref.Name))
			} else if (earlier.SectionName == "") != (ref.SectionName == "") || (earlier.Port == 0) != (ref.Port == 0) {
				errs = append(errs, field.Invalid(at, ref.Name, "of two references to one Gateway both must say a sectionName, or both a port"))
			}
		}
	}
	return errs
}

func validateDuration(d *metav1.Duration, path *field.Path) field.ErrorList {
	if d != nil && d.Duration < 0 {
		return field.ErrorList{field.Invalid(path, d.Duration.String(), "must be 0s or more")}
	}
	return nil
}

func validateEnum[T ~string](value T, path *field.Path, allowed ...T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, slices.DeleteFunc(slices.Clone(allowed), func(v T) bool { return v == "" }))}
}

func validateLabel(name string, path *field.Path) field.ErrorList {
	return invalidFor(name, path, validation.IsDNS1123Label(name))
}

func validateSubdomain(name string, path *field.Path) field.ErrorList {
	return invalidFor(name, path, validation.IsDNS1123Subdomain(name))
}

func invalidFor(value string, path *field.Path, messages []string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "a name")}
	}
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}
