package plugin

import (
	"github.com/spf13/cobra"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func newResumeCommand(s *session) *cobra.Command {
	o := &changeOptions{session: s, writing: newWriting("resumed"), change: func(app *v1alpha1.HTTPApp) error {
		release(app)
		app.Spec.Scaling.Paused = false
		return nil
	}}
	return o.command(&cobra.Command{
		Use:     "resume NAME",
		Short:   "Let requests decide again how many replicas an app has",
		Long:    "Let requests decide again how many replicas an app has: ends pause, and what wake --for or sleep --for have left behind.",
		Example: s.examples("resume hello"),
	})
}
