package plugin

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

type scaleOptions struct {
	*session
	oneApp
	writing
	replicas    *int32
	min, max    int32
	concurrency int64
	changed     func(flag string) bool
}

func newScaleCommand(s *session) *cobra.Command {
	o := &scaleOptions{session: s, writing: newWriting("scaled")}
	cmd := &cobra.Command{
		Use:   "scale NAME (REPLICAS | --min N | --max N | --concurrency N)",
		Short: "Set an app's replicas of now, or what they may be",
		Long: "Set how many replicas an app has now, within its bounds, or its bounds, or how many requests one replica is for.\n\n" +
			"REPLICAS are for now: the autoscaler goes on from there, and takes away what the requests do not call for.",
		Example: s.examples("scale hello 3", "scale hello --min 1 --max 20", "scale hello --concurrency 50"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return exactly("NAME")(cmd, args)
			}
			return exactly("NAME", "REPLICAS")(cmd, args)
		},
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	cmd.Flags().Int32Var(&o.min, "min", 0, "The fewest replicas; 0: an idle app costs nothing.")
	cmd.Flags().Int32Var(&o.max, "max", 0, "The most replicas.")
	cmd.Flags().Int64Var(&o.concurrency, "concurrency", 0, "How many requests at a time one replica is for.")
	o.writing.addFlags(cmd)
	return cmd
}

func (o *scaleOptions) complete(cmd *cobra.Command, args []string) error {
	o.changed = cmd.Flags().Changed
	o.name = args[0]
	if len(args) > 1 {
		n, err := strconv.ParseInt(args[1], 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is no number of replicas; what there may be of them is said by --min and --max", args[1])
		}
		replicas := int32(n)
		o.replicas = &replicas
	}
	return o.writing.complete(cmd)
}

func (o *scaleOptions) validate() error {
	bounds := o.changed("min") || o.changed("max") || o.changed("concurrency")
	switch {
	case o.replicas == nil && !bounds:
		return errors.New("say how many REPLICAS, or --min, --max or --concurrency")
	case o.replicas != nil && bounds:
		return errors.New("REPLICAS are for now, --min, --max and --concurrency from now on; one at a time")
	case o.min < 0, o.changed("max") && o.max < 1, o.changed("min") && o.changed("max") && o.min > o.max:
		return fmt.Errorf("--min is %d and --max is %d; the fewest replicas are at least 0, the most at least 1 and no fewer than the fewest", o.min, o.max)
	case o.changed("concurrency") && o.concurrency < 1:
		return fmt.Errorf("--concurrency is %d; it is at least 1", o.concurrency)
	}
	return errors.Join(o.oneApp.validate(), o.writing.validate())
}

func (o *scaleOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	if o.replicas != nil {
		scale, err := c.scale(ctx, o.name, *o.replicas, o.strategy)
		if err != nil {
			return o.explainBounds(err)
		}
		return o.tellScale(o.Out, scale)
	}
	before, app, err := c.change(ctx, o.name, o.strategy, func(app *v1alpha1.HTTPApp) error {
		scaling := &app.Spec.Scaling
		if o.changed("min") {
			scaling.MinReplicas = &o.min
		}
		if o.changed("max") {
			scaling.MaxReplicas = &o.max
		}
		if o.changed("concurrency") {
			scaling.Metric = v1alpha1.MetricConcurrency
			scaling.Target = apiresource.NewQuantity(o.concurrency, apiresource.DecimalSI)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return o.tellChange(o.Out, before, app)
}

// explainBounds says how to change the bounds that keep an app from having so many replicas.
func (s *session) explainBounds(err error) error {
	if apierrors.IsInvalid(err) {
		return fmt.Errorf("%w\nThe bounds are changed with: %s scale %s --min N --max N", err, s.calledAs, detailsOf(err).Name)
	}
	return err
}

// scale sets the replicas of an app's workload.
func (c *clients) scale(ctx context.Context, name string, replicas int32, strategy cmdutil.DryRunStrategy) (*autoscalingv1.Scale, error) {
	apps := c.apps.HTTPApps(c.namespace)
	scale, err := apps.GetScale(ctx, name, metav1.GetOptions{})
	if isMissing(err) {
		// It may be the workload that is not there.
		app, missing := c.get(ctx, name)
		if missing != nil {
			return nil, missing
		}
		return nil, goneIf(app, err)
	}
	if err != nil {
		return nil, err
	}
	scale.Spec.Replicas = replicas
	if strategy == cmdutil.DryRunClient {
		return scale, nil
	}
	// The last word counts, whoever scaled it meanwhile.
	scale.ResourceVersion = ""
	return apps.UpdateScale(ctx, name, scale, metav1.UpdateOptions{FieldManager: fieldManager, DryRun: serverDryRun(strategy)})
}
