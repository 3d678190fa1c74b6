package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

type upgradeOptions struct {
	*session
	edition
	applying
	yes bool
}

func newUpgradeCommand(s *session) *cobra.Command {
	o := &upgradeOptions{session: s, applying: applying{writing: newWriting("applied")}}
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Bring the kedahttp in the cluster to the plugin's version",
		Long: "Bring the kedahttp in the cluster to the plugin's version, replica by replica. The domain stays, unless another is said.\n\n" +
			"Flags that the running parts have been given by an overlay would be lost: they are named, and nothing is done, unless --yes is said\n" +
			"or the overlay is named with -k. So is what an earlier version has installed by this plugin and this one does not have any more: it is\n" +
			"removed with --yes, in the end. A dry run tells of it. CustomResourceDefinitions, namespaces and apps stay in any case.",
		Example: s.examples("upgrade", "upgrade -k ./kedahttp"),
		Args:    exactly(), RunE: s.runs(o),
	}
	o.edition.addFlags(cmd)
	o.applying.addFlags(cmd)
	cmd.Flags().BoolVar(&o.yes, "yes", false, "Also if flags of the running parts are lost, or objects of an earlier version are removed.")
	return cmd
}

func (o *upgradeOptions) complete(cmd *cobra.Command, _ []string) error {
	if err := o.edition.complete(cmd); err != nil {
		return err
	}
	return o.writing.complete(cmd)
}

func (o *upgradeOptions) validate() error {
	return errors.Join(o.edition.validate(domainKept), o.writing.validate())
}

func (o *upgradeOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	running, err := c.running(ctx)
	switch {
	case err != nil:
		return err
	case running == nil:
		return fmt.Errorf("kedahttp is not installed in namespace %s\nInstall it: %s install --domain DOMAIN", usualNamespace, o.calledAs)
	}
	if o.domain == "" && o.overlay == "" {
		if o.domain = flagOf(running, "--domain"); o.domain == "" {
			return usageError(errors.New("--domain is needed: the running API server does not say it"))
		}
	}
	objects, err := o.objects()
	if err != nil {
		return err
	}
	if !o.yes {
		if err := o.refuseLoss(ctx, c, objects); err != nil {
			return err
		}
	}
	i, err := o.newInstaller(&o.writing)
	if err != nil {
		return err
	}
	left, err := i.leftBehind(ctx, objects)
	if err != nil {
		return err
	}
	if err := refuseRemoval(left); err != nil && o.strategy == cmdutil.DryRunNone && !o.yes {
		return err
	}
	if err := i.apply(ctx, objects); err != nil {
		return err
	}
	return o.finish(ctx, c, i, objects, left)
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
func (o *upgradeOptions) refuseLoss(ctx context.Context, c *clients, objects []*unstructured.Unstructured) error {
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
