package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/utils/ptr"
)

type wakeOptions struct {
	*session
	oneApp
	writing
	hold        time.Duration
	noWait      bool
	waitTimeout time.Duration
}

func newWakeCommand(s *session) *cobra.Command {
	o := &wakeOptions{session: s, writing: newWriting("woken")}
	cmd := &cobra.Command{
		Use:   "wake NAME",
		Short: "Start an app that has no replica, before a request comes",
		Long: "Start an app that has no replica, before a request comes, and wait until a replica is ready.\n\n" +
			"An app that was woken and gets no request goes back to sleep when it has been idle for its cooldown.\n" +
			"With --for it is kept awake: for as long as this command runs, at most the time said, it has at least one replica.\n" +
			"It is let go when the time is over or the command is interrupted. If the command is killed, resume lets it go.",
		Example:           s.examples("wake hello", "wake hello --for 2h"),
		Args:              exactly("NAME"),
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	cmd.Flags().DurationVar(&o.hold, "for", 0, "Keep it awake for so long, such as 2h. The command runs meanwhile.")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "Do not wait until a replica is ready.")
	cmd.Flags().DurationVar(&o.waitTimeout, "wait-timeout", 2*time.Minute, "How long to wait; exit code 3 if it takes longer.")
	o.writing.addFlags(cmd)
	return cmd
}

func (o *wakeOptions) complete(cmd *cobra.Command, args []string) error {
	o.name = args[0]
	return o.writing.complete(cmd)
}

func (o *wakeOptions) validate() error {
	switch {
	case o.hold < 0 || o.waitTimeout < 0:
		return errors.New("--for and --wait-timeout cannot be negative")
	case o.hold > 0 && o.strategy != cmdutil.DryRunNone:
		return errors.New("--for keeps the app awake while the command runs, which cannot be tried with --dry-run")
	}
	return errors.Join(o.oneApp.validate(), o.writing.validate())
}

func (o *wakeOptions) run(ctx context.Context) (err error) {
	c, err := o.connect()
	if err != nil {
		return err
	}
	until := o.now().Add(o.hold)
	progress := o.newProgress()
	app, err := c.get(ctx, o.name)
	if err != nil {
		return err
	}
	if o.hold > 0 {
		if _, app, err = c.change(ctx, o.name, o.strategy, hold{By: "wake", Until: until}.begin); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, o.keepIf(ctx, err == nil, c, until, progress)) }()
	}
	scale, err := c.apps.HTTPApps(c.namespace).GetScale(ctx, o.name, metav1.GetOptions{})
	if err != nil {
		return goneIf(app, err)
	}
	if scale.Spec.Replicas == 0 {
		if scale, err = c.scale(ctx, o.name, max(1, ptr.Deref(app.Spec.Scaling.MinReplicas, 0)), o.strategy); err != nil {
			return err
		}
	}
	if !o.noWait && o.strategy == cmdutil.DryRunNone {
		limited, cancel := context.WithTimeout(ctx, o.waitTimeout)
		defer cancel()
		w := &waiting{session: o.session, clients: c, progress: progress, timeout: o.waitTimeout}
		if _, err = w.replica(limited, app); err != nil {
			return err
		}
	}
	return o.tellScale(o.Out, scale)
}

// keepIf holds the app if it came up, and lets it go at once if it did not.
func (o *wakeOptions) keepIf(ctx context.Context, well bool, c *clients, until time.Time, progress *progress) error {
	if !well {
		until = o.now()
	}
	return o.keep(ctx, c, o.name, until, progress)
}
