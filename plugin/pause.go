package plugin

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

type pauseOptions struct {
	*session
	oneApp
	writing
	paused bool
}

func newPauseCommand(s *session) *cobra.Command {
	return newPauseOrResume(s, true, &cobra.Command{
		Use:   "pause NAME",
		Short: "Let nothing change an app's replicas by itself",
		Long: "Let nothing change an app's replicas by itself, until resume. It is not woken either: at zero, requests wait, and are refused\n" +
			"when they have waited for spec.queue.maxWait. The scale command still works.",
		Example: s.examples("pause hello"),
	})
}

func newResumeCommand(s *session) *cobra.Command {
	return newPauseOrResume(s, false, &cobra.Command{
		Use:     "resume NAME",
		Short:   "Let requests decide again how many replicas an app has",
		Long:    "Let requests decide again how many replicas an app has: ends pause, and what wake --for or sleep --for have left behind.",
		Example: s.examples("resume hello"),
	})
}

func newPauseOrResume(s *session, paused bool, cmd *cobra.Command) *cobra.Command {
	done := map[bool]string{true: "paused", false: "resumed"}[paused]
	o := &pauseOptions{session: s, writing: newWriting(done), paused: paused}
	cmd.Args, cmd.ValidArgsFunction, cmd.RunE = exactly("NAME"), s.completeApp(1), s.runs(o)
	o.writing.addFlags(cmd)
	return cmd
}

func (o *pauseOptions) complete(cmd *cobra.Command, args []string) error {
	o.name = args[0]
	return o.writing.complete(cmd)
}

func (o *pauseOptions) validate() error {
	return errors.Join(o.oneApp.validate(), o.writing.validate())
}

func (o *pauseOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	_, app, err := c.change(ctx, o.name, o.strategy, func(app *v1alpha1.HTTPApp) error {
		release(app)
		app.Spec.Scaling.Paused = o.paused
		return nil
	})
	if err != nil {
		return err
	}
	return o.tell(o.Out, app)
}
