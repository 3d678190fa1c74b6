// Package kubectl runs kubectl as a cluster's administrator.
package kubectl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Client is a kubectl with a kubeconfig.
type Client struct {
	Binary     string
	Kubeconfig string
}

// CacheDir is where kubectl keeps its discovery cache: with the cluster, because a later cluster may have the
// same address and other APIs.
func (c Client) CacheDir() string { return filepath.Join(filepath.Dir(c.Kubeconfig), "kubectl-cache") }

// Run runs kubectl and returns what it printed.
func (c Client) Run(ctx context.Context, args ...string) (string, error) {
	return c.RunWith(ctx, nil, args...)
}

// RunWith runs kubectl with something to read.
func (c Client) RunWith(ctx context.Context, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "KUBECACHEDIR="+c.CacheDir(), "KUBERC=off")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		if said == "" {
			said = strings.TrimSpace(stdout.String())
		}
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, said)
	}
	return stdout.String(), nil
}

// Apply applies manifests, and takes over fields that somebody else has set.
func (c Client) Apply(ctx context.Context, manifests []byte) error {
	_, err := c.RunWith(ctx, manifests, "apply", "--server-side", "--force-conflicts", "--field-manager=kedahttp-cluster", "-f", "-")
	return err
}

// Explain collects what a person would look at when a namespace's pods do not come up: the pods, warnings, and the last
// words of those that are not ready. It never fails; what cannot be had is missing.
func (c Client) Explain(ctx context.Context, namespace string) string {
	var out strings.Builder
	section := func(title string, args ...string) {
		text, err := c.Run(ctx, append(args, "--namespace="+namespace)...)
		if err != nil {
			text += err.Error()
		}
		if text = strings.TrimSpace(text); text != "" {
			fmt.Fprintf(&out, "\n--- %s\n%s", title, text)
		}
	}
	section("pods in "+namespace, "get", "pods", "-o", "wide")
	section("warnings", "get", "events", "--field-selector=type=Warning", "--sort-by=.lastTimestamp")
	pods, err := c.Run(ctx, "get", "pods", "--namespace="+namespace, "-o", "json")
	if err != nil {
		return out.String()
	}
	for _, pod := range unready([]byte(pods)) {
		section("log of "+pod, "logs", pod, "--all-containers", "--prefix", "--tail=30")
		if text, err := c.Run(ctx, "logs", pod, "--namespace="+namespace, "--all-containers", "--prefix", "--tail=30", "--previous"); err == nil && text != "" {
			fmt.Fprintf(&out, "\n--- log of %s before its restart\n%s", pod, strings.TrimSpace(text))
		}
	}
	return out.String()
}

// unready names the pods of a list that are not ready; all of them if every one is.
func unready(list []byte) []string {
	var pods struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if json.Unmarshal(list, &pods) != nil {
		return nil
	}
	var all, bad []string
	for _, pod := range pods.Items {
		all = append(all, pod.Metadata.Name)
		ready := false
		for _, condition := range pod.Status.Conditions {
			ready = ready || condition.Type == "Ready" && condition.Status == "True"
		}
		if !ready {
			bad = append(bad, pod.Metadata.Name)
		}
	}
	if len(bad) == 0 {
		return all
	}
	return bad
}
