package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/polymorphichelpers"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

type rollbackOptions struct {
	*session
	oneApp
	writing
	to int64
}

func newRollbackCommand(s *session) *cobra.Command {
	o := &rollbackOptions{session: s, writing: newWriting("rolled back")}
	cmd := &cobra.Command{
		Use:   "rollback NAME [REVISION]",
		Short: "Go back to an earlier revision of an app",
		Long: "Make the pods of an app what they were: those of the revision before the current one, or of the one that is named. See history.\n\n" +
			"How the app is scaled and reached stays as it is. Of an app that adopted a Deployment or a StatefulSet this is the one that goes back.",
		Example: s.examples("rollback hello", "rollback hello 3"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return exactly("NAME")(cmd, args)
			}
			return exactly("NAME", "REVISION")(cmd, args)
		},
		ValidArgsFunction: s.completeRevision(),
		RunE:              s.runs(o),
	}
	o.writing.addFlags(cmd)
	return cmd
}

func (o *rollbackOptions) complete(cmd *cobra.Command, args []string) (err error) {
	o.name = args[0]
	if len(args) > 1 {
		if o.to, err = strconv.ParseInt(args[1], 10, 64); err != nil || o.to < 1 {
			return fmt.Errorf("%q is no revision; see %s history %s", args[1], o.calledAs, o.name)
		}
	}
	return o.writing.complete(cmd)
}

func (o *rollbackOptions) validate() error {
	return errors.Join(o.oneApp.validate(), o.writing.validate())
}

func (o *rollbackOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	app, err := c.get(ctx, o.name)
	if err != nil {
		return err
	}
	all, err := c.revisions(ctx, app)
	if err != nil {
		return err
	}
	target, err := choose(all, o.to)
	if err != nil {
		return fmt.Errorf("%w; see %s history %s", err, o.calledAs, o.name)
	}
	changed, err := o.goBack(ctx, c, app, target)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.ErrOut, "app %s has the pods of revision %d again: %s\n", o.name, target.Revision, strings.Join(target.Images, ","))
	return o.tell(o.Out, changed)
}

// goBack changes the pods where they are described: in the app, or in the workload that it adopted, as kubectl rollout undo does.
func (o *rollbackOptions) goBack(ctx context.Context, c *clients, app *v1alpha1.HTTPApp, target revision) (runtime.Object, error) {
	ref := app.Spec.WorkloadRef
	if ref == nil {
		_, app, err := c.change(ctx, o.name, o.strategy, func(app *v1alpha1.HTTPApp) error {
			app.Spec.Template = target.Template.DeepCopy()
			return nil
		})
		return app, err
	}
	workload := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: app.Namespace, Name: ref.Name}}
	if o.strategy != cmdutil.DryRunClient {
		back, err := polymorphichelpers.RollbackerFor(schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind(), c.kubernetes)
		if err != nil {
			return nil, err
		}
		if _, err := back.Rollback(workload, nil, target.Revision, o.strategy); err != nil {
			return nil, fmt.Errorf("%s %s: %w", ref.Kind, ref.Name, err)
		}
	}
	if ref.Kind == "StatefulSet" {
		set, err := c.kubernetes.AppsV1().StatefulSets(app.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err == nil && o.strategy != cmdutil.DryRunNone {
			set.Spec.Template = *target.Template
		}
		return set, err
	}
	deployment, err := c.kubernetes.AppsV1().Deployments(app.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if err == nil && o.strategy != cmdutil.DryRunNone {
		deployment.Spec.Template = *target.Template
	}
	return deployment, err
}

// choose finds the revision to go back to: the one that is named or, for 0, the one before the current one.
func choose(all []revision, to int64) (revision, error) {
	at := slices.IndexFunc(all, func(r revision) bool { return r.Current })
	if to == 0 {
		if at < 1 {
			return revision{}, errors.New("there is no revision before the current one")
		}
		return all[at-1], nil
	}
	i := slices.IndexFunc(all, func(r revision) bool { return r.Revision == to })
	switch {
	case i < 0:
		return revision{}, fmt.Errorf("there is no revision %d", to)
	case all[i].Current:
		return revision{}, fmt.Errorf("revision %d is the current one", to)
	}
	return all[i], nil
}
