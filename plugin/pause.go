package plugin

import (
	"github.com/spf13/cobra"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func newPauseCommand(s *session) *cobra.Command {
	o := &changeOptions{session: s, writing: newWriting("paused"), change: func(app *v1alpha1.HTTPApp) error {
		release(app)
		app.Spec.Scaling.Paused = true
		return nil
	}}
	return o.command(&cobra.Command{
		Use:   "pause NAME",
		Short: "Let nothing change an app's replicas by itself",
		Long: "Let nothing change an app's replicas by itself, until resume. It is not woken either: at zero, requests wait, and are refused\n" +
			"when they have waited for spec.queue.maxWait. The scale command still works.",
		Example: s.examples("pause hello"),
	})
}
