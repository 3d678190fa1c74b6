package plugin

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// setOptions is one thing of an app that is to be set.
type setOptions struct {
	*session
	oneApp
	writing
	settings
	// take reads what comes after the name.
	take func(o *setOptions, values []string) error
}

func newSetCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Set one thing of an app: image, env, host, expose, port, health, resources, timeout",
		Long:  "Set one thing of an app, and leave all else as it is. What concerns the pods starts new ones if there are any.",
		Example: s.examples("set image hello example.com/hello:2", "set env hello LOG_LEVEL=debug OLD-",
			"set host hello hello.example.com www.example.com", "set resources hello --cpu 250m --memory 128Mi"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError(errors.New("set cannot set " + args[0] + "; see " + cmd.CommandPath() + " --help"))
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newSetImageCommand(s), newSetEnvCommand(s), newSetHostCommand(s), newSetExposeCommand(s), newSetPortCommand(s),
		newSetHealthCommand(s), newSetTimeoutCommand(s), newSetResourcesCommand(s))
	return cmd
}

// newSetting makes the command for one thing of an app, with those flags of deploy shown which say it. take reads
// what comes after the name.
func (s *session) newSetting(cmd *cobra.Command, shown []string, take func(o *setOptions, values []string) error) *cobra.Command {
	o := &setOptions{session: s, writing: newWriting("changed"), take: take}
	cmd.ValidArgsFunction, cmd.RunE = s.completeApp(1), s.runs(o)
	o.settings.addFlags(cmd)
	// The arguments say it, or another command does.
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = !slices.Contains(shown, f.Name) })
	o.writing.addFlags(cmd)
	return cmd
}

// give takes values as a flag of deploy takes them.
func give(flag string) func(*setOptions, []string) error {
	return func(o *setOptions, values []string) error {
		for _, value := range values {
			if err := o.flags.Set(flag, value); err != nil {
				return wrongFlag(err)
			}
		}
		return nil
	}
}

func (o *setOptions) complete(cmd *cobra.Command, args []string) error {
	o.oneApp.complete(cmd, args) //nolint:errcheck // only ever nil
	if err := o.take(o, args[1:]); err != nil {
		return err
	}
	return o.writing.complete(cmd)
}

func (o *setOptions) validate() error {
	return errors.Join(o.oneApp.validate(), o.settings.validate(), o.writing.validate())
}

func (o *setOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	before, app, err := c.change(ctx, o.name, o.strategy, func(app *v1alpha1.HTTPApp) error { return o.settings.apply(app) })
	if err != nil {
		return err
	}
	return o.tellChange(o.Out, before, app)
}
