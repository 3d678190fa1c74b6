package plugin

import "github.com/spf13/cobra"

func newSetImageCommand(s *session) *cobra.Command {
	return s.newSetting(&cobra.Command{
		Use:     "image NAME IMAGE",
		Short:   "Set the container image",
		Example: s.examples("set image hello example.com/hello:2"),
		Args:    exactly("NAME", "IMAGE"),
	}, nil, give("image"))
}
