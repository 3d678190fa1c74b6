package plugin

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd/get"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// newListCommand makes list: kubectl's own get, for apps.
func newListCommand(factory cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	cmd := get.NewCmdGet("kubectl http", factory, streams)
	cmd.Use = "list [NAME...]"
	cmd.Aliases = []string{"ls"}
	cmd.Short = "List apps, with their live requests"
	cmd.Long = "List apps, with their live requests. With --watch the table moves as the requests do.\n\nThe flags are those of kubectl get."
	cmd.Example = "  list\n  list -A -w\n  list -o wide --sort-by .status.traffic.pending"
	onApps(cmd)
	return cmd
}

// onApps makes a command of kubectl's, which takes a resource first, one for apps only.
func onApps(cmd *cobra.Command) {
	run := cmd.Run
	cmd.Run = func(cmd *cobra.Command, args []string) {
		run(cmd, append([]string{resource + "." + v1alpha1.GroupName}, args...))
	}
	cmd.SuggestFor = nil
	cmd.ValidArgsFunction = nil
}
