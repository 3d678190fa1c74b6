package plugin

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd/delete"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

// newDeleteCommand makes delete: kubectl's own, for apps.
func newDeleteCommand(factory cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	cmd := delete.NewCmdDelete(factory, streams)
	cmd.Use = "delete NAME..."
	cmd.Short = "Delete apps, with what was made for them"
	cmd.Long = "Delete apps, with the Deployment, Service and ScaledObject that were made for them. A workload that an app adopted stays.\n\n" +
		"The flags are those of kubectl delete."
	cmd.Example = "  delete hello\n  delete -l team=web\n  delete --all"
	onApps(cmd)
	return cmd
}
