package plugin

import "github.com/spf13/cobra"

func newSetHostCommand(s *session) *cobra.Command {
	return s.newSetting(&cobra.Command{
		Use:     "host NAME HOST...",
		Short:   "Set the hosts",
		Example: s.examples("set host hello hello.example.com www.example.com"),
		Args:    atLeast("NAME", "HOST"),
	}, []string{"path"}, give("host"))
}
