package server

import (
	"github.com/spf13/cobra"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// NewCommand makes the command that runs the server. Its context ends with the process.
func NewCommand() *cobra.Command {
	options := NewOptions()
	logging := logsapi.NewLoggingConfiguration()
	cmd := &cobra.Command{
		Use:           "apiserver",
		Short:         "Serve HTTPApps to a Kubernetes cluster, wake them and see to what they are made of",
		Args:          cobra.NoArgs,
		Version:       Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := logsapi.ValidateAndApply(logging, nil); err != nil {
				return err
			}
			options.Complete()
			if err := options.Validate(); err != nil {
				return err
			}
			server, err := options.New(cmd.Context())
			if err != nil {
				return err
			}
			return server.Run(cmd.Context())
		},
	}
	options.AddFlags(cmd.Flags())
	logsapi.AddFlags(logging, cmd.Flags())
	return cmd
}
