package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
)

type historyOptions struct {
	*session
	oneApp
	output string
}

func newHistoryCommand(s *session) *cobra.Command {
	o := &historyOptions{session: s}
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "List the revisions of an app",
		Long: "List the revisions of an app: the versions of its pods that its Deployment, or the StatefulSet that it\n" +
			"adopted, remembers, ten of them unless it is told otherwise.\n\n" +
			"With -o json or yaml each comes with its pods' template.",
		Example:           s.examples("history hello"),
		Args:              exactly("NAME"),
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	addOutput(cmd, &o.output)
	return cmd
}

func (o *historyOptions) validate() error {
	return errors.Join(o.oneApp.validate(), validateOutput(o.output))
}

func (o *historyOptions) run(ctx context.Context) error {
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
	if o.output != "" {
		return printAs(o.Out, o.output, all)
	}
	w := tabwriter.NewWriter(o.Out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "REVISION\tIMAGE\tAGE\tCHANGE-CAUSE")
	for _, r := range all {
		current := ""
		if r.Current {
			current = " (current)"
		}
		fmt.Fprintf(w, "%d%s\t%s\t%s\t%s\n", r.Revision, current, strings.Join(r.Images, ","), duration.HumanDuration(o.now().Sub(r.Created)), r.Cause)
	}
	return w.Flush()
}
