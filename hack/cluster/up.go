package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/kedahttp/kedahttp/hack/cluster/addons"
	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/components"
	"github.com/kedahttp/kedahttp/hack/cluster/debian"
	"github.com/kedahttp/kedahttp/hack/cluster/node"
	"github.com/kedahttp/kedahttp/hack/cluster/progress"
	"github.com/spf13/cobra"
)

func newUpCommand() *cobra.Command {
	var (
		withoutKEDA bool
		release     string
		sync        time.Duration
		policies    bool
	)
	cmd := &cobra.Command{
		Use:   "up NAME",
		Short: "Start a cluster, or whatever of it does not run",
		Args:  oneCluster,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := cluster.SystemRoots.Named(args[0])
			if err != nil {
				return err
			}
			if err := debian.Ensure(cmd.Context(), report(cmd)); err != nil {
				return err
			}
			if err := asRoot(); err != nil {
				return err
			}
			return up(cmd, c, release, sync, policies, !withoutKEDA)
		},
	}
	cmd.Flags().BoolVar(&withoutKEDA, "without-keda", false, "leave KEDA out; a KEDA that the cluster has stays")
	cmd.Flags().DurationVar(&sync, "sync", 0, "how often the kubelet looks at each pod, and brings changed Secrets into it, for good; default: as often as any kubelet, once a minute")
	cmd.Flags().BoolVar(&policies, "enforce-network-policies", false, "keep to the cluster's NetworkPolicies, for good; from a pod's own node it is reached in any case")
	releaseFlag(cmd, &release)
	return cmd
}

func releaseFlag(cmd *cobra.Command, release *string) {
	cmd.Flags().StringVar(release, "kubernetes", "", "minor release of Kubernetes, such as 1.35; a cluster keeps the one that it was made with")
}

func up(cmd *cobra.Command, c cluster.Cluster, release string, sync time.Duration, policies, withKEDA bool) error {
	begin := time.Now()
	ctx, report := cmd.Context(), report(cmd)
	unlock, err := lock(cmd, c)
	if err != nil {
		return err
	}
	defer unlock()
	builder, err := components.NewBuilder(report)
	if err != nil {
		return err
	}
	kubernetes, err := kubernetesOf(builder, c, release)
	if err != nil {
		return err
	}
	state, err := c.Load()
	if err != nil {
		return err
	}
	if sync > 0 {
		state.Sync = sync.String()
	}
	state.NetworkPolicies = state.NetworkPolicies || policies
	if err := c.Save(state); err != nil {
		return err
	}
	built, err := build(ctx, builder, kubernetes, withKEDA, state.NetworkPolicies)
	if err != nil {
		return err
	}
	images, err := built.images()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	n := node.Of(c, report)
	if err := n.Start(ctx, built.kubernetes, built.networkPolicies, images, self); err != nil {
		return err
	}
	ctl := n.Kubectl()
	err = report.Step("start CoreDNS", func() error {
		if err := addons.ApplyDNS(ctx, ctl, built.coredns); err != nil {
			return err
		}
		if withKEDA { // its pods start while CoreDNS does
			if err := addons.ApplyKEDA(ctx, ctl, built.keda, c.Data("keda")); err != nil {
				return err
			}
		}
		return addons.AwaitDNS(ctx, ctl)
	})
	if err != nil {
		return err
	}
	if withKEDA {
		if err := report.Step("start KEDA", func() error { return addons.AwaitKEDA(ctx, ctl) }); err != nil {
			return err
		}
	}
	if state, err = c.Load(); err != nil {
		return err
	}
	report.Printf("cluster %s is up (%s)", c.Name, progress.Elapsed(begin))
	_, err = fmt.Fprintf(cmd.OutOrStdout(), `kubeconfig:   %s
interceptor:  %s
              %s
environment:  eval "$(cluster env %s)"
`, c.Kubeconfig(), httpAddress(state), httpsAddress(state), c.Name)
	return err
}

// kubernetesOf chooses a new cluster's release, and remembers it: what etcd keeps of one release is not for another.
func kubernetesOf(builder *components.Builder, c cluster.Cluster, release string) (components.Component, error) {
	wanted, err := builder.KubernetesOf(release)
	if err != nil {
		return wanted, err
	}
	state, err := c.Load()
	if errors.Is(err, os.ErrNotExist) {
		state.Kubernetes = release
		return wanted, c.Save(state)
	}
	if err != nil {
		return wanted, err
	}
	has, err := builder.KubernetesOf(state.Kubernetes)
	if err == nil && release != "" && has.Name != wanted.Name {
		err = fmt.Errorf("cluster %s was made with another release of Kubernetes than %s; `cluster down %s` removes it", c.Name, release, c.Name)
	}
	return has, err
}

func httpAddress(s cluster.State) string  { return fmt.Sprintf("http://127.0.0.1:%d", s.Ports.HTTP) }
func httpsAddress(s cluster.State) string { return fmt.Sprintf("https://127.0.0.1:%d", s.Ports.HTTPS) }

type built struct {
	kubernetes, coredns, keda, networkPolicies, pause components.Built
}

// build builds one component after the other: each build uses all processors already.
func build(ctx context.Context, builder *components.Builder, kubernetes components.Component, withKEDA, withPolicies bool) (b built, err error) {
	for _, part := range []struct {
		component components.Component
		into      *components.Built
		wanted    bool
	}{
		{components.Pause, &b.pause, true},
		{kubernetes, &b.kubernetes, true},
		{components.CoreDNS, &b.coredns, true},
		{components.KEDA, &b.keda, withKEDA},
		{components.NetworkPolicies, &b.networkPolicies, withPolicies},
	} {
		if !part.wanted {
			continue
		}
		if *part.into, err = builder.Build(ctx, part.component); err != nil {
			return b, err
		}
	}
	return b, nil
}

func (b built) images() ([]components.Image, error) {
	var all []components.Image
	for _, c := range []components.Built{b.pause, b.coredns, b.keda} {
		images, err := c.Images()
		if err != nil {
			return nil, err
		}
		all = append(all, images...)
	}
	return all, nil
}

func newBuildCommand() *cobra.Command {
	var release string
	var withoutKEDA, policies bool
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the components into the cache, and start nothing; prints their folders",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			builder, err := components.NewBuilder(report(cmd))
			if err != nil {
				return err
			}
			kubernetes, err := builder.KubernetesOf(release)
			if err != nil {
				return err
			}
			b, err := build(cmd.Context(), builder, kubernetes, !withoutKEDA, policies)
			if err != nil {
				return err
			}
			for _, c := range []components.Built{b.pause, b.kubernetes, b.coredns, b.keda, b.networkPolicies} {
				if c.Dir != "" {
					fmt.Fprintln(cmd.OutOrStdout(), c.Dir)
				}
			}
			return nil
		},
	}
	releaseFlag(cmd, &release)
	cmd.Flags().BoolVar(&withoutKEDA, "without-keda", false, "leave KEDA out")
	cmd.Flags().BoolVar(&policies, "enforce-network-policies", false, "also what enforces NetworkPolicies")
	return cmd
}
