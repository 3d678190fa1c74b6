package plugin

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"k8s.io/kubectl/pkg/cmd/get"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// listOptions is list: kubectl's own get, for apps.
type listOptions struct {
	*session
	*get.GetOptions
	coloring
	args []string
}

func newListCommand(s *session) *cobra.Command {
	o := &listOptions{session: s, GetOptions: get.NewGetOptions(s.calledAs, s.IOStreams)}
	cmd := &cobra.Command{
		Use:               "list [NAME...]",
		Aliases:           []string{"ls"},
		Short:             "List apps, with their live requests",
		Long:              "List apps, with their live requests. With --watch the table moves as the requests do.",
		Example:           s.examples("list", "list -A -w", "list -l team=web --sort-by .status.traffic.pending", "list -o wide"),
		ValidArgsFunction: s.completeApp(0),
		RunE:              s.runs(o),
	}
	flags := cmd.Flags()
	o.PrintFlags.AddFlags(cmd)
	o.coloring.addFlags(cmd)
	flags.BoolVarP(&o.Watch, "watch", "w", false, "Go on listing what changes, the requests included.")
	flags.BoolVar(&o.WatchOnly, "watch-only", false, "List what changes, without what there is.")
	flags.BoolVarP(&o.AllNamespaces, "all-namespaces", "A", false, "The apps of all namespaces.")
	flags.StringVar(&o.FieldSelector, "field-selector", "", "Only apps with these fields, such as status.ready!=True.")
	flags.BoolVar(&o.IgnoreNotFound, "ignore-not-found", false, "It is no error that an app which was named is not there.")
	cmdutil.AddLabelSelectorFlagVar(cmd, &o.LabelSelector)
	cmdutil.AddChunkSizeFlag(cmd, &o.ChunkSize)
	return cmd
}

// ofApps makes the arguments of a command of kubectl's, which takes a resource first, those for apps.
func ofApps(names []string) []string {
	return append([]string{resource + "." + v1alpha1.GroupName}, names...)
}

func (o *listOptions) complete(cmd *cobra.Command, args []string) error {
	o.args = ofApps(args)
	if colors := o.palette(o.session, o.session.Out); colors.colored {
		o.GetOptions.Out = &statusColumn{palette: colors, out: o.session.Out}
	}
	return o.Complete(o.factory, cmd, o.args)
}

func (o *listOptions) validate() error {
	_, err := o.PrintFlags.ToPrinter() // which kubectl asks when the cluster has answered
	return errors.Join(err, o.coloring.validate(), o.Validate())
}

func (o *listOptions) run(context.Context) error { return o.Run(o.factory, o.args) }
