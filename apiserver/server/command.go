package server

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/kedahttp/kedahttp/apiserver/server/memory"
	"github.com/kedahttp/kedahttp/interceptor/admin"
	"github.com/kedahttp/kedahttp/interceptor/logging"
)

// NewCommand makes the command that runs the server. Its context ends with the process.
func NewCommand() *cobra.Command {
	options := NewOptions()
	var applyLogging func() error
	cmd := &cobra.Command{
		Use:           "apiserver",
		Short:         "Serve HTTPApps to a Kubernetes cluster, wake them and see to what they are made of",
		Args:          cobra.NoArgs,
		Version:       Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := applyLogging(); err != nil {
				return err
			}
			memory.Keep()
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
	applyLogging = logging.AddFlags(cmd.Flags())
	return cmd
}

// withVerbosity changes how much is logged, within the bounds of all parts.
func withVerbosity(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method+" "+r.URL.Path == admin.VerbosityPattern {
			admin.Verbosity(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}
