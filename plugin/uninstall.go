package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

type uninstallOptions struct {
	*session
	edition
	writing
	yes     bool
	timeout time.Duration
}

func newUninstallCommand(s *session) *cobra.Command {
	o := &uninstallOptions{session: s, writing: newWriting("deleted")}
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove kedahttp from the cluster",
		Long: "Remove kedahttp from the cluster: the apps, with what was made for them, then the APIService, then the rest. Adopted workloads stay.\n\n" +
			"While there are apps, nothing is removed unless --yes is said.",
		Example: s.examples("uninstall", "uninstall --yes"),
		Args:    exactly(),
		RunE:    s.runs(o),
	}
	o.writing.addFlags(cmd)
	cmd.Flags().BoolVar(&o.yes, "yes", false, "Remove the apps, too.")
	cmd.Flags().StringVarP(&o.overlay, "kustomize", "k", "", "The folder with the kustomization that it was installed by, if there was one.")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 3*time.Minute, "How long to wait for the apps to be gone.")
	return cmd
}

func (o *uninstallOptions) complete(cmd *cobra.Command, _ []string) error {
	return o.writing.complete(cmd)
}

func (o *uninstallOptions) validate() error {
	// They are in no name.
	o.registry, o.tag, o.domain = "kedahttp", "none", "example.com"
	return o.writing.validate()
}

func (o *uninstallOptions) run(ctx context.Context) error {
	objects, err := o.objects()
	if err != nil {
		return err
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	i, err := o.newInstaller(&o.writing)
	if err != nil {
		return err
	}
	if running, err := c.kubernetes.AppsV1().Deployments(usualNamespace).Get(ctx, "kedahttp-apiserver", metav1.GetOptions{}); err == nil && running.Labels["app.kubernetes.io/managed-by"] == "Helm" {
		return fmt.Errorf("kedahttp was installed by Helm, which has to remove it: helm uninstall, in namespace %s", usualNamespace)
	}
	if err := o.removeApps(ctx, c, i.progress); err != nil {
		return err
	}
	if err := i.remove(ctx, objects); err != nil {
		return err
	}
	return i.removeClaimed(ctx, objects)
}

// removeApps deletes all apps and waits until they are gone. While the API server answers, what it holds of them is let go.
func (o *uninstallOptions) removeApps(ctx context.Context, c *clients, progress *progress) error {
	list, err := c.apps.HTTPApps(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	switch {
	case isNotServed(err):
		return nil // the APIService is gone already
	case err != nil && !o.yes:
		return fmt.Errorf("it is not known whether there are apps: %w\nRemove all the same, with what was made for them: %s uninstall --yes", err, o.calledAs)
	case err != nil:
		fmt.Fprintf(o.ErrOut, "warning: the apps cannot be deleted one by one: %v\n", err)
		return nil
	case len(list.Items) == 0:
		return nil
	case !o.yes:
		first := list.Items[0]
		return fmt.Errorf("there are %d apps, such as %s/%s\nSee them: %s list -A. Keep them for later: %s export --all -n NAMESPACE. Remove them, too: %s uninstall --yes",
			len(list.Items), first.Namespace, first.Name, o.calledAs, o.calledAs, o.calledAs)
	}
	for i := range list.Items {
		app := &list.Items[i]
		if o.strategy != cmdutil.DryRunClient {
			err := c.apps.HTTPApps(app.Namespace).Delete(ctx, app.Name, metav1.DeleteOptions{
				PropagationPolicy: ptr.To(metav1.DeletePropagationForeground), DryRun: serverDryRun(o.strategy),
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		if err := o.tellApp(app); err != nil {
			return err
		}
	}
	if o.strategy != cmdutil.DryRunNone {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	err = wait.PollUntilContextCancel(limited, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		list, err := c.apps.HTTPApps(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		if len(list.Items) > 0 {
			progress.say("%s being deleted", howMany(len(list.Items), "app is", "apps are"))
		}
		return len(list.Items) == 0, nil
	})
	if wait.Interrupted(err) {
		return timeoutError(errors.New("the apps are not gone yet; what holds them: kubectl get httpapps -A -o yaml"))
	}
	return err
}

// tellApp says of which namespace an app was, or prints it as it was.
func (o *uninstallOptions) tellApp(app *v1alpha1.HTTPApp) error {
	if o.asked() {
		return o.tell(o.Out, app)
	}
	_, err := fmt.Fprintf(o.Out, "httpapp.%s/%s of namespace %s deleted%s\n", v1alpha1.GroupName, app.Name, app.Namespace, dryRunNote(o.strategy))
	return err
}

// removeClaimed deletes the APIServices that the API server has made for itself, and that it cannot take back any more.
func (i *installer) removeClaimed(ctx context.Context, objects []*unstructured.Unstructured) error {
	services := i.client.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	list, err := services.List(ctx, metav1.ListOptions{LabelSelector: labels.Set{"app.kubernetes.io/part-of": "kedahttp"}.String()})
	if err != nil {
		return err
	}
	for n := range list.Items {
		one := &list.Items[n]
		if slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool {
			return o.GetKind() == one.GetKind() && o.GetName() == one.GetName()
		}) {
			continue // it was spoken of
		}
		if i.strategy != cmdutil.DryRunClient {
			if err := services.Delete(ctx, one.GetName(), metav1.DeleteOptions{DryRun: serverDryRun(i.strategy)}); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		if err := i.tellDone(i.Out, "deleted", one); err != nil {
			return err
		}
	}
	return nil
}
