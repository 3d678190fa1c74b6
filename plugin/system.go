package plugin

import (
	"context"

	"github.com/spf13/cobra"
)

const (
	nameLabel       = "app.kubernetes.io/name"
	interceptorName = "kedahttp-interceptor"
	// usualNamespace is where the manifests put kedahttp.
	usualNamespace = "kedahttp-system"
)

func addSystemFlag(cmd *cobra.Command, system *string) {
	cmd.Flags().StringVar(system, "system-namespace", "", "The namespace that kedahttp runs in. Default: that of its APIService, or "+usualNamespace+".")
}

// systemNamespace is the namespace that kedahttp runs in.
func (c *clients) systemNamespace(ctx context.Context, said string) string {
	if said != "" {
		return said
	}
	service, err := c.apiServiceNamed(ctx, apiServiceName)
	if err != nil || service.Spec.Service == nil || service.Spec.Service.Namespace == "" {
		return usualNamespace // who may not see APIServices is not kept from anything
	}
	return service.Spec.Service.Namespace
}
