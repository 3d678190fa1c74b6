package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/client/versioned/scheme"
)

// deployOptions is what deploy was asked for.
type deployOptions struct {
	genericiooptions.IOStreams
	apps *apps

	name        string
	image       string
	pullPolicy  string
	port        int32
	hosts       []string
	tlsSecret   string
	environment []string
	scale       string
	concurrency int64
	idle        time.Duration
	health      string
	asCommand   bool
	command     []string

	wait        bool
	noWait      bool
	waitTimeout time.Duration
	dryRun      cmdutil.DryRunStrategy
	printFlags  *genericclioptions.PrintFlags

	// minReplicas and maxReplicas are what scale says; nil is the server's default.
	minReplicas, maxReplicas *int32
	// changed holds the flags that were given.
	changed func(flag string) bool
}

func newDeployCommand(factory cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	o := &deployOptions{
		IOStreams:  streams,
		printFlags: genericclioptions.NewPrintFlags("deployed").WithTypeSetter(scheme.Scheme),
	}
	cmd := &cobra.Command{
		Use:   "deploy NAME --image IMAGE [flags] [-- ARGS...]",
		Short: "Make an app from an image, or change it",
		Long: "Make an app from an image, or change it, and wait until it answers under its URL, which is the last line of the output.\n\n" +
			"What is not said stays as the server has it. The image has to listen on --port.",
		Example: "  deploy hello --image example.com/hello:1\n" +
			"  deploy hello --image example.com/hello:2 --scale 1..20 --concurrency 50 --health /healthz\n" +
			"  deploy hello --image example.com/hello:2 --dry-run=client -o yaml",
		Args: exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := o.complete(cmd, args); err != nil {
				return usageError(err)
			}
			if err := o.validate(); err != nil {
				return usageError(err)
			}
			if o.apps, err = newApps(factory); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.image, "image", "", "The container image.")
	flags.StringVar(&o.pullPolicy, "image-pull-policy", "", "Always, IfNotPresent or Never. Default: the cluster's.")
	flags.Int32Var(&o.port, "port", 8080, "The port that the container listens on.")
	flags.StringSliceVar(&o.hosts, "host", nil, "A host of the app, instead of NAME.NAMESPACE.DOMAIN. May be repeated.")
	flags.StringVar(&o.tlsSecret, "tls-secret", "", "A Secret with the certificate for the hosts, which are served with TLS then, too.")
	flags.StringArrayVar(&o.environment, "env", nil, "An environment variable, as NAME=VALUE. May be repeated.")
	flags.StringVar(&o.scale, "scale", "", "The fewest and the most replicas, as MIN..MAX. Default: 0..10.")
	flags.Int64Var(&o.concurrency, "concurrency", 0, "How many requests at a time one replica is for. Default: 100.")
	flags.DurationVar(&o.idle, "idle", 0, "How long without a request until the last replica goes, such as 90s or 10m. Default: 5m.")
	flags.StringVar(&o.health, "health", "", "A path that answers 2xx when the container is ready. Default: it is ready when it listens.")
	flags.BoolVar(&o.asCommand, "command", false, "The words after -- replace the image's entry point, rather than its arguments.")
	flags.BoolVar(&o.wait, "wait", true, "Wait until the app is ready.")
	flags.BoolVar(&o.noWait, "no-wait", false, "Do not wait until the app is ready.")
	flags.DurationVar(&o.waitTimeout, "wait-timeout", 2*time.Minute, "How long to wait.")
	cmdutil.AddDryRunFlag(cmd)
	o.printFlags.AddFlags(cmd)
	return cmd
}

func (o *deployOptions) complete(cmd *cobra.Command, args []string) (err error) {
	o.changed = cmd.Flags().Changed
	o.name = args[0]
	o.command = args[1:]
	if o.noWait {
		o.wait = false
	}
	o.dryRun, err = cmdutil.GetDryRunStrategy(cmd)
	return err
}

func (o *deployOptions) validate() (err error) {
	if problems := validation.IsDNS1123Label(o.name); len(problems) > 0 {
		return fmt.Errorf("the name %q does not fit into a host name: %s", o.name, strings.Join(problems, "; "))
	}
	switch {
	case o.image == "":
		return errors.New("--image is needed: the container image to run")
	case o.port < 1 || o.port > 65535:
		return fmt.Errorf("--port is %d; ports go from 1 to 65535", o.port)
	case o.changed("concurrency") && o.concurrency < 1:
		return fmt.Errorf("--concurrency is %d; it is at least 1", o.concurrency)
	case o.idle < 0 || o.waitTimeout < 0:
		return errors.New("--idle and --wait-timeout cannot be negative")
	case o.health != "" && !strings.HasPrefix(o.health, "/"):
		return fmt.Errorf("--health is %q; a path begins with /", o.health)
	case o.noWait && o.changed("wait") && o.wait:
		return errors.New("--wait and --no-wait contradict each other")
	case o.asCommand && len(o.command) == 0:
		return errors.New("--command needs the command, after --")
	}
	switch corev1.PullPolicy(o.pullPolicy) {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		return fmt.Errorf("--image-pull-policy is %q; it can be Always, IfNotPresent or Never", o.pullPolicy)
	}
	for _, variable := range o.environment {
		if name, _, ok := strings.Cut(variable, "="); !ok || name == "" {
			return fmt.Errorf("--env is %q; it is NAME=VALUE", variable)
		}
	}
	o.minReplicas, o.maxReplicas, err = parseScale(o.scale)
	return err
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

// app is the object that was asked for, with only what was said.
func (o *deployOptions) app() *v1alpha1.HTTPApp {
	port := intstr.FromInt32(o.port)
	container := corev1.Container{
		Name:            "app",
		Image:           o.image,
		ImagePullPolicy: corev1.PullPolicy(o.pullPolicy),
		Ports:           []corev1.ContainerPort{{Name: "http", ContainerPort: o.port, Protocol: corev1.ProtocolTCP}},
		// Every second: a cold start ends when it succeeds.
		ReadinessProbe: &corev1.Probe{PeriodSeconds: 1},
	}
	if o.health != "" {
		container.ReadinessProbe.HTTPGet = &corev1.HTTPGetAction{Path: o.health, Port: port}
	} else {
		container.ReadinessProbe.TCPSocket = &corev1.TCPSocketAction{Port: port}
	}
	if o.asCommand {
		container.Command = o.command
	} else {
		container.Args = o.command
	}
	variables := map[string]string{}
	for _, variable := range o.environment {
		name, value, _ := strings.Cut(variable, "=")
		variables[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: variables[name]})
	}

	app := &v1alpha1.HTTPApp{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp"},
		ObjectMeta: metav1.ObjectMeta{Name: o.name, Namespace: o.apps.namespace},
		Spec: v1alpha1.HTTPAppSpec{
			Template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{container}}},
			Port:     &port,
			Scaling:  v1alpha1.Scaling{MinReplicas: o.minReplicas, MaxReplicas: o.maxReplicas},
		},
	}
	if len(o.hosts) > 0 {
		app.Spec.Routes = []v1alpha1.Route{{Hosts: o.hosts}}
	}
	if o.tlsSecret != "" {
		app.Spec.TLS = &v1alpha1.TLS{SecretName: o.tlsSecret}
	}
	if o.changed("concurrency") {
		app.Spec.Scaling.Metric = v1alpha1.MetricConcurrency
		app.Spec.Scaling.Target = apiresource.NewQuantity(o.concurrency, apiresource.DecimalSI)
	}
	if o.changed("idle") {
		app.Spec.Scaling.Cooldown = &metav1.Duration{Duration: o.idle}
	}
	return app
}

// manifest is the app without empty values: with server-side apply, what is named is claimed.
func manifest(app *v1alpha1.HTTPApp) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(app)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	dropEmpty(content)
	return &unstructured.Unstructured{Object: content}, nil
}

// dropEmpty removes null values and empty maps, from the inside out.
func dropEmpty(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			dropEmpty(inner)
			if m, ok := inner.(map[string]any); inner == nil || ok && len(m) == 0 {
				delete(v, key)
			}
		}
	case []any:
		for _, inner := range v {
			dropEmpty(inner)
		}
	}
}

func (o *deployOptions) run(ctx context.Context) error {
	object, err := manifest(o.app())
	if err != nil {
		return err
	}
	if o.dryRun == cmdutil.DryRunClient {
		return o.print(object)
	}
	body, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	progress := newProgress(o.ErrOut)
	before, err := o.apps.get(ctx, o.name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	created := err != nil
	app, err := o.apps.apply(ctx, o.name, body, o.dryRun == cmdutil.DryRunServer)
	if err != nil {
		return err
	}
	switch {
	case o.dryRun == cmdutil.DryRunServer:
		return o.print(app)
	case created:
		progress.say("httpapp %s/%s created", app.Namespace, app.Name)
	case before.Generation == app.Generation:
		progress.say("httpapp %s/%s is as it was", app.Namespace, app.Name)
	default:
		progress.say("httpapp %s/%s changed", app.Namespace, app.Name)
	}
	if o.wait {
		if app, err = o.apps.waitReady(ctx, app, o.waitTimeout, progress); err != nil {
			return err
		}
	}
	if o.printFlags.OutputFormat != nil && *o.printFlags.OutputFormat != "" {
		return o.print(app)
	}
	if url := urlOf(app); url != "" {
		fmt.Fprintln(o.Out, url)
	}
	return nil
}

func (o *deployOptions) print(object runtime.Object) error {
	if o.dryRun == cmdutil.DryRunClient {
		o.printFlags.Complete("%s (client dry run)") //nolint:errcheck // only ever nil
	} else if o.dryRun == cmdutil.DryRunServer {
		o.printFlags.Complete("%s (server dry run)") //nolint:errcheck // only ever nil
	}
	printer, err := o.printFlags.ToPrinter()
	if err != nil {
		return usageError(err)
	}
	return printer.PrintObj(object, o.Out)
}

// urlOf is where the app is reached, as the server says or, before it does, as its first route does.
func urlOf(app *v1alpha1.HTTPApp) string {
	if app.Status.URL != "" {
		return app.Status.URL
	}
	if len(app.Spec.Routes) > 0 && len(app.Spec.Routes[0].Hosts) > 0 {
		return "http://" + app.Spec.Routes[0].Hosts[0]
	}
	return ""
}
