package plugin

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

type generateOptions struct {
	*session
	edition
}

func newGenerateCommand(s *session) *cobra.Command {
	o := &generateOptions{session: s}
	cmd := &cobra.Command{
		Use:     "generate --domain DOMAIN",
		Short:   "Print the manifests that install would apply",
		Long:    "Print the manifests that install would apply, for kubectl apply --server-side, or for Git. The cluster is not asked.",
		Example: s.examples("generate --domain apps.example.com > kedahttp.yaml"),
		Args:    exactly(), RunE: s.runs(o),
	}
	o.edition.addFlags(cmd)
	return cmd
}

func (o *generateOptions) complete(cmd *cobra.Command, _ []string) error {
	return o.edition.complete(cmd)
}

func (o *generateOptions) validate() error { return o.edition.validate(domainNeeded) }

func (o *generateOptions) run(context.Context) error {
	objects, err := o.objects()
	if err != nil {
		return err
	}
	for i, object := range objects {
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			return err
		}
		if i > 0 {
			fmt.Fprintln(o.Out, "---")
		}
		if _, err := o.Out.Write(text); err != nil {
			return err
		}
	}
	return nil
}
