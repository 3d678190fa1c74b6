package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

type urlOptions struct {
	*session
	oneApp
	output string
}

func newURLCommand(s *session) *cobra.Command {
	o := &urlOptions{session: s}
	cmd := &cobra.Command{
		Use:               "url NAME",
		Short:             "Print where an app is reached",
		Example:           s.examples("url hello"),
		Args:              exactly("NAME"),
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	addOutput(cmd, &o.output)
	return cmd
}

func (o *urlOptions) validate() error {
	return errors.Join(o.oneApp.validate(), validateOutput(o.output))
}

func (o *urlOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	url, err := c.url(ctx, o.name)
	if err != nil {
		return err
	}
	if o.output != "" {
		return printAs(o.Out, o.output, map[string]string{"url": url})
	}
	_, err = fmt.Fprintln(o.Out, url)
	return err
}
