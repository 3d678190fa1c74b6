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
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/kubectl/pkg/cmd/delete"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// deleteOptions is delete: kubectl's own, for apps, unless the workload is to stay.
type deleteOptions struct {
	*session
	flags   *delete.DeleteFlags
	kubectl *delete.DeleteOptions
	cmd     *cobra.Command
	names   []string
	keep    bool
	// writing is what is printed of the apps as they were, which kubectl does not.
	writing
}

func newDeleteCommand(s *session) *cobra.Command {
	o := &deleteOptions{session: s, flags: delete.NewDeleteCommandFlags(""), writing: newWriting("deleted")}
	cmd := &cobra.Command{
		Use:     "delete NAME...",
		Aliases: []string{"rm"},
		Short:   "Delete apps, with what was made for them",
		Long: "Delete apps, with the Deployment, Service and ScaledObject that were made for them. A workload that an app adopted stays.\n\n" +
			"With --keep-workload the Deployment and the Service stay, with as many replicas as there are, and nothing scales them any more.\n\n" +
			"The other flags are those of kubectl delete.",
		Example:           s.examples("delete hello", "delete -l team=web", "delete --all", "delete hello --keep-workload"),
		ValidArgsFunction: s.completeApp(0),
		RunE:              s.runs(o),
	}
	o.flags.AddFlags(cmd)
	for _, flag := range []string{"filename", "kustomize", "recursive", "raw"} {
		if f := cmd.Flags().Lookup(flag); f != nil {
			f.Hidden = true
		}
	}
	cmdutil.AddDryRunFlag(cmd)
	cmd.Flags().Lookup("output").Usage = "json, yaml or name, of the apps as they were."
	completeOutput(cmd, []string{"json", "yaml", "name"})
	completeWords(cmd, "dry-run", "none", "server", "client")
	completeWords(cmd, "cascade", "background", "orphan", "foreground")
	cmd.Flags().BoolVar(&o.keep, "keep-workload", false, "Keep the Deployment and the Service.")
	return cmd
}

func (o *deleteOptions) complete(cmd *cobra.Command, args []string) (err error) {
	o.cmd, o.names = cmd, args
	if o.kubectl, err = o.flags.ToOptions(nil, o.IOStreams); err != nil {
		return err
	}
	o.print.OutputFormat = &o.kubectl.Output
	return o.writing.complete(cmd)
}

func (o *deleteOptions) validate() error {
	selected := o.kubectl.DeleteAll || o.kubectl.LabelSelector != "" || o.kubectl.FieldSelector != ""
	switch {
	case len(o.names) == 0 && !selected:
		return errors.New("which app? Say a NAME, -l SELECTOR or --all")
	case len(o.names) > 0 && selected:
		return errors.New("apps are named or selected, not both")
	case o.keep && selected:
		return errors.New("--keep-workload is for apps that are named")
	case !slices.Contains([]string{"", "json", "yaml", "name"}, o.kubectl.Output):
		return fmt.Errorf("--output is %q; it can be json, yaml or name", o.kubectl.Output)
	}
	return nil
}

func (o *deleteOptions) run(ctx context.Context) error {
	if o.keep {
		return o.keepWorkloads(ctx)
	}
	apps, err := o.whole(ctx)
	if err != nil {
		return err
	}
	if err := o.kubectl.Complete(o.factory, ofApps(o.names), o.cmd); err != nil {
		return err
	}
	if err := o.kubectl.Validate(); err != nil {
		return usageError(err)
	}
	if err := o.kubectl.RunDelete(o.factory); err != nil {
		return err
	}
	for i := range apps {
		if err := o.tell(o.Out, &apps[i]); err != nil {
			return err
		}
	}
	return nil
}

// whole are the apps that are to be deleted, if they are to be printed: kubectl's own command, which is silent then, prints names only.
func (o *deleteOptions) whole(ctx context.Context) ([]v1alpha1.HTTPApp, error) {
	if !o.asked() || o.kubectl.Output == "name" {
		return nil, nil
	}
	o.print.OutputFormat = ptr.To(o.kubectl.Output)
	o.kubectl.Output, o.kubectl.Quiet = "", true
	c, err := o.connect()
	if err != nil {
		return nil, err
	}
	if len(o.names) == 0 {
		namespace := c.namespace
		if o.kubectl.DeleteAllNamespaces {
			namespace = metav1.NamespaceAll
		}
		list, err := c.apps.HTTPApps(namespace).List(ctx, metav1.ListOptions{LabelSelector: o.kubectl.LabelSelector, FieldSelector: o.kubectl.FieldSelector})
		if err != nil {
			return nil, err
		}
		return list.Items, nil
	}
	var apps []v1alpha1.HTTPApp
	for _, name := range o.names {
		app, err := c.get(ctx, name)
		switch {
		case isMissing(err) && o.kubectl.IgnoreNotFound:
		case err != nil:
			return nil, err
		default:
			apps = append(apps, *app)
		}
	}
	return apps, nil
}

// keepWorkloads deletes apps and leaves what runs.
func (o *deleteOptions) keepWorkloads(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	dynamic, err := o.factory.DynamicClient()
	if err != nil {
		return err
	}
	for _, name := range o.names {
		app, err := c.get(ctx, name)
		if err != nil {
			return err
		}
		switch o.strategy {
		case cmdutil.DryRunNone:
			err = c.orphan(ctx, app)
		case cmdutil.DryRunServer:
			err = c.apps.HTTPApps(app.Namespace).Delete(ctx, name, metav1.DeleteOptions{DryRun: serverDryRun(o.strategy), PropagationPolicy: ptr.To(metav1.DeletePropagationOrphan)})
		}
		if err != nil {
			return err
		}
		if o.strategy == cmdutil.DryRunNone {
			if err := removeScaling(ctx, dynamic, app); err != nil {
				return err
			}
		}
		if err := o.tell(o.Out, app); err != nil {
			return err
		}
		ref := workloadOf(app)
		fmt.Fprintf(o.ErrOut, "%s %s stays, with %s; nothing scales it any more\n", ref.Kind, ref.Name, howMany(app.Status.Replicas, "replica", "replicas"))
	}
	return nil
}

// orphan deletes an app and waits until it is gone; the garbage collector leaves what was made for it.
func (c *clients) orphan(ctx context.Context, app *v1alpha1.HTTPApp) error {
	err := c.apps.HTTPApps(app.Namespace).Delete(ctx, app.Name, metav1.DeleteOptions{
		Preconditions: metav1.NewUIDPreconditions(string(app.UID)), PropagationPolicy: ptr.To(metav1.DeletePropagationOrphan),
	})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err = watchtools.UntilWithSync(limited, c.watcher(app.Name), &v1alpha1.HTTPApp{}, func(store cache.Store) (bool, error) {
		return len(store.ListKeys()) == 0, nil
	}, func(event watch.Event) (bool, error) {
		seen, ok := event.Object.(*v1alpha1.HTTPApp)
		return event.Type == watch.Deleted || ok && seen.UID != app.UID, nil
	})
	if err != nil {
		return timeoutError(fmt.Errorf("app %s is being deleted, and not gone yet: %w", app.Name, err))
	}
	return nil
}

// scaling are the kinds of what scales an app, and lets interceptors read its certificate: without the app they would have nobody.
var scaling = []schema.GroupVersionResource{
	{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"},
	{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
}

func removeScaling(ctx context.Context, client dynamic.Interface, app *v1alpha1.HTTPApp) error {
	for _, kind := range scaling {
		objects := client.Resource(kind).Namespace(app.Namespace)
		list, err := objects.List(ctx, metav1.ListOptions{LabelSelector: labels.Set{v1alpha1.AppLabel: app.Name}.String()})
		switch {
		case apierrors.IsNotFound(err):
			continue // there is no such kind in the cluster
		case err != nil:
			return err
		}
		for _, object := range list.Items {
			if owner := metav1.GetControllerOf(&object); owner != nil {
				continue // the HPA of a ScaledObject goes with it
			}
			if err := objects.Delete(ctx, object.GetName(), metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(object.GetUID()))}); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}
