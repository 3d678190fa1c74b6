package plugin

import (
	"errors"

	"github.com/spf13/cobra"
)

func newSetExposeCommand(s *session) *cobra.Command {
	return s.newSetting(&cobra.Command{
		Use:     "expose NAME",
		Short:   "Set what lets the hosts in: an Ingress, an HTTPRoute at a Gateway",
		Example: s.examples("set expose hello --ingress=nginx"),
		Args:    exactly("NAME"),
	}, []string{"ingress", "ingress-tls-secret", "gateway"}, func(o *setOptions, _ []string) error {
		if !o.changed("ingress") && !o.changed("ingress-tls-secret") && !o.changed("gateway") {
			return errors.New("say --ingress, --ingress-tls-secret or --gateway")
		}
		return nil
	})
}
