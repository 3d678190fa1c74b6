package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// restartedAt is the annotation by which kubectl rollout restart makes a new revision.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

type restartOptions struct {
	*session
	oneApp
	writing
}

func newRestartCommand(s *session) *cobra.Command {
	o := &restartOptions{session: s, writing: newWriting("restarted")}
	cmd := &cobra.Command{
		Use:   "restart NAME",
		Short: "Replace an app's replicas by new ones",
		Long: "Replace an app's replicas by new ones, one after the other, as kubectl rollout restart does. An app at zero has none to replace,\n" +
			"and the next one is new anyway.",
		Example:           s.examples("restart hello"),
		Args:              exactly("NAME"),
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	o.writing.addFlags(cmd)
	return cmd
}

func (o *restartOptions) complete(cmd *cobra.Command, args []string) error {
	o.name = args[0]
	return o.writing.complete(cmd)
}

func (o *restartOptions) validate() error {
	return errors.Join(o.oneApp.validate(), o.writing.validate())
}

func (o *restartOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	app, err := c.get(ctx, o.name)
	if err != nil {
		return err
	}
	now := o.now().UTC().Format(time.RFC3339)
	if app.Spec.WorkloadRef != nil {
		changed, err := c.restartAdopted(ctx, *app.Spec.WorkloadRef, now, o.strategy)
		if err != nil {
			return goneIf(app, err)
		}
		return o.tell(o.Out, changed)
	}
	_, app, err = c.change(ctx, o.name, o.strategy, func(app *v1alpha1.HTTPApp) error {
		if app.Spec.Template == nil {
			app.Spec.Template = &corev1.PodTemplateSpec{}
		}
		if app.Spec.Template.Annotations == nil {
			app.Spec.Template.Annotations = map[string]string{}
		}
		app.Spec.Template.Annotations[restartedAt] = now
		return nil
	})
	if err != nil {
		return err
	}
	return o.tell(o.Out, app)
}

// restartAdopted restarts a workload that the app only adopted, where its pods are described.
func (c *clients) restartAdopted(ctx context.Context, ref v1alpha1.WorkloadReference, now string, strategy cmdutil.DryRunStrategy) (runtime.Object, error) {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{
		"metadata": map[string]any{"annotations": map[string]string{restartedAt: now}},
	}}})
	if err != nil {
		return nil, err
	}
	apps := c.kubernetes.AppsV1()
	opts := metav1.PatchOptions{FieldManager: fieldManager, DryRun: serverDryRun(strategy)}
	switch {
	case ref.APIVersion == "apps/v1" && ref.Kind == "Deployment":
		if strategy == cmdutil.DryRunClient {
			return apps.Deployments(c.namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		}
		return apps.Deployments(c.namespace).Patch(ctx, ref.Name, types.StrategicMergePatchType, patch, opts)
	case ref.APIVersion == "apps/v1" && ref.Kind == "StatefulSet":
		if strategy == cmdutil.DryRunClient {
			return apps.StatefulSets(c.namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		}
		return apps.StatefulSets(c.namespace).Patch(ctx, ref.Name, types.StrategicMergePatchType, patch, opts)
	}
	return nil, fmt.Errorf("the app adopted the %s %s of %s, which is restarted as its kind wants it", ref.Kind, ref.Name, ref.APIVersion)
}
