package plugin

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const (
	defaultPort = 8080
	// containerName is that of the container in an app that deploy makes.
	containerName = "app"
)

// settings are what flags say of an app. What they do not say stays as it is.
type settings struct {
	image, pullPolicy           string
	port                        int32
	health                      string
	environment, environmentOf  []string
	cpu, memory                 string
	asCommand                   bool
	command                     []string
	hosts                       []string
	path                        string
	tlsSecret                   string
	ingress, ingressTLSSecret   string
	gateways                    []string
	scale                       string
	concurrency, rps            int64
	maxConcurrency              int32
	idle, timeout               time.Duration
	minReplicas, maxReplicas    *int32
	cpuQuantity, memoryQuantity apiresource.Quantity

	flags *pflag.FlagSet
}

func (s *settings) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	s.flags = flags
	flags.StringVar(&s.image, "image", "", "The container image.")
	flags.StringVar(&s.pullPolicy, "image-pull-policy", "", "Always, IfNotPresent or Never. Default: the cluster's.")
	flags.Int32Var(&s.port, "port", defaultPort, "The port that the container listens on.")
	flags.StringVar(&s.health, "health", "", "A path that answers 2xx when the container is ready. Default: it is ready when it listens.")
	flags.StringArrayVar(&s.environment, "env", nil, "An environment variable, as NAME=VALUE, or NAME- to remove it. May be repeated.")
	flags.StringArrayVar(&s.environmentOf, "env-from", nil, "Environment variables from all of a ConfigMap or Secret, as configmap/NAME or secret/NAME. May be repeated.")
	flags.StringVar(&s.cpu, "cpu", "", "How much CPU a replica is given room for, such as 250m.")
	flags.StringVar(&s.memory, "memory", "", "How much memory a replica is given, and may take at most, such as 128Mi.")
	flags.BoolVar(&s.asCommand, "command", false, "The words after -- replace the image's entry point, rather than its arguments.")
	flags.StringSliceVar(&s.hosts, "host", nil, "A host of the app, instead of NAME.NAMESPACE.DOMAIN. May be repeated.")
	flags.StringVar(&s.path, "path", "", "The beginning of the paths that belong to the app, such as /api. Default: all. Needs --host.")
	flags.StringVar(&s.tlsSecret, "tls-secret", "", "A Secret with the certificate for the hosts, which are served with TLS then, too.")
	flags.StringVar(&s.ingress, "ingress", "", "Make an Ingress for the hosts: of the cluster's default class, or, as --ingress=CLASS, of that one. --ingress=none takes it away.")
	flags.Lookup("ingress").NoOptDefVal = defaultClass
	flags.StringVar(&s.ingressTLSSecret, "ingress-tls-secret", "", "A Secret with the certificate by which the Ingress controller ends TLS for the hosts. Needs an Ingress.")
	flags.StringSliceVar(&s.gateways, "gateway", nil, "Make an HTTPRoute for the hosts at this Gateway: NAME, NAMESPACE/NAME or NAMESPACE/NAME/LISTENER. May be repeated. --gateway=none takes it away.")
	flags.StringVar(&s.scale, "scale", "", "The fewest and the most replicas, as MIN..MAX. Default: 0..10.")
	flags.Int64Var(&s.concurrency, "concurrency", 0, "How many requests at a time one replica is for. Default: 100.")
	flags.Int64Var(&s.rps, "rps", 0, "How many requests per second one replica is for, instead of --concurrency.")
	flags.Int32Var(&s.maxConcurrency, "max-concurrency", 0, "The most requests that one replica gets at the same time from one interceptor; others wait. 0: no limit.")
	flags.DurationVar(&s.idle, "idle", 0, "How long without a request until the last replica goes, such as 90s or 10m. Default: 5m.")
	flags.DurationVar(&s.timeout, "timeout", 0, "From a request's arrival until its response begins, at most. 0: no limit.")
	completeWords(cmd, "image-pull-policy", "Always", "IfNotPresent", "Never")
}

func (s *settings) changed(flag string) bool { return s.flags.Changed(flag) }

const (
	// defaultClass is what --ingress alone says.
	defaultClass = "default"
	// none takes away what a flag is for.
	none = "none"
)

// ofTemplate are the flags that speak of the pods.
var ofTemplate = []string{"image", "image-pull-policy", "health", "env", "env-from", "cpu", "memory", "command"}

// saysTemplate names the first flag that was given and speaks of the pods.
func (s *settings) saysTemplate() string {
	for _, flag := range ofTemplate {
		if s.changed(flag) {
			return "--" + flag
		}
	}
	if len(s.command) > 0 {
		return "what follows --"
	}
	return ""
}

func (s *settings) validate() (err error) {
	switch {
	case s.port < 1 || s.port > 65535:
		return fmt.Errorf("--port is %d; ports go from 1 to 65535", s.port)
	case s.changed("image") && s.image == "":
		return errors.New("--image is empty")
	case s.changed("concurrency") && s.concurrency < 1:
		return fmt.Errorf("--concurrency is %d; it is at least 1", s.concurrency)
	case s.changed("rps") && s.rps < 1:
		return fmt.Errorf("--rps is %d; it is at least 1", s.rps)
	case s.changed("rps") && s.changed("concurrency"):
		return errors.New("--concurrency and --rps are two ways to say what one replica is for; choose one")
	case s.maxConcurrency < 0:
		return fmt.Errorf("--max-concurrency is %d; it is 0 or more", s.maxConcurrency)
	case s.idle < 0 || s.timeout < 0:
		return errors.New("--idle and --timeout cannot be negative")
	case s.health != "" && !strings.HasPrefix(s.health, "/"):
		return fmt.Errorf("--health is %q; a path begins with /", s.health)
	case s.path != "" && !strings.HasPrefix(s.path, "/"):
		return fmt.Errorf("--path is %q; a path begins with /", s.path)
	case s.path != "" && len(s.hosts) == 0:
		return errors.New("--path needs --host")
	case s.asCommand && len(s.command) == 0:
		return errors.New("--command needs the command, after --")
	}
	switch corev1.PullPolicy(s.pullPolicy) {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		return fmt.Errorf("--image-pull-policy is %q; it can be Always, IfNotPresent or Never", s.pullPolicy)
	}
	for _, variable := range s.environment {
		if _, _, _, err := parseVariable(variable); err != nil {
			return fmt.Errorf("--env: %w", err)
		}
	}
	for _, source := range s.environmentOf {
		if _, err := parseSource(source); err != nil {
			return err
		}
	}
	for _, gateway := range s.gateways {
		if _, err := parseGateway(gateway); gateway != none && err != nil {
			return err
		}
	}
	switch {
	case s.changed("ingress") && s.ingress == "":
		return errors.New("--ingress= is empty; it is --ingress, --ingress=CLASS or --ingress=none")
	case slices.Contains(s.gateways, none) && len(s.gateways) > 1:
		return errors.New("--gateway none and other Gateways contradict each other")
	case s.ingress == none && s.ingressTLSSecret != "":
		return errors.New("--ingress=none and --ingress-tls-secret contradict each other")
	}
	if s.cpuQuantity, err = parseQuantity("cpu", s.cpu); err != nil {
		return err
	}
	if s.memoryQuantity, err = parseQuantity("memory", s.memory); err != nil {
		return err
	}
	s.minReplicas, s.maxReplicas, err = parseScale(s.scale)
	return err
}

func parseQuantity(flag, text string) (q apiresource.Quantity, err error) {
	if text == "" {
		return q, nil
	}
	q, err = apiresource.ParseQuantity(text)
	if err != nil || q.Sign() <= 0 {
		return q, fmt.Errorf("--%s is %q; quantities are written as 250m or 128Mi", flag, text)
	}
	return q, nil
}

// parseVariable reads NAME=VALUE or NAME-.
func parseVariable(text string) (name, value string, remove bool, err error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		name, remove = strings.CutSuffix(text, "-")
		ok = remove
	}
	if !ok || name == "" {
		return "", "", false, fmt.Errorf("%q is neither NAME=VALUE nor NAME-", text)
	}
	return name, value, remove, nil
}

// parseSource reads configmap/NAME or secret/NAME.
func parseSource(text string) (source corev1.EnvFromSource, err error) {
	kind, name, ok := strings.Cut(text, "/")
	if !ok {
		kind, name, ok = strings.Cut(text, ":")
	}
	reference := corev1.LocalObjectReference{Name: name}
	switch kind {
	case "configmap", "cm":
		source.ConfigMapRef = &corev1.ConfigMapEnvSource{LocalObjectReference: reference}
	case "secret":
		source.SecretRef = &corev1.SecretEnvSource{LocalObjectReference: reference}
	default:
		ok = false
	}
	if !ok || name == "" {
		return source, fmt.Errorf("--env-from is %q; it is configmap/NAME or secret/NAME", text)
	}
	return source, nil
}

// parseGateway reads NAME, NAMESPACE/NAME or NAMESPACE/NAME/LISTENER.
func parseGateway(text string) (v1alpha1.GatewayReference, error) {
	parts := strings.Split(text, "/")
	if len(parts) > 3 || slices.Contains(parts, "") {
		return v1alpha1.GatewayReference{}, fmt.Errorf("--gateway is %q; it is NAME, NAMESPACE/NAME or NAMESPACE/NAME/LISTENER", text)
	}
	switch len(parts) {
	case 1:
		return v1alpha1.GatewayReference{Name: parts[0]}, nil
	case 2:
		return v1alpha1.GatewayReference{Namespace: parts[0], Name: parts[1]}, nil
	}
	return v1alpha1.GatewayReference{Namespace: parts[0], Name: parts[1], SectionName: parts[2]}, nil
}

// parseScale reads MIN..MAX, where either may be left out.
func parseScale(s string) (least, most *int32, _ error) {
	if s == "" {
		return nil, nil, nil
	}
	low, high, ok := strings.Cut(s, "..")
	if !ok || low == "" && high == "" {
		return nil, nil, fmt.Errorf("--scale is %q; it is MIN..MAX, such as 0..10", s)
	}
	parse := func(text string) (*int32, error) {
		if text == "" {
			return nil, nil
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("--scale is %q; %q is no number of replicas", s, text)
		}
		replicas := int32(n)
		return &replicas, nil
	}
	least, err := parse(low)
	if err != nil {
		return nil, nil, err
	}
	if most, err = parse(high); err != nil {
		return nil, nil, err
	}
	switch {
	case most != nil && *most < 1:
		return nil, nil, fmt.Errorf("--scale is %q; the most replicas are at least 1", s)
	case least != nil && most != nil && *least > *most:
		return nil, nil, fmt.Errorf("--scale is %q; the fewest replicas are more than the most", s)
	}
	return least, most, nil
}

// apply puts what the flags say into an app, which may be an empty one.
func (s *settings) apply(app *v1alpha1.HTTPApp) error {
	if flag := s.saysTemplate(); flag != "" && app.Spec.WorkloadRef != nil {
		ref := app.Spec.WorkloadRef
		return usageError(fmt.Errorf("%s speaks of the pods, which are those of the %s %s that app %s adopted: change them there", flag, ref.Kind, ref.Name, app.Name))
	}
	if app.Spec.WorkloadRef == nil {
		s.applyToPods(app)
	}
	if s.changed("port") || app.Spec.Template != nil && app.Spec.Port == nil {
		port := intstr.FromInt32(s.port)
		app.Spec.Port = &port
	}
	if len(s.hosts) > 0 {
		s.applyRoute(app)
	}
	if s.changed("tls-secret") {
		app.Spec.TLS = nil
		if s.tlsSecret != "" {
			app.Spec.TLS = &v1alpha1.TLS{SecretName: s.tlsSecret}
		}
	}
	if err := s.applyExpose(app); err != nil {
		return err
	}
	scaling := &app.Spec.Scaling
	if s.minReplicas != nil {
		scaling.MinReplicas = s.minReplicas
	}
	if s.maxReplicas != nil {
		scaling.MaxReplicas = s.maxReplicas
	}
	if s.changed("concurrency") {
		scaling.Metric = v1alpha1.MetricConcurrency
		scaling.Target = apiresource.NewQuantity(s.concurrency, apiresource.DecimalSI)
	}
	if s.changed("rps") {
		scaling.Metric = v1alpha1.MetricRequestRate
		scaling.Target = apiresource.NewQuantity(s.rps, apiresource.DecimalSI)
	}
	if s.changed("idle") {
		scaling.Cooldown = &metav1.Duration{Duration: s.idle}
	}
	if s.changed("max-concurrency") {
		app.Spec.ConcurrencyLimit = s.maxConcurrency
	}
	if s.changed("timeout") {
		app.Spec.Timeouts.Request = &metav1.Duration{Duration: s.timeout}
	}
	return nil
}

// applyRoute gives the app its hosts. Routes with fixed responses, and those for certain headers, stay.
func (s *settings) applyRoute(app *v1alpha1.HTTPApp) {
	route := v1alpha1.Route{Hosts: s.hosts, PathPrefix: s.path}
	at := slices.IndexFunc(app.Spec.Routes, func(r v1alpha1.Route) bool { return r.Static == nil && len(r.Headers) == 0 })
	if at < 0 {
		app.Spec.Routes = append(app.Spec.Routes, route)
		return
	}
	if !s.changed("path") {
		route.PathPrefix = app.Spec.Routes[at].PathPrefix
	}
	app.Spec.Routes[at] = route
}

// applyExpose gives the app an Ingress or an HTTPRoute, or takes them away. What flags do not speak of stays: annotations, or the other
// of the two.
func (s *settings) applyExpose(app *v1alpha1.HTTPApp) error {
	expose := v1alpha1.Expose{}
	if app.Spec.Expose != nil {
		expose = *app.Spec.Expose
	}
	switch {
	case s.ingress == none:
		expose.Ingress = nil
	case s.changed("ingress"):
		ingress := v1alpha1.ExposeIngress{}
		if expose.Ingress != nil {
			ingress = *expose.Ingress
		}
		if ingress.ClassName = s.ingress; s.ingress == defaultClass {
			ingress.ClassName = ""
		}
		expose.Ingress = &ingress
	}
	if s.changed("ingress-tls-secret") {
		if expose.Ingress == nil {
			return usageError(errors.New("--ingress-tls-secret needs --ingress"))
		}
		ingress := *expose.Ingress
		ingress.TLSSecretName = s.ingressTLSSecret
		expose.Ingress = &ingress
	}
	if s.changed("gateway") {
		route := v1alpha1.ExposeHTTPRoute{}
		if expose.HTTPRoute != nil {
			route.Annotations = expose.HTTPRoute.Annotations
		}
		for _, text := range s.gateways {
			if text == none {
				continue
			}
			ref, err := parseGateway(text)
			if err != nil {
				return err
			}
			route.ParentRefs = append(route.ParentRefs, ref)
		}
		expose.HTTPRoute = nil
		if len(route.ParentRefs) > 0 {
			expose.HTTPRoute = &route
		}
	}
	app.Spec.Expose = nil
	if expose != (v1alpha1.Expose{}) {
		app.Spec.Expose = &expose
	}
	return nil
}
