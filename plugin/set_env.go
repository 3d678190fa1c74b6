package plugin

import "github.com/spf13/cobra"

func newSetEnvCommand(s *session) *cobra.Command {
	return s.newSetting(&cobra.Command{
		Use:     "env NAME VARIABLE=VALUE... VARIABLE-...",
		Short:   "Set or remove environment variables",
		Example: s.examples("set env hello LOG_LEVEL=debug OLD-"),
		Args:    atLeast("NAME", "VARIABLE=VALUE"),
	}, nil, give("env"))
}
