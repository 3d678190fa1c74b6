package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

type generateOptions struct {
	*session
	edition
	output string
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
	cmd.Flags().StringVarP(&o.output, "output", "o", "yaml", "yaml or json.")
	completeOutput(cmd, []string{"yaml", "json"})
	return cmd
}

func (o *generateOptions) complete(cmd *cobra.Command, _ []string) error {
	return o.edition.complete(cmd)
}

func (o *generateOptions) validate() error {
	return errors.Join(o.edition.validate(domainNeeded), validateOutput(o.output))
}

func (o *generateOptions) run(context.Context) error {
	objects, err := o.objects()
	if err != nil {
		return err
	}
	for i, object := range objects {
		if o.output == "json" {
			if err := printAs(o.Out, "json", object.Object); err != nil {
				return err
			}
			continue
		}
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
