package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// deployOptions is what deploy was asked for.
type deployOptions struct {
	*session
	settings
	writing

	name string
	from string
	file string

	wait, noWait, try bool
	waitTimeout       time.Duration
	// waitSaid is true when --wait was given.
	waitSaid bool
}

func newDeployCommand(s *session) *cobra.Command {
	o := &deployOptions{session: s, writing: newWriting("deployed")}
	cmd := &cobra.Command{
		Use:   "deploy NAME (--image IMAGE | --from KIND/NAME | -f FILE) [flags] [-- ARGS...]",
		Short: "Make an app from an image, or change it",
		Long: "Make an app from an image, a workload that there is already, or a file, or change it. Then wait until it is ready: until a request\n" +
			"to its URL, which is the last line of the output, would be answered, after waking it if it has no replica.\n\n" +
			"What is not said stays as it is. The image has to listen on --port. With --try a replica is started to see whether it comes up.\n\n" +
			"With --dry-run=client -o yaml the cluster is not asked, and what was said is printed as an object.",
		Example: s.examples("deploy hello --image example.com/hello:1",
			"deploy hello --image example.com/hello:2 --scale 1..20 --concurrency 50 --health /healthz",
			"deploy hello --env LOG_LEVEL=debug --try",
			"deploy hello --from deployment/hello --host hello.example.com",
			"deploy hello --image example.com/hello:1 --host hello.example.com --ingress=nginx",
			"deploy hello --image example.com/hello:2 --dry-run=client -o yaml > hello.yaml", "deploy -f hello.yaml"),
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	o.settings.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.from, "from", "", "Make a workload that there is already an app, such as deployment/NAME. It is scaled, and changed in no other way. A Service of the app's name is used.")
	flags.StringVarP(&o.file, "filename", "f", "", "Files with apps, a folder of them, or - for stdin. Flags change what they say of NAME.")
	flags.BoolVar(&o.wait, "wait", true, "Wait until the app is ready.")
	flags.BoolVar(&o.noWait, "no-wait", false, "Do not wait until the app is ready.")
	flags.BoolVar(&o.try, "try", false, "Start a replica if there is none, and wait until it is ready.")
	flags.DurationVar(&o.waitTimeout, "wait-timeout", 2*time.Minute, "How long to wait; exit code 3 if it takes longer.")
	o.writing.addFlags(cmd)
	return cmd
}

func (o *deployOptions) complete(cmd *cobra.Command, args []string) error {
	before := args
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		before, o.command = args[:dash], args[dash:]
	}
	if o.file == "" || len(before) > 0 {
		if err := exactly("NAME")(cmd, args); err != nil {
			return err
		}
		o.name = before[0]
	}
	o.waitSaid = cmd.Flags().Changed("wait")
	return o.writing.complete(cmd)
}

func (o *deployOptions) validate() error {
	if o.name != "" {
		if problems := validation.IsDNS1123Label(o.name); len(problems) > 0 {
			return fmt.Errorf("the name %q does not fit into a host name: %s", o.name, strings.Join(problems, "; "))
		}
	}
	says := false
	for _, flag := range append([]string{"port", "host", "tls-secret", "ingress", "ingress-tls-secret", "gateway", "scale", "concurrency", "rps", "max-concurrency", "idle", "timeout"}, ofTemplate...) {
		says = says || o.settings.changed(flag)
	}
	says = says || len(o.command) > 0
	switch {
	case o.noWait && o.waitSaid && o.wait:
		return errors.New("--wait and --no-wait contradict each other")
	case o.noWait && o.try:
		return errors.New("--try and --no-wait contradict each other")
	case o.waitTimeout < 0:
		return errors.New("--wait-timeout cannot be negative")
	case o.from != "" && o.file != "":
		return errors.New("--from and --filename are two ways to say what the app is; choose one")
	case o.name == "" && says:
		return errors.New("which NAME are the flags for?")
	case o.from != "" && o.saysTemplate() != "":
		return fmt.Errorf("%s speaks of the pods, which --from does not change: change them where they are", o.saysTemplate())
	case o.file == "" && o.from == "" && !says:
		return errors.New("--image is needed: the container image to run")
	}
	o.wait = o.wait && !o.noWait
	return errors.Join(o.settings.validate(), o.writing.validate())
}

func (o *deployOptions) run(ctx context.Context) error {
	if o.file != "" {
		return o.runFiles(ctx)
	}
	app, err := o.asked()
	if err != nil {
		return err
	}
	if o.strategy == cmdutil.DryRunClient {
		object, err := manifest(app)
		if err != nil {
			return err
		}
		return o.tell(o.Out, object)
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	if o.from != "" {
		if err := c.adoptService(ctx, app); err != nil {
			return err
		}
	}
	return o.deploy(ctx, c, app, o.newProgress())
}

// asked is the app that was asked for, with only what was said.
func (o *deployOptions) asked() (*v1alpha1.HTTPApp, error) {
	namespace, err := o.namespace()
	if err != nil {
		return nil, err
	}
	app := &v1alpha1.HTTPApp{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp"},
		ObjectMeta: metav1.ObjectMeta{Name: o.name, Namespace: namespace},
	}
	if o.from != "" {
		if app.Spec.WorkloadRef, err = o.workload(); err != nil {
			return nil, err
		}
	}
	return app, o.settings.apply(app)
}

// deploy creates the app, or changes it, and waits for it.
func (o *deployOptions) deploy(ctx context.Context, c *clients, asked *v1alpha1.HTTPApp, progress *progress) error {
	before, app, err := o.write(ctx, c, asked)
	if err != nil {
		return err
	}
	if o.strategy == cmdutil.DryRunServer {
		return o.tell(o.Out, app)
	}
	switch {
	case before == nil:
		progress.say("httpapp %s/%s created", app.Namespace, app.Name)
	case before.Generation == app.Generation:
		progress.say("httpapp %s/%s is as it was", app.Namespace, app.Name)
	default:
		progress.say("httpapp %s/%s changed", app.Namespace, app.Name)
	}
	if o.wait {
		limited, cancel := context.WithTimeout(ctx, o.waitTimeout)
		defer cancel()
		w := &waiting{session: o.session, clients: c, progress: progress, timeout: o.waitTimeout}
		if app, err = w.ready(limited, app); err != nil {
			return err
		}
		if o.try {
			if app, err = w.replica(limited, app); err != nil {
				return err
			}
		}
	}
	if o.writing.asked() {
		return o.tell(o.Out, app)
	}
	if url := urlOf(app); url != "" {
		fmt.Fprintln(o.Out, url)
	}
	return nil
}

// write makes the app, or changes it; before is nil if it was made.
func (o *deployOptions) write(ctx context.Context, c *clients, asked *v1alpha1.HTTPApp) (before, after *v1alpha1.HTTPApp, err error) {
	before, err = c.get(ctx, asked.Name)
	var missing *missingError
	switch {
	case errors.As(err, &missing):
		before = nil
	case err != nil:
		return nil, nil, err
	}
	if before != nil && o.file == "" && (o.from == "" || before.Spec.WorkloadRef != nil) {
		return c.change(ctx, asked.Name, o.strategy, func(app *v1alpha1.HTTPApp) error {
			if asked.Spec.WorkloadRef != nil {
				app.Spec.WorkloadRef = asked.Spec.WorkloadRef
			}
			if asked.Spec.ServiceName != "" {
				app.Spec.ServiceName = asked.Spec.ServiceName
			}
			return o.settings.apply(app)
		})
	}
	switch {
	case before != nil && o.from != "":
		return nil, nil, fmt.Errorf("app %s is there already, with pods of its own: delete it first, or give the new one another name", asked.Name)
	case asked.Spec.WorkloadRef == nil && served(asked).Image == "":
		return nil, nil, usageError(fmt.Errorf("--image is needed: there is no app %s in namespace %s yet", asked.Name, c.namespace))
	}
	object, err := manifest(asked)
	if err != nil {
		return nil, nil, err
	}
	body, err := object.MarshalJSON()
	if err != nil {
		return nil, nil, err
	}
	after, err = c.apply(ctx, asked.Name, body, o.strategy)
	return before, after, err
}

// adoptService lets an app that adopts a workload use the Service of its name, too, if there is one: another cannot be made.
func (c *clients) adoptService(ctx context.Context, app *v1alpha1.HTTPApp) error {
	service, err := c.kubernetes.CoreV1().Services(c.namespace).Get(ctx, app.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	}
	if owner := metav1.GetControllerOf(service); owner == nil || owner.Kind != "HTTPApp" {
		app.Spec.ServiceName = app.Name
	}
	return nil
}

// workload is what --from names.
func (o *deployOptions) workload() (*v1alpha1.WorkloadReference, error) {
	kind, name, ok := strings.Cut(o.from, "/")
	if !ok || kind == "" || name == "" {
		return nil, usageError(fmt.Errorf("--from is %q; it is KIND/NAME, such as deployment/hello", o.from))
	}
	switch kind {
	case "deployment", "deployments", "deploy", "deployment.apps":
		return &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name}, nil
	case "statefulset", "statefulsets", "sts", "statefulset.apps":
		return &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: name}, nil
	}
	mapper, err := o.factory.ToRESTMapper()
	if err != nil {
		return nil, err
	}
	full, short := schema.ParseResourceArg(kind)
	var gvr schema.GroupVersionResource
	if full != nil {
		gvr = *full
	} else {
		gvr = short.WithVersion("")
	}
	gvk, err := mapper.KindFor(gvr)
	if err != nil {
		return nil, fmt.Errorf("--from names a kind %q: %w", kind, err)
	}
	return &v1alpha1.WorkloadReference{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Name: name}, nil
}

// runFiles deploys the apps in files, one after the other.
func (o *deployOptions) runFiles(ctx context.Context) error {
	namespace, err := o.namespace()
	if err != nil {
		return err
	}
	apps, err := o.read(namespace)
	if err != nil {
		return err
	}
	var c *clients
	progress := o.newProgress()
	for _, app := range apps {
		if o.strategy == cmdutil.DryRunClient {
			object, err := manifest(app)
			if err != nil {
				return err
			}
			if err := o.tell(o.Out, object); err != nil {
				return err
			}
			continue
		}
		if c == nil {
			if c, err = o.connect(); err != nil {
				return err
			}
		}
		its := *c
		its.namespace = app.Namespace
		if err := o.deploy(ctx, &its, app, progress); err != nil {
			return err
		}
	}
	return nil
}

// read reads the apps in the files, or the one of the name, with what the flags say of it.
func (o *deployOptions) read(namespace string) ([]*v1alpha1.HTTPApp, error) {
	infos, err := o.readFiles(o.file)
	if err != nil {
		return nil, err
	}
	var apps []*v1alpha1.HTTPApp
	for _, info := range infos {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(info.Object)
		if err != nil {
			return nil, err
		}
		if kind := info.Object.GetObjectKind().GroupVersionKind(); kind != v1alpha1.SchemeGroupVersion.WithKind("HTTPApp") {
			return nil, usageError(fmt.Errorf("%s: %s is no HTTPApp of %s; kubectl apply -f is for others", info.Source, kind, v1alpha1.SchemeGroupVersion))
		}
		app := &v1alpha1.HTTPApp{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(content, app, true); err != nil {
			return nil, usageError(fmt.Errorf("%s: %w", info.Source, err))
		}
		if o.name != "" && app.Name != o.name {
			continue
		}
		if app.Namespace == "" {
			app.Namespace = namespace
		}
		if o.name != "" {
			if err := o.settings.apply(app); err != nil {
				return nil, err
			}
		}
		apps = append(apps, app)
	}
	if len(apps) == 0 {
		return nil, usageError(fmt.Errorf("%s has no app %s", o.file, o.name))
	}
	return apps, nil
}
