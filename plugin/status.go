package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

type statusOptions struct {
	*session
	oneApp
	print *genericclioptions.PrintFlags
	watch bool
	coloring
}

func newStatusCommand(s *session) *cobra.Command {
	o := &statusOptions{session: s, print: genericclioptions.NewPrintFlags("").WithTypeSetter(printable)}
	cmd := &cobra.Command{
		Use:     "status NAME",
		Aliases: []string{"describe"},
		Short:   "Say how an app is, and why",
		Long: "Say how an app is, why, what its requests do, and what happened to it.\n\n" +
			"It is serving (a replica is ready), idle (it has none, and wakes at the next request), waking, paused, starting (its parts are being\n" +
			"made) or failing. The exit code is 1 when it is failing. With --watch it is told again whenever it changes, until interrupted.",
		Example:           s.examples("status hello", "status hello -w", "status hello -o jsonpath={.status.traffic.pending}"),
		Args:              exactly("NAME"),
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "Go on, and tell what changes.")
	o.coloring.addFlags(cmd)
	o.print.AddFlags(cmd)
	completeOutput(cmd, o.print.AllowedFormats())
	return cmd
}

func (o *statusOptions) validate() error {
	_, err := o.print.ToPrinter()
	return errors.Join(o.oneApp.validate(), o.coloring.validate(), err)
}

func (o *statusOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	if o.watch {
		return o.follow(ctx, c)
	}
	app, err := c.get(ctx, o.name)
	if err != nil {
		return err
	}
	if err := o.tell(ctx, c, app, o.Out); err != nil {
		return err
	}
	if state, _ := stateOf(app); state == failing {
		return exitError{code: ExitFailed}
	}
	return nil
}

func (o *statusOptions) tell(ctx context.Context, c *clients, app *v1alpha1.HTTPApp, out io.Writer) error {
	if *o.print.OutputFormat != "" {
		printer, err := o.print.ToPrinter()
		if err != nil {
			return err
		}
		return printer.PrintObj(app, out)
	}
	events, err := c.events(ctx, app)
	if err != nil {
		fmt.Fprintf(o.ErrOut, "warning: no events: %v\n", err)
	}
	var trouble []string
	if state, _ := stateOf(app); state == failing || state == waking || state == starting {
		trouble = c.trouble(ctx, app, o.now())
	}
	return describe(out, app, trouble, events, o.now(), o.palette(o.session, o.Out))
}

// follow tells the status again whenever it changes. On a terminal each takes the place of the one before; elsewhere there is a line
// for each change of how the app is.
func (o *statusOptions) follow(ctx context.Context, c *clients) error {
	if _, err := c.get(ctx, o.name); err != nil {
		return err
	}
	last := ""
	tell := func(string, string) error {
		app, err := c.get(ctx, o.name)
		var missing *missingError
		switch {
		case errors.As(err, &missing):
			return fmt.Errorf("app %s was deleted", o.name)
		case err != nil:
			return err
		}
		switch {
		case *o.print.OutputFormat != "":
			return o.tell(ctx, c, app, o.Out)
		case o.terminal(o.Out):
			var screen bytes.Buffer
			if err := o.tell(ctx, c, app, &screen); err != nil {
				return err
			}
			_, err := fmt.Fprintf(o.Out, "\033[H\033[2J%s", &screen)
			return err
		}
		if line := headline(app, o.palette(o.session, o.Out)); line != last {
			last = line
			_, err := fmt.Fprintf(o.Out, "%s  %s\n", o.now().Format(time.TimeOnly), line)
			return err
		}
		return nil
	}
	return c.moves(ctx, c.namespace, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(v1alpha1.FieldName, o.name).String()}, tell)
}
