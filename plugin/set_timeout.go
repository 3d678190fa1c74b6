package plugin

import "github.com/spf13/cobra"

func newSetTimeoutCommand(s *session) *cobra.Command {
	return s.newSetting(&cobra.Command{
		Use:     "timeout NAME DURATION",
		Short:   "Set how long a response may take to begin",
		Example: s.examples("set timeout hello 30s"),
		Args:    exactly("NAME", "DURATION"),
	}, nil, give("timeout"))
}
