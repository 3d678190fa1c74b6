// Package components knows how the programs of a cluster are built from source, once for each state of their modules.
//
// Each component is a Go module of its own beside this file, so that its dependencies meet neither the product's nor
// another component's.
package components

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/image"
	"github.com/kedahttp/kedahttp/hack/cluster/progress"
)

// recipe is part of every cache key: raise it when what this package or package image makes of a module changes.
const recipe = "1"

// Program is one binary of a component.
type Program struct {
	Package string
	File    string
	// Links are other names of the same binary.
	Links []string
	// Image is made of the binary when Name is set.
	Image image.Spec
}

// Component is a module and what is built from it.
type Component struct {
	Name     string
	Programs []Program
	// Stamp are variables that the linker sets to the version of a required module.
	Stamp  []string
	Module string
	// Folder of Module that is kept beside the binaries.
	Folder string
}

// The components of a cluster. Their versions stand in their go.mod files and nowhere else.
var (
	Kubernetes = Component{
		Name:   "kubernetes",
		Module: "k8s.io/kubernetes",
		Stamp:  []string{"k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion"},
		Programs: []Program{{
			Package: ".", File: "kubernetes",
			Links: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"},
		}},
	}
	CoreDNS = Component{
		Name: "coredns",
		Programs: []Program{{
			Package: ".", File: "coredns",
			Image: image.Spec{Name: "kedahttp/coredns:dev", Entrypoint: "/coredns"},
		}},
	}
	KEDA = Component{
		Name:   "keda",
		Module: "github.com/kedacore/keda/v2",
		Stamp:  []string{"github.com/kedacore/keda/v2/version.Version"},
		Folder: "config",
		Programs: []Program{
			{
				Package: "github.com/kedacore/keda/v2/cmd/operator", File: "keda",
				Image: image.Spec{Name: "kedahttp/keda:dev", Entrypoint: "/keda"},
			},
			{
				Package: "github.com/kedacore/keda/v2/cmd/adapter", File: "keda-adapter",
				Image: image.Spec{Name: "kedahttp/keda-metrics-apiserver:dev", Entrypoint: "/keda-adapter"},
			},
		},
	}
	NetworkPolicies = Component{
		Name:     "network-policies",
		Module:   "sigs.k8s.io/kube-network-policies",
		Programs: []Program{{Package: ".", File: "network-policies"}},
	}
	Pause = Component{
		Name: "pause",
		Programs: []Program{{
			Package: ".", File: "pause",
			Image: image.Spec{Name: "kedahttp/pause:dev", Entrypoint: "/pause"},
		}},
	}
)

// KubernetesOf is Kubernetes of a minor release such as 1.35: the usual one for "", or another that has a module of its own,
// for tests of what differs between the clusters that people have.
func (b *Builder) KubernetesOf(release string) (Component, error) {
	usual, err := b.Version(Kubernetes)
	if err != nil {
		return Component{}, err
	}
	if release == "" || strings.HasPrefix(usual, "v"+release+".") {
		return Kubernetes, nil
	}
	other := Kubernetes
	other.Name += "-" + release
	modules, err := filepath.Glob(filepath.Join(b.Sources, Kubernetes.Name+"-*"))
	if err != nil {
		return Component{}, err
	}
	if slices.Contains(modules, filepath.Join(b.Sources, other.Name)) {
		return other, nil
	}
	offered := []string{usual}
	for _, dir := range modules {
		offered = append(offered, strings.TrimPrefix(filepath.Base(dir), Kubernetes.Name+"-"))
	}
	return Component{}, fmt.Errorf("there is no module for Kubernetes %q in %s, only for %s", release, b.Sources, strings.Join(offered, ", "))
}

// CacheDir is where what was built is kept, outside the work tree.
func CacheDir() (string, error) {
	if dir := os.Getenv("KEDAHTTP_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	base, err := os.UserCacheDir() // $XDG_CACHE_HOME, or .cache in the home folder
	if err != nil {
		return "", fmt.Errorf("%w; set KEDAHTTP_CACHE to a folder for what is built", err)
	}
	return filepath.Join(base, "kedahttp"), nil
}

// Builder builds components into a cache.
type Builder struct {
	Sources  string // the folder that holds the modules
	Cache    string
	Progress *progress.Reporter
}

// NewBuilder finds the modules and the cache.
func NewBuilder(report *progress.Reporter) (*Builder, error) {
	sources, err := findSources()
	if err != nil {
		return nil, err
	}
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	return &Builder{Sources: sources, Cache: cache, Progress: report}, nil
}

// findSources looks where this file was compiled from, then upwards from the working directory and from the program.
func findSources() (string, error) {
	const marker = "kubernetes/go.mod"
	var candidates []string
	if dir := os.Getenv("KEDAHTTP_COMPONENTS"); dir != "" {
		candidates = append(candidates, dir)
	}
	if _, file, _, ok := runtime.Caller(0); ok {
		candidates = append(candidates, filepath.Dir(file))
	}
	upwards := func(dir string, err error) {
		for ; err == nil; dir = filepath.Dir(dir) {
			candidates = append(candidates, filepath.Join(dir, "components"), filepath.Join(dir, "hack", "cluster", "components"))
			if dir == filepath.Dir(dir) {
				return
			}
		}
	}
	upwards(os.Getwd())
	upwards(os.Executable())
	for _, dir := range candidates {
		if _, err := os.Stat(filepath.Join(dir, marker)); err == nil {
			return filepath.Abs(dir)
		}
	}
	return "", errors.New("the sources of the components are not found: run this inside the project's work tree, or set KEDAHTTP_COMPONENTS to its hack/cluster/components")
}

// Built is a component in the cache.
type Built struct {
	Component
	Dir string
}

// Program is the path of a binary, or of one of its links.
func (b Built) Program(name string) string { return filepath.Join(b.Dir, name) }

// Image is an image in the cache.
type Image struct{ Name, File, Digest string }

// Images are the images made of the component's programs.
func (b Built) Images() ([]Image, error) {
	var images []Image
	for _, p := range b.Programs {
		if p.Image.Name == "" {
			continue
		}
		digest, err := os.ReadFile(filepath.Join(b.Dir, p.File+".digest"))
		if err != nil {
			return nil, err
		}
		images = append(images, Image{Name: p.Image.Name, File: filepath.Join(b.Dir, p.File+".tar"), Digest: strings.TrimSpace(string(digest))})
	}
	return images, nil
}

// Build builds the component unless the cache has it.
func (b *Builder) Build(ctx context.Context, c Component) (Built, error) {
	key, err := b.key(ctx, c)
	if err != nil {
		return Built{}, fmt.Errorf("component %s: %w", c.Name, err)
	}
	root := filepath.Join(b.Cache, "components")
	built := Built{Component: c, Dir: filepath.Join(root, c.Name+"-"+key)}
	if exists(built.Dir) {
		return built, nil
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return Built{}, err
	}
	unlock, err := cluster.LockFile(filepath.Join(root, "."+c.Name+".lock"), func() {
		b.Progress.Printf("another command builds %s; waiting for it", c.Name)
	})
	if err != nil {
		return Built{}, err
	}
	defer unlock()
	if exists(built.Dir) { // somebody else built it while this one waited
		return built, nil
	}
	return built, b.Progress.Step("build "+c.Name+" from source", func() error {
		partials := "." + c.Name + ".*.partial"
		if err := removeAll(filepath.Join(root, partials)); err != nil { // of builds that were killed; this one has the lock
			return err
		}
		partial, err := os.MkdirTemp(root, partials)
		if err != nil {
			return err
		}
		defer os.RemoveAll(partial) //nolint:errcheck // gone after the rename
		if err := b.build(ctx, c, partial); err != nil {
			return fmt.Errorf("component %s: %w", c.Name, err)
		}
		if err := os.Chmod(partial, 0o755); err != nil {
			return err
		}
		return os.Rename(partial, built.Dir)
	})
}

func removeAll(pattern string) error {
	paths, err := filepath.Glob(pattern)
	for _, path := range paths {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (b *Builder) build(ctx context.Context, c Component, out string) error {
	flags, err := b.flags(c)
	if err != nil {
		return err
	}
	for _, p := range c.Programs {
		args := append([]string{"build"}, flags...)
		if _, err := b.goTool(ctx, c, append(args, "-o", filepath.Join(out, p.File), p.Package)...); err != nil {
			return err
		}
		for _, link := range p.Links {
			if err := os.Symlink(p.File, filepath.Join(out, link)); err != nil {
				return err
			}
		}
		if p.Image.Name == "" {
			continue
		}
		spec := p.Image
		spec.Binary = filepath.Join(out, p.File)
		digest, err := spec.Digest()
		if err != nil {
			return err
		}
		if err := spec.Write(filepath.Join(out, p.File+".tar"), image.OCI); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, p.File+".digest"), []byte(digest+"\n"), 0o644); err != nil {
			return err
		}
	}
	if c.Folder == "" {
		return nil
	}
	dir, err := b.goTool(ctx, c, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", c.Module)
	if err != nil {
		return err
	}
	// the module cache is read-only, and CopyFS keeps that; the copy of a copy must be removable
	return copyWritable(filepath.Join(out, c.Folder), filepath.Join(strings.TrimSpace(dir), c.Folder))
}

func copyWritable(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
}

func (b *Builder) flags(c Component) ([]string, error) {
	ldflags := "-s -w"
	if len(c.Stamp) > 0 {
		version, err := b.Version(c)
		if err != nil {
			return nil, err
		}
		for _, variable := range c.Stamp {
			ldflags += " -X " + variable + "=" + version
		}
	}
	return []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", ldflags}, nil
}

// Version is the version of the component's principal module, as its go.mod requires it.
func (b *Builder) Version(c Component) (string, error) {
	file := filepath.Join(b.Sources, c.Name, "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	version, ok := required(string(data), c.Module)
	if !ok {
		return "", fmt.Errorf("%s does not require %s", file, c.Module)
	}
	return version, nil
}

func required(gomod, module string) (string, bool) {
	for line := range strings.Lines(gomod) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module && strings.HasPrefix(fields[1], "v") {
			return fields[1], true
		}
	}
	return "", false
}

// Environment is what the go command gets to see: static binaries, and no settings of the user that change what is built.
func Environment() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on")
}

func (b *Builder) goTool(ctx context.Context, c Component, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(b.Sources, c.Name)
	cmd.Env = Environment()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return "", fmt.Errorf("go %s in %s: %w\n%s", args[0], cmd.Dir, err, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
	return stdout.String(), nil
}

// key names what a build would make: the module's files, the compiler, the flags, and what becomes of the binaries.
func (b *Builder) key(ctx context.Context, c Component) (string, error) {
	version, err := b.goTool(ctx, c, "env", "GOVERSION", "GOOS", "GOARCH", "GOAMD64", "GOARM64")
	if err != nil {
		return "", err
	}
	flags, err := b.flags(c)
	if err != nil {
		return "", err
	}
	what := fmt.Sprintf("%s\n%s\n%q\n%+v", recipe, version, flags, c)
	return Key(os.DirFS(filepath.Join(b.Sources, c.Name)), what)
}

// Key digests what a module's build depends on: go.mod, go.sum, every Go file but tests, and whatever else matters.
func Key(module fs.FS, more string) (string, error) {
	var files []string
	err := fs.WalkDir(module, ".", func(path string, entry fs.DirEntry, err error) error {
		base := filepath.Base(path)
		if err == nil && !entry.IsDir() && (base == "go.mod" || base == "go.sum" ||
			strings.HasSuffix(base, ".go") && !strings.HasSuffix(base, "_test.go")) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if !slices.Contains(files, "go.mod") {
		return "", errors.New("the module has no go.mod")
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%s", len(more), more)
	for _, path := range files { // WalkDir goes in lexical order
		data, err := fs.ReadFile(module, path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", path, len(data))
		io.Copy(h, bytes.NewReader(data)) //nolint:errcheck // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}
