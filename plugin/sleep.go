package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

type sleepOptions struct {
	*session
	oneApp
	writing
	hold time.Duration
}

func newSleepCommand(s *session) *cobra.Command {
	o := &sleepOptions{session: s, writing: newWriting("asleep")}
	cmd := &cobra.Command{
		Use:   "sleep NAME",
		Short: "Take an app's replicas away now, without waiting until it is idle",
		Long: "Take an app's replicas away now, without waiting until it is idle. The next request wakes it again.\n\n" +
			"With --for it stays asleep although requests come, for as long as this command runs, at most the time said: requests wait,\n" +
			"and are refused when they have waited for spec.queue.maxWait. It is let go when the time is over or the command is\n" +
			"interrupted. If the command is killed, resume lets it go.",
		Example:           s.examples("sleep hello", "sleep hello --for 10m"),
		Args:              exactly("NAME"),
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	cmd.Flags().DurationVar(&o.hold, "for", 0, "Keep it asleep for so long, such as 10m. The command runs meanwhile.")
	o.writing.addFlags(cmd)
	return cmd
}

func (o *sleepOptions) complete(cmd *cobra.Command, args []string) error {
	o.name = args[0]
	return o.writing.complete(cmd)
}

func (o *sleepOptions) validate() error {
	switch {
	case o.hold < 0:
		return errors.New("--for cannot be negative")
	case o.hold > 0 && o.strategy != cmdutil.DryRunNone:
		return errors.New("--for keeps the app asleep while the command runs, which cannot be tried with --dry-run")
	}
	return errors.Join(o.oneApp.validate(), o.writing.validate())
}

func (o *sleepOptions) run(ctx context.Context) (err error) {
	c, err := o.connect()
	if err != nil {
		return err
	}
	until := o.now().Add(o.hold)
	if o.hold > 0 {
		if _, _, err := c.change(ctx, o.name, o.strategy, hold{By: "sleep", Until: until}.begin); err != nil {
			return err
		}
		progress := o.newProgress()
		defer func() {
			if err != nil {
				until = o.now()
			}
			err = errors.Join(err, o.keep(ctx, c, o.name, until, progress))
		}()
	}
	scale, err := c.scale(ctx, o.name, 0, o.strategy)
	if err != nil {
		return o.explainBounds(err)
	}
	return o.tellScale(o.Out, scale)
}
