package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

type installOptions struct {
	*session
	edition
	applying
}

func newInstallCommand(s *session) *cobra.Command {
	o := &installOptions{session: s, applying: applying{writing: newWriting("applied")}}
	cmd := &cobra.Command{
		Use:   "install --domain DOMAIN",
		Short: "Install kedahttp into the cluster",
		Long: "Install kedahttp into the cluster, and wait until it answers. KEDA is looked for and not installed.\n\n" +
			"Then let a wildcard name of the domain, an Ingress or a load balancer lead to the Service kedahttp-interceptor in kedahttp-system.",
		Example: s.examples("install --domain apps.example.com", "install -k ./kedahttp", "install --domain apps.example.com --dry-run=server"),
		Args:    exactly(), RunE: s.runs(o),
	}
	o.edition.addFlags(cmd)
	o.applying.addFlags(cmd)
	return cmd
}

func (o *installOptions) complete(cmd *cobra.Command, _ []string) error {
	if err := o.edition.complete(cmd); err != nil {
		return err
	}
	return o.writing.complete(cmd)
}

func (o *installOptions) validate() error {
	return errors.Join(o.edition.validate(domainNeeded), o.writing.validate())
}

func (o *installOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	running, err := c.running(ctx)
	switch {
	case err != nil:
		return err
	case running != nil:
		return fmt.Errorf("kedahttp is installed already, with the image %s\nBring it to this version: %s upgrade", running.Spec.Template.Spec.Containers[0].Image, o.calledAs)
	}
	objects, err := o.objects()
	if err != nil {
		return err
	}
	i, err := o.newInstaller(&o.writing)
	if err != nil {
		return err
	}
	if err := i.apply(ctx, objects); err != nil {
		return err
	}
	return o.finish(ctx, c, i, objects, nil)
}
