// Command network-policies has the node's packet filter keep to the cluster's NetworkPolicies: the first packet of each connection waits until
// kube-network-policies has judged it. That one's own rules need nftables' queue, which kernels may lack; those here are made with iptables, which
// is there for kube-proxy.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

// queue is where packets wait, by its number in the network namespace.
const queue = 100

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the cluster")
	node := flag.String("node", "", "the node's name")
	pods := flag.String("pods", "", "the addresses of pods, as a CIDR")
	exempt := flag.String("exempt", "", "the address that the kubelet's probes come from: what comes from a pod's own node is let through")
	klog.InitFlags(nil)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *node, *pods, *exempt); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, node, pods, exempt string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	all := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(client, all.Networking().V1().NetworkPolicies(), all.Core().V1().Namespaces(), all.Core().V1().Pods(),
		nil, nil, nil, nil, networkpolicy.Config{NodeName: node, QueueID: queue}) // with NRI disabled it would follow a nil pointer
	if err != nil {
		return err
	}
	if err := divert(ctx, pods, exempt); err != nil {
		return err
	}
	all.Start(ctx.Done())
	return controller.Run(ctx)
}

// divert has the first packets of connections of pods wait for a verdict, behind the place where a Service's address has become a pod's, and before that
// where a client's becomes the node's. Should this program end, they go nowhere.
func divert(ctx context.Context, pods, exempt string) error {
	judged := fmt.Sprintf(" --match conntrack --ctstate NEW --jump NFQUEUE --queue-num %d", queue)
	for _, rule := range []string{
		"--source " + exempt + " --jump RETURN",
		"--source " + pods + judged,
		"--destination " + pods + judged,
	} {
		const chain = "POSTROUTING"
		args := func(command string) []string {
			return append([]string{"--wait", "--table", "mangle", command, chain}, strings.Fields(rule)...)
		}
		if exec.CommandContext(ctx, "iptables", args("--check")...).Run() == nil {
			continue
		}
		if out, err := exec.CommandContext(ctx, "iptables", args("--append")...).CombinedOutput(); err != nil {
			return errors.Join(fmt.Errorf("iptables %s: %w", strings.Join(args("--append"), " "), err), errors.New(string(out)))
		}
	}
	return nil
}
