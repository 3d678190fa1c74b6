package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"sigs.k8s.io/yaml"
)

type installOptions struct {
	*session
	edition
	strategy    cmdutil.DryRunStrategy
	upgrade     bool
	generate    bool
	yes         bool
	noWait      bool
	waitTimeout time.Duration
}

func (o *installOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.domain, "domain", "", "The domain of the apps: NAME.NAMESPACE.DOMAIN leads to an app. A wildcard in the DNS leads to the interceptors.")
	flags.StringVar(&o.registry, "registry", "kedahttp", "Where the images apiserver, interceptor and scaler are.")
	flags.StringVar(&o.tag, "tag", "", "The tag of the images. Default: the plugin's version.")
	flags.StringVarP(&o.overlay, "kustomize", "k", "", "A folder with a kustomization of your own, upon artifacts/base, instead of these flags.")
}

func newGenerateCommand(s *session) *cobra.Command {
	o := &installOptions{session: s, generate: true}
	cmd := &cobra.Command{
		Use:     "generate --domain DOMAIN",
		Short:   "Print the manifests that install would apply",
		Long:    "Print the manifests that install would apply, for kubectl apply --server-side, or for Git. The cluster is not asked.",
		Example: s.examples("generate --domain apps.example.com > kedahttp.yaml"),
		Args:    exactly(), RunE: s.runs(o),
	}
	o.addFlags(cmd)
	return cmd
}

func newInstallCommand(s *session) *cobra.Command {
	o := &installOptions{session: s}
	return o.command(&cobra.Command{
		Use:   "install --domain DOMAIN",
		Short: "Install kedahttp into the cluster",
		Long: "Install kedahttp into the cluster, and wait until it answers. KEDA is looked for and not installed.\n\n" +
			"Then let a wildcard name of the domain, an Ingress or a load balancer lead to the Service kedahttp-interceptor in kedahttp-system.",
		Example: s.examples("install --domain apps.example.com", "install -k ./kedahttp", "install --domain apps.example.com --dry-run=server"),
	})
}

func newUpgradeCommand(s *session) *cobra.Command {
	o := &installOptions{session: s, upgrade: true}
	return o.command(&cobra.Command{
		Use:   "upgrade",
		Short: "Bring the kedahttp in the cluster to the plugin's version",
		Long: "Bring the kedahttp in the cluster to the plugin's version, replica by replica. The domain stays, unless another is said.\n\n" +
			"Flags that the running parts have been given by an overlay would be lost: they are named, and nothing is done, unless --yes is said\n" +
			"or the overlay is named with -k. So is what an earlier version has installed by this plugin and this one does not have any more: it is\n" +
			"removed with --yes, in the end. A dry run tells of it. CustomResourceDefinitions, namespaces and apps stay in any case.",
		Example: s.examples("upgrade", "upgrade -k ./kedahttp"),
	})
}

func (o *installOptions) command(cmd *cobra.Command) *cobra.Command {
	cmd.Args, cmd.RunE = exactly(), o.runs(o)
	o.addFlags(cmd)
	cmdutil.AddDryRunFlag(cmd)
	completeWords(cmd, "dry-run", "none", "server", "client")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "Do not wait until it answers.")
	cmd.Flags().DurationVar(&o.waitTimeout, "wait-timeout", 5*time.Minute, "How long to wait; exit code 3 if it takes longer.")
	if o.upgrade {
		cmd.Flags().BoolVar(&o.yes, "yes", false, "Also if flags of the running parts are lost, or objects of an earlier version are removed.")
	}
	return cmd
}

func (o *installOptions) complete(cmd *cobra.Command, _ []string) (err error) {
	if o.overlay != "" && (o.domain != "" || o.tag != "" || cmd.Flags().Changed("registry")) {
		return errors.New("--kustomize says it all; --domain, --registry and --tag belong into the kustomization")
	}
	if o.tag == "" {
		o.tag = Version
	}
	if o.generate {
		return nil
	}
	o.strategy, err = cmdutil.GetDryRunStrategy(cmd)
	return err
}

func (o *installOptions) validate() error {
	switch {
	case o.overlay != "":
		return nil
	case o.domain == "" && !o.upgrade:
		return errors.New("--domain is needed: the domain of the apps, such as apps.example.com")
	case o.domain != "" && len(validation.IsDNS1123Subdomain(o.domain)) > 0:
		return fmt.Errorf("--domain is %q; it is a name in the DNS, such as apps.example.com", o.domain)
	case o.registry == "" || strings.HasSuffix(o.registry, "/"):
		return fmt.Errorf("--registry is %q; it is what comes before /apiserver in the image's name", o.registry)
	}
	return nil
}

func (o *installOptions) run(ctx context.Context) error {
	if o.generate {
		return o.print()
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	running, err := c.kubernetes.AppsV1().Deployments(usualNamespace).Get(ctx, "kedahttp-apiserver", metav1.GetOptions{})
	there := err == nil
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return err
	case there && running.Labels["app.kubernetes.io/managed-by"] == "Helm":
		return fmt.Errorf("kedahttp was installed by Helm, which has to go on with it: helm upgrade, in namespace %s", usualNamespace)
	case there && !o.upgrade:
		return fmt.Errorf("kedahttp is installed already, with the image %s\nBring it to this version: %s upgrade", running.Spec.Template.Spec.Containers[0].Image, o.calledAs)
	case !there && o.upgrade:
		return fmt.Errorf("kedahttp is not installed in namespace %s\nInstall it: %s install --domain DOMAIN", usualNamespace, o.calledAs)
	}
	if o.upgrade && o.domain == "" && o.overlay == "" {
		if o.domain = flagOf(running, "--domain"); o.domain == "" {
			return usageError(errors.New("--domain is needed: the running API server does not say it"))
		}
	}
	objects, err := o.objects()
	if err != nil {
		return err
	}
	if o.upgrade && !o.yes {
		if err := o.refuseLoss(ctx, c, objects); err != nil {
			return err
		}
	}
	i, err := o.newInstaller(o.strategy)
	if err != nil {
		return err
	}
	var left []*unstructured.Unstructured
	if o.upgrade {
		if left, err = i.leftBehind(ctx, objects); err != nil {
			return err
		}
		if err := refuseRemoval(left); err != nil && o.strategy == cmdutil.DryRunNone && !o.yes {
			return err
		}
	}
	if err := i.apply(ctx, objects); err != nil {
		return err
	}
	if o.strategy != cmdutil.DryRunNone || o.noWait {
		return i.remove(ctx, left)
	}
	limited, cancel := context.WithTimeout(ctx, o.waitTimeout)
	defer cancel()
	if err := i.await(limited, c, objects); err != nil {
		return err
	}
	// Only now: the replicas of the earlier version may have needed them.
	if err := i.remove(ctx, left); err != nil {
		return err
	}
	fmt.Fprintf(o.ErrOut, "kedahttp answers. Let *.DOMAIN lead to the Service kedahttp-interceptor in %s, and see: %s doctor\n", usualNamespace, o.calledAs)
	return nil
}

func (o *installOptions) print() error {
	objects, err := o.objects()
	if err != nil {
		return err
	}
	for i, object := range objects {
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			return err
		}
		if i > 0 {
			fmt.Fprintln(o.Out, "---")
		}
		if _, err := o.Out.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// flagOf is the value of a flag that a Deployment's first container is started with.
func flagOf(d *appsv1.Deployment, flag string) string {
	for _, arg := range d.Spec.Template.Spec.Containers[0].Args {
		if value, ok := strings.CutPrefix(arg, flag+"="); ok {
			return value
		}
	}
	return ""
}

// refuseLoss names the flags of the running parts that the new manifests do not have.
func (o *installOptions) refuseLoss(ctx context.Context, c *clients, objects []*unstructured.Unstructured) error {
	var lost []string
	for _, object := range objects {
		if object.GetKind() != "Deployment" {
			continue
		}
		running, err := c.kubernetes.AppsV1().Deployments(object.GetNamespace()).Get(ctx, object.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
		var args []string
		for _, container := range containers {
			its, _, _ := unstructured.NestedStringSlice(container.(map[string]any), "args")
			args = append(args, its...)
		}
		for _, arg := range running.Spec.Template.Spec.Containers[0].Args {
			if !slices.Contains(args, arg) && !strings.HasPrefix(arg, "--domain=") {
				lost = append(lost, object.GetName()+" "+arg)
			}
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf("these flags would be lost:\n  %s\nKeep them: -k with the kustomization that has them. Lose them: --yes", strings.Join(lost, "\n  "))
}

func describeObject(o *unstructured.Unstructured) string {
	kind := strings.ToLower(o.GetKind())
	if group := o.GroupVersionKind().Group; group != "" {
		kind += "." + group
	}
	return kind + "/" + o.GetName()
}
