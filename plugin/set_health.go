package plugin

import "github.com/spf13/cobra"

func newSetHealthCommand(s *session) *cobra.Command {
	return s.newSetting(&cobra.Command{
		Use:     "health NAME PATH",
		Short:   "Set the path that answers 2xx when the container is ready",
		Example: s.examples("set health hello /healthz"),
		Args:    exactly("NAME", "PATH"),
	}, nil, give("health"))
}
