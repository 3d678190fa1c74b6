package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/kedahttp/kedahttp/hack/cluster/components"
	"github.com/kedahttp/kedahttp/hack/cluster/image"
)

func (n *Node) ctr(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"--address", n.ContainerdSocket(), "--namespace", "k8s.io"}, args...)
	cmd := exec.CommandContext(ctx, "ctr", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args[4:], " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Import loads image tarballs into the node's containerd.
func (n *Node) Import(ctx context.Context, files ...string) error {
	for _, file := range files {
		if _, err := n.ctr(ctx, "images", "import", file); err != nil {
			return err
		}
	}
	return nil
}

// LoadMissing loads those images that the node does not have with this content.
func (n *Node) LoadMissing(ctx context.Context, images []components.Image) error {
	have, err := n.digests(ctx)
	if err != nil {
		return err
	}
	for _, i := range images {
		canonical, err := image.Canonical(i.Name)
		if err != nil {
			return err
		}
		if have[canonical] == i.Digest {
			continue
		}
		if err := n.Import(ctx, i.File); err != nil {
			return errors.Join(fmt.Errorf("load image %s", i.Name), err)
		}
	}
	return nil
}

func (n *Node) digests(ctx context.Context) (map[string]string, error) {
	listing, err := n.ctr(ctx, "images", "ls")
	if err != nil {
		return nil, err
	}
	return parseDigests(listing), nil
}

// parseDigests reads "REF TYPE DIGEST SIZE PLATFORMS LABELS".
func parseDigests(listing string) map[string]string {
	digests := map[string]string{}
	for line := range strings.Lines(listing) {
		if fields := strings.Fields(line); len(fields) >= 3 && strings.HasPrefix(fields[2], "sha256:") {
			digests[fields[0]] = fields[2]
		}
	}
	return digests
}
