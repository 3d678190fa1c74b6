package main

import (
	"fmt"
	"strings"

	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/node"
	"github.com/spf13/cobra"
)

func newKubeconfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig NAME",
		Short: "Print the path of the administrator's kubeconfig",
		Args:  oneCluster,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, _, err := existing(cmd, args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), n.Kubeconfig())
			return nil
		},
	}
}

func newEnvCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "env NAME",
		Short:   "Print the environment in which kubectl and the tests use a cluster",
		Example: `  eval "$(cluster env dev)"`,
		Args:    oneCluster,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, state, err := existing(cmd, args[0])
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), environment(n, state))
			return nil
		},
	}
}

func environment(n *node.Node, state cluster.State) string {
	var out strings.Builder
	set := func(name, value string) {
		fmt.Fprintf(&out, "export %s=%s\n", name, value) // paths and addresses of ours, with nothing in them to quote
	}
	set("KUBECONFIG", n.Kubeconfig())
	set("KUBECACHEDIR", n.Kubectl().CacheDir())
	set("KEDAHTTP_CLUSTER", n.Name)
	set("KEDAHTTP_INTERCEPTOR", httpAddress(state))
	set("KEDAHTTP_INTERCEPTOR_TLS", httpsAddress(state))
	set("KEDAHTTP_NETNS", n.Namespace.Path())
	set("KEDAHTTP_CONTAINERD", n.ContainerdSocket())
	// once, however often it is evaluated
	fmt.Fprintf(&out, "case \":$PATH:\" in *:%s:*) ;; *) export PATH=%s:$PATH ;; esac\n", n.Bin(), n.Bin())
	return out.String()
}
