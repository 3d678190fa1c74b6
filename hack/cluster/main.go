// Command cluster runs real single-node Kubernetes clusters with KEDA on one machine, for tests and demonstrations.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/node"
	"github.com/kedahttp/kedahttp/hack/cluster/progress"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program in the usual way
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "Run a real single-node Kubernetes with KEDA on this machine",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(
		newUpCommand(), newDownCommand(), newListCommand(), newKubeconfigCommand(), newEnvCommand(),
		newBuildCommand(), newInstallCommand(), newImageCommand(), newLoadCommand(), newForwardCommand(),
	)
	return root
}

// oneCluster is for commands whose only argument is the name of a cluster.
func oneCluster(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s wants the name of one cluster, for example `%s dev`", cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}

// report is where a command tells its progress: never on stdout, which is for results.
func report(cmd *cobra.Command) *progress.Reporter { return progress.To(cmd.ErrOrStderr()) }

func asRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster makes network namespaces, mounts and control groups: run this as root")
	}
	return nil
}

// lock lets one command at a time work on a cluster.
func lock(cmd *cobra.Command, c cluster.Cluster) (unlock func(), err error) {
	return c.Lock(func() { report(cmd).Printf("another command works on cluster %s; waiting for it", c.Name) })
}

// existing returns the node of a cluster that has been started.
func existing(cmd *cobra.Command, name string) (*node.Node, cluster.State, error) {
	c, err := cluster.SystemRoots.Named(name)
	if err != nil {
		return nil, cluster.State{}, err
	}
	state, err := c.Load()
	if errors.Is(err, os.ErrNotExist) {
		return nil, state, fmt.Errorf("there is no cluster %s; `cluster up %s` starts one", name, name)
	}
	return node.Of(c, report(cmd)), state, err
}

// running is existing for commands that need the cluster to run.
func running(cmd *cobra.Command, name string) (*node.Node, cluster.State, error) {
	n, state, err := existing(cmd, name)
	if err == nil && !n.Running() {
		err = fmt.Errorf("cluster %s does not run; `cluster up %s` starts it again", name, name)
	}
	return n, state, err
}
