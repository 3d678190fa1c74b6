// Package install knows how the project's work tree becomes what runs in a cluster.
package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/components"
	"github.com/kedahttp/kedahttp/hack/cluster/image"
	"github.com/kedahttp/kedahttp/hack/cluster/kubectl"
	"github.com/kedahttp/kedahttp/hack/cluster/network"
	"github.com/kedahttp/kedahttp/hack/cluster/node"
	"github.com/kedahttp/kedahttp/hack/cluster/progress"
)

const (
	// Namespace is where the manifests put the project.
	Namespace = "kedahttp-system"
	// Overlay are the manifests for a cluster of this program, unless the installer has others.
	Overlay = "artifacts/overlays/local"
	// APIService is the project's API; waited for if the manifests hold it.
	APIService = "v1alpha1.apps.http.keda.sh"
	// HTTPPort and HTTPSPort stand in the overlay for the loopback ports through which the host reaches the interceptors.
	HTTPPort  = "${INTERCEPTOR_HTTP_PORT}"
	HTTPSPort = "${INTERCEPTOR_HTTPS_PORT}"
)

// Installer installs the work tree Repo.
type Installer struct {
	Repo string
	// Overlay is the folder of the manifests in it.
	Overlay string
	Node    *node.Node
	// HTTPPort and HTTPSPort are what the overlay's stand for.
	HTTPPort, HTTPSPort int
	Progress            *progress.Reporter
}

// Source is a main package and the image that is made of it.
type Source struct {
	Name  string
	Dir   string // of the main package
	Image image.Spec
}

// Sources lists the main packages of a work tree: the project's programs, then the tests' and demo's images.
func Sources(repo string) ([]Source, error) {
	var sources []Source
	for _, program := range []string{"apiserver", "interceptor", "scaler"} {
		dir := filepath.Join(repo, "cmd", program)
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("%s is not a work tree of the project: %w", repo, err)
		}
		sources = append(sources, Source{Name: program, Dir: dir, Image: image.Spec{Name: "kedahttp/" + program + ":dev", Entrypoint: "/" + program}})
	}
	tests, err := filepath.Glob(filepath.Join(repo, "test", "images", "*", "main.go"))
	if err != nil {
		return nil, err
	}
	for _, file := range tests {
		dir := filepath.Dir(file)
		name := filepath.Base(dir)
		sources = append(sources, Source{Name: "test-" + name, Dir: dir, Image: image.Spec{Name: "kedahttp/test-" + name + ":dev", Entrypoint: "/" + name}})
	}
	return sources, nil
}

// Images builds the work tree's images and loads those that the cluster does not have. It returns the content's
// digest by the image's name.
func (i Installer) Images(ctx context.Context) (map[string]string, error) {
	sources, err := Sources(i.Repo)
	if err != nil {
		return nil, err
	}
	// What is there already and up to date, go build leaves as it is. Of several clusters that are made at once the first has it built.
	dir := filepath.Join(i.Repo, "bin", "programs")
	unlock, err := cluster.LockFile(filepath.Join(dir, "lock"), func() { i.Progress.Printf("another command builds %s; waiting for it", i.Repo) })
	if err != nil {
		return nil, err
	}
	unlock = sync.OnceFunc(unlock)
	defer unlock()

	digests := map[string]string{}
	var images []components.Image
	for _, source := range sources {
		err := i.Progress.Step("build "+source.Image.Name, func() error {
			spec := source.Image
			spec.Binary = filepath.Join(dir, source.Name)
			if err := compile(ctx, source.Dir, spec.Binary); err != nil {
				return err
			}
			built := components.Image{Name: spec.Name, File: spec.Binary + ".tar"}
			if err := spec.Write(built.File, image.OCI); err != nil {
				return err
			}
			if built.Digest, err = spec.Digest(); err != nil {
				return err
			}
			images = append(images, built)
			digests[built.Name] = built.Digest
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	unlock()
	return digests, i.Progress.Step("load images", func() error { return i.Node.LoadMissing(ctx, images) })
}

// compile builds the main package in dir, which may be in a module of its own, as a static binary.
func compile(ctx context.Context, dir, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = components.Environment()
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", dir, err, bytes.TrimSpace(output))
	}
	return nil
}

// Run builds, loads, applies and waits.
func (i Installer) Run(ctx context.Context) error {
	overlay := filepath.Join(i.Repo, i.Overlay)
	if _, err := os.Stat(overlay); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not a work tree of the project: it has no %s", i.Repo, i.Overlay)
	}
	digests, err := i.Images(ctx)
	if err != nil {
		return err
	}
	ctl := i.Node.Kubectl()
	rendered, err := ctl.Run(ctx, "kustomize", overlay)
	if err != nil {
		return err
	}
	ports := strings.NewReplacer(HTTPPort, strconv.Itoa(i.HTTPPort), HTTPSPort, strconv.Itoa(i.HTTPSPort))
	manifests, err := Parse([]byte(ports.Replace(rendered)))
	if err != nil {
		return fmt.Errorf("%s: %w", overlay, err)
	}
	manifests.Stamp(digests)
	if err := i.Progress.Step("apply "+i.Overlay, func() error { return apply(ctx, ctl, manifests) }); err != nil {
		return err
	}
	return i.Progress.Step("wait for "+Namespace, func() error {
		if err := await(ctx, ctl, manifests); err != nil {
			return err
		}
		return i.awaitNodePorts(ctx, manifests)
	})
}

// awaitNodePorts waits until kube-proxy has heard of the pods behind the node ports, which the host's loopback is joined with.
func (i Installer) awaitNodePorts(ctx context.Context, m Manifests) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for _, port := range m.nodePorts() {
		if port != node.NodePortHTTP && port != node.NodePortHTTPS {
			continue
		}
		for {
			conn, err := i.Node.Namespace.Dial(ctx, fmt.Sprintf("%s:%d", network.NodeIP, port))
			if err == nil {
				conn.Close() //nolint:errcheck // it was there, which is all that matters
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("nothing answers at node port %d: %w", port, err)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

func apply(ctx context.Context, ctl kubectl.Client, m Manifests) error {
	// kubectl looks all kinds up before it applies anything, so those that the manifests define go first
	first, rest := m.Split(func(o Object) bool { return o.Kind() == "CustomResourceDefinition" || o.Kind() == "Namespace" })
	for _, part := range []Manifests{first, rest} {
		if len(part) == 0 {
			continue
		}
		data, err := part.YAML()
		if err != nil {
			return err
		}
		if err := ctl.Apply(ctx, data); err != nil {
			return err
		}
		for _, o := range part {
			if o.Kind() != "CustomResourceDefinition" {
				continue
			}
			if _, err := ctl.Run(ctx, "wait", "--for=condition=Established", "crd/"+o.Name(), "--timeout=30s"); err != nil {
				return err
			}
		}
	}
	return nil
}

func await(ctx context.Context, ctl kubectl.Client, m Manifests) error {
	for _, o := range m {
		if !o.rolls() {
			continue
		}
		workload := strings.ToLower(o.Kind()) + "/" + o.Name()
		if _, err := ctl.Run(ctx, "rollout", "status", workload, "--namespace="+o.Namespace(), "--timeout=180s"); err != nil {
			return fmt.Errorf("%w%s", err, ctl.Explain(ctx, o.Namespace()))
		}
	}
	service, err := ctl.Run(ctx, "get", "apiservice", APIService, "--ignore-not-found", "-o", "name")
	if err != nil || service == "" {
		return err
	}
	if _, err := ctl.Run(ctx, "wait", "--for=condition=Available", "apiservice/"+APIService, "--timeout=60s"); err != nil {
		status, _ := ctl.Run(ctx, "get", "apiservice", APIService, "-o", `jsonpath={.status.conditions[?(@.type=="Available")].message}`)
		return fmt.Errorf("%w\n%s%s", err, status, ctl.Explain(ctx, Namespace))
	}
	return nil
}

// contentOf digests what images hold, so that new content makes a new pod template.
func contentOf(images []string, digests map[string]string) string {
	h := sha256.New()
	known := false
	for _, name := range images {
		if digest, ok := digests[name]; ok {
			known = true
			fmt.Fprintf(h, "%s %s\n", name, digest)
		}
	}
	if !known {
		return ""
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:16]
}
