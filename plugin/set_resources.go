package plugin

import (
	"errors"

	"github.com/spf13/cobra"
)

func newSetResourcesCommand(s *session) *cobra.Command {
	return s.newSetting(&cobra.Command{
		Use:     "resources NAME",
		Short:   "Set what a replica is given of CPU and memory",
		Example: s.examples("set resources hello --cpu 250m --memory 128Mi"),
		Args:    exactly("NAME"),
	}, []string{"cpu", "memory"}, func(o *setOptions, _ []string) error {
		if o.cpu == "" && o.memory == "" {
			return errors.New("say --cpu, --memory or both")
		}
		return nil
	})
}
