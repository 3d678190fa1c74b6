// Package addons knows what runs in a cluster before anything of the project does: DNS and KEDA.
package addons

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/components"
	"github.com/kedahttp/kedahttp/hack/cluster/kubectl"
	"github.com/kedahttp/kedahttp/hack/cluster/network"
)

//go:embed manifests
var manifests embed.FS

func manifest(file string, replacements ...string) ([]byte, error) {
	data, err := manifests.ReadFile("manifests/" + file)
	if err != nil {
		return nil, err
	}
	return []byte(strings.NewReplacer(replacements...).Replace(string(data))), nil
}

func digest(b components.Built, i int) (string, error) {
	images, err := b.Images()
	if err != nil {
		return "", err
	}
	return images[i].Digest, nil
}

// ApplyDNS applies CoreDNS.
func ApplyDNS(ctx context.Context, ctl kubectl.Client, coredns components.Built) error {
	image, err := digest(coredns, 0)
	if err != nil {
		return err
	}
	data, err := manifest("coredns.yaml", "DNS-IP", network.DNSIP, "IMAGE-DIGEST", image)
	if err != nil {
		return err
	}
	return ctl.Apply(ctx, data)
}

// AwaitDNS waits until CoreDNS answers.
func AwaitDNS(ctx context.Context, ctl kubectl.Client) error {
	return await(ctx, ctl, "kube-system", "deployment/coredns")
}

// ApplyKEDA applies KEDA's own manifests with the images that were built here. dir is a folder for a copy of them.
func ApplyKEDA(ctx context.Context, ctl kubectl.Client, keda components.Built, dir string) error {
	operator, err := digest(keda, 0)
	if err != nil {
		return err
	}
	adapter, err := digest(keda, 1)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(dir, "config"), os.DirFS(keda.Program("config"))); err != nil {
		return err
	}
	overlay, err := manifest("keda.yaml", "OPERATOR-DIGEST", operator, "ADAPTER-DIGEST", adapter)
	if err != nil {
		return err
	}
	if err := cluster.WriteFile(filepath.Join(dir, "kustomization.yaml"), overlay, 0o644); err != nil {
		return err
	}
	rendered, err := ctl.Run(ctx, "kustomize", dir)
	if err != nil {
		return err
	}
	return ctl.Apply(ctx, []byte(rendered))
}

// AwaitKEDA waits until KEDA scales and serves external metrics.
func AwaitKEDA(ctx context.Context, ctl kubectl.Client) error {
	if err := await(ctx, ctl, "keda", "deployment/keda-operator", "deployment/keda-metrics-apiserver"); err != nil {
		return err
	}
	if _, err := ctl.Run(ctx, "wait", "--for=condition=Available", "apiservice/v1beta1.external.metrics.k8s.io", "--timeout=120s"); err != nil {
		return fmt.Errorf("KEDA's external metrics do not become available: %w%s", err, ctl.Explain(ctx, "keda"))
	}
	return nil
}

func await(ctx context.Context, ctl kubectl.Client, namespace string, workloads ...string) error {
	for _, workload := range workloads {
		if _, err := ctl.Run(ctx, "rollout", "status", workload, "--namespace="+namespace, "--timeout=180s"); err != nil {
			return fmt.Errorf("%w%s", err, ctl.Explain(ctx, namespace))
		}
	}
	return nil
}
