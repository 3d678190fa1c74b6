package plugin

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// changeOptions is what a command does that changes one app, always in the same way.
type changeOptions struct {
	*session
	oneApp
	writing
	change func(*v1alpha1.HTTPApp) error
}

func (o *changeOptions) command(cmd *cobra.Command) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction, cmd.RunE = exactly("NAME"), o.completeApp(1), o.runs(o)
	o.writing.addFlags(cmd)
	return cmd
}

func (o *changeOptions) complete(cmd *cobra.Command, args []string) error {
	o.name = args[0]
	return o.writing.complete(cmd)
}

func (o *changeOptions) validate() error {
	return errors.Join(o.oneApp.validate(), o.writing.validate())
}

func (o *changeOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	before, app, err := c.change(ctx, o.name, o.strategy, o.change)
	if err != nil {
		return err
	}
	return o.tellChange(o.Out, before, app)
}
