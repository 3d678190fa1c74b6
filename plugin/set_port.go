package plugin

import "github.com/spf13/cobra"

func newSetPortCommand(s *session) *cobra.Command {
	return s.newSetting(&cobra.Command{
		Use:     "port NAME PORT",
		Short:   "Set the port that the container listens on",
		Example: s.examples("set port hello 3000"),
		Args:    exactly("NAME", "PORT"),
	}, nil, give("port"))
}
