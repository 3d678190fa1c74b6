package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"sigs.k8s.io/yaml"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Version is the plugin's version, set when it is built.
var Version = "dev"

type versionOptions struct {
	genericiooptions.IOStreams
	factory    cmdutil.Factory
	clientOnly bool
	output     string
}

// versions is what version prints.
type versions struct {
	Client string `json:"client"`
	Go     string `json:"go"`
	// Server is the version of the API server that answers for the apps, Kubernetes that of the cluster.
	Server     string `json:"server,omitempty"`
	API        string `json:"api,omitempty"`
	Kubernetes string `json:"kubernetes,omitempty"`
}

func newVersionCommand(factory cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	o := &versionOptions{IOStreams: streams, factory: factory}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the plugin and of the server",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&o.clientOnly, "client", false, "Only the plugin's version; the cluster is not asked.")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json or yaml.")
	return cmd
}

func (o *versionOptions) validate() error {
	switch o.output {
	case "", "json", "yaml":
		return nil
	default:
		return usageError(fmt.Errorf("--output is %q; it can be json or yaml", o.output))
	}
}

func (o *versionOptions) run(ctx context.Context) error {
	v := versions{Client: Version, Go: runtime.Version()}
	var failed error
	if !o.clientOnly {
		failed = o.askServer(ctx, &v)
	}
	if err := o.print(v); err != nil {
		return err
	}
	return failed
}

func (o *versionOptions) askServer(ctx context.Context, v *versions) error {
	discovery, err := o.factory.ToDiscoveryClient()
	if err != nil {
		return err
	}
	kubernetes, err := discovery.ServerVersion()
	if err != nil {
		return fmt.Errorf("the cluster does not answer: %w", err)
	}
	v.Kubernetes = kubernetes.GitVersion
	// The aggregation layer passes on nothing outside the group, so the server's version comes from its OpenAPI document.
	raw, err := discovery.RESTClient().Get().AbsPath("/openapi/v3/apis", v1alpha1.GroupName, v1alpha1.SchemeGroupVersion.Version).
		SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		return explain(err)
	}
	var document struct{ Info struct{ Version string } }
	if err := json.Unmarshal(raw, &document); err != nil {
		return fmt.Errorf("the server's OpenAPI document: %w", err)
	}
	v.Server, v.API = document.Info.Version, v1alpha1.SchemeGroupVersion.String()
	return nil
}

func (o *versionOptions) print(v versions) error {
	switch o.output {
	case "json":
		return json.NewEncoder(o.Out).Encode(v)
	case "yaml":
		text, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = o.Out.Write(text)
		return err
	}
	fmt.Fprintf(o.Out, "Client: %s (%s)\n", v.Client, v.Go)
	if v.Server != "" {
		fmt.Fprintf(o.Out, "Server: %s (%s)\n", v.Server, v.API)
	}
	if v.Kubernetes != "" {
		fmt.Fprintf(o.Out, "Kubernetes: %s\n", v.Kubernetes)
	}
	return nil
}
