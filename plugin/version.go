package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Version is the plugin's version, set when it is built.
var Version = "dev"

type versionOptions struct {
	*session
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

func newVersionCommand(s *session) *cobra.Command {
	o := &versionOptions{session: s}
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of the plugin and of the server",
		Example: s.examples("version", "version --client -o json"),
		Args:    exactly(),
		RunE:    s.runs(o),
	}
	cmd.Flags().BoolVar(&o.clientOnly, "client", false, "Only the plugin's version; the cluster is not asked.")
	addOutput(cmd, &o.output)
	return cmd
}

func (o *versionOptions) complete(*cobra.Command, []string) error { return nil }

func (o *versionOptions) validate() error { return validateOutput(o.output) }

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
		return err
	}
	v.Kubernetes = kubernetes.GitVersion
	// The aggregation layer passes on nothing outside the group, so the server's version comes from its OpenAPI document.
	raw, err := discovery.RESTClient().Get().AbsPath("/openapi/v3/apis", v1alpha1.GroupName, v1alpha1.SchemeGroupVersion.Version).
		SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		return err
	}
	var document struct{ Info struct{ Version string } }
	if err := json.Unmarshal(raw, &document); err != nil {
		return fmt.Errorf("the server's OpenAPI document: %w", err)
	}
	v.Server, v.API = document.Info.Version, v1alpha1.SchemeGroupVersion.String()
	return nil
}

func (o *versionOptions) print(v versions) error {
	if o.output != "" {
		return printAs(o.Out, o.output, v)
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
