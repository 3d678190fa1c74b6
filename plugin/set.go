package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

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
	give := func(flag string) func(*setOptions, []string) error {
		return func(o *setOptions, values []string) error {
			for _, value := range values {
				if err := o.flags.Set(flag, value); err != nil {
					return err
				}
			}
			return nil
		}
	}
	add := func(use, short, example string, args cobra.PositionalArgs, shown []string, take func(*setOptions, []string) error) {
		o := &setOptions{session: s, writing: newWriting("changed"), take: take}
		sub := &cobra.Command{Use: use, Short: short, Example: s.examples(example), Args: args, ValidArgsFunction: s.completeApp(1), RunE: s.runs(o)}
		o.settings.addFlags(sub)
		// The arguments say it, or another command does.
		sub.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = !slices.Contains(shown, f.Name) })
		o.writing.addFlags(sub)
		cmd.AddCommand(sub)
	}
	add("image NAME IMAGE", "Set the container image", "set image hello example.com/hello:2", exactly("NAME", "IMAGE"), nil, give("image"))
	add("env NAME VARIABLE=VALUE... VARIABLE-...", "Set or remove environment variables", "set env hello LOG_LEVEL=debug OLD-", atLeast("NAME", "VARIABLE=VALUE"), nil, give("env"))
	add("host NAME HOST...", "Set the hosts", "set host hello hello.example.com www.example.com", atLeast("NAME", "HOST"), []string{"path"}, give("host"))
	add("expose NAME", "Set what lets the hosts in: an Ingress, an HTTPRoute at a Gateway", "set expose hello --ingress=nginx",
		exactly("NAME"), []string{"ingress", "ingress-tls-secret", "gateway"}, func(o *setOptions, _ []string) error {
			if !o.changed("ingress") && !o.changed("ingress-tls-secret") && !o.changed("gateway") {
				return errors.New("say --ingress, --ingress-tls-secret or --gateway")
			}
			return nil
		})
	add("port NAME PORT", "Set the port that the container listens on", "set port hello 3000", exactly("NAME", "PORT"), nil, give("port"))
	add("health NAME PATH", "Set the path that answers 2xx when the container is ready", "set health hello /healthz", exactly("NAME", "PATH"), nil, give("health"))
	add("timeout NAME DURATION", "Set how long a response may take to begin", "set timeout hello 30s", exactly("NAME", "DURATION"), nil, give("timeout"))
	add("resources NAME", "Set what a replica is given of CPU and memory", "set resources hello --cpu 250m --memory 128Mi", exactly("NAME"), []string{"cpu", "memory"},
		func(o *setOptions, _ []string) error {
			if o.cpu == "" && o.memory == "" {
				return errors.New("say --cpu, --memory or both")
			}
			return nil
		})
	return cmd
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
	if app.Generation == before.Generation && o.strategy == cmdutil.DryRunNone {
		fmt.Fprintf(o.ErrOut, "app %s is like that already\n", o.name)
	}
	return o.tell(o.Out, app)
}
