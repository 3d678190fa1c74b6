package components

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/kedahttp/kedahttp/hack/cluster/image"
	"github.com/kedahttp/kedahttp/hack/cluster/progress"
)

func TestTheKeyFollowsWhateverTheBuildDependsOn(t *testing.T) {
	base := func() fstest.MapFS {
		return fstest.MapFS{
			"go.mod":        {Data: []byte("module x")},
			"go.sum":        {Data: []byte("sum")},
			"main.go":       {Data: []byte("package main")},
			"sub/a.go":      {Data: []byte("package sub")},
			"README.md":     {Data: []byte("text")},
			"main_test.go":  {Data: []byte("package main")},
			"sub/notes.txt": {Data: []byte("text")},
		}
	}
	key := func(m fstest.MapFS, more string) string {
		t.Helper()
		k, err := Key(m, more)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	reference := key(base(), "go1")
	if reference != key(base(), "go1") {
		t.Fatal("the same module has two keys")
	}
	if reference == key(base(), "go2") {
		t.Error("another compiler, the same key")
	}
	for file, matters := range map[string]bool{
		"go.mod": true, "go.sum": true, "main.go": true, "sub/a.go": true, "sub/new.go": true,
		"README.md": false, "main_test.go": false, "sub/notes.txt": false,
	} {
		m := base()
		m[file] = &fstest.MapFile{Data: []byte("changed")}
		if changed := key(m, "go1") != reference; changed != matters {
			t.Errorf("a change of %s changes the key: %t, want %t", file, changed, matters)
		}
	}
	moved := base()
	moved["sub/b.go"] = moved["sub/a.go"]
	delete(moved, "sub/a.go")
	if key(moved, "go1") == reference {
		t.Error("a renamed file leaves the key as it was")
	}
	if _, err := Key(fstest.MapFS{}, ""); err == nil {
		t.Error("a folder without a module has a key")
	}
}

func TestTheVersionIsReadFromTheRequirement(t *testing.T) {
	for gomod, want := range map[string]string{
		"module x\n\nrequire example.org/a v1.2.3\n":                                 "v1.2.3",
		"require (\n\texample.org/b v0.1.0\n\texample.org/a v1.2.4 // indirect\n)\n": "v1.2.4",
		"replace example.org/a => example.org/a v9.9.9\n":                            "",
		"require example.org/a/v2 v2.0.0\n":                                          "",
	} {
		if got, _ := required(gomod, "example.org/a"); got != want {
			t.Errorf("%q: got %q, want %q", gomod, got, want)
		}
	}
}

func TestEveryComponentsModuleIsThereWithItsSums(t *testing.T) {
	b, err := NewBuilder(progress.To(os.Stderr))
	if err != nil {
		t.Fatal(err)
	}
	all := []Component{Kubernetes, CoreDNS, KEDA, NetworkPolicies, Pause}
	for _, release := range []string{"1.35", "1.37"} {
		c, err := b.KubernetesOf(release)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := b.Version(c); err != nil || !strings.HasPrefix(v, "v"+release+".") {
			t.Errorf("the module for %s has the version %q, %v", release, v, err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		data, err := os.ReadFile(filepath.Join(b.Sources, c.Name, "go.mod"))
		if err != nil {
			t.Error(err)
			continue
		}
		if want := "module github.com/kedahttp/kedahttp/hack/cluster/components/" + c.Name + "\n"; !strings.HasPrefix(string(data), want) {
			t.Errorf("%s is not the module of its folder", c.Name)
		}
		if c.Module == "" {
			continue
		}
		if v, err := b.Version(c); err != nil || v == "" {
			t.Errorf("%s: version %q, %v", c.Name, v, err)
		}
		if _, err := os.Stat(filepath.Join(b.Sources, c.Name, "go.sum")); err != nil {
			t.Error(err)
		}
	}
}

func TestTheUsualReleaseNeedsNoModuleOfItsOwnAndOthersDo(t *testing.T) {
	b, err := NewBuilder(progress.To(os.Stderr))
	if err != nil {
		t.Fatal(err)
	}
	usual, err := b.Version(Kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	minor := strings.TrimPrefix(usual[:strings.LastIndex(usual, ".")], "v")
	for _, release := range []string{"", minor} {
		if c, err := b.KubernetesOf(release); err != nil || c.Name != Kubernetes.Name {
			t.Errorf("%q is %q, %v", release, c.Name, err)
		}
	}
	for _, release := range []string{"1.2", "1.3", "../kubernetes", "x"} {
		if _, err := b.KubernetesOf(release); err == nil || !strings.Contains(err.Error(), "1.35") {
			t.Errorf("%q: %v", release, err)
		}
	}
}

func builder(t *testing.T, program string) *Builder {
	t.Helper()
	sources := t.TempDir()
	for file, content := range map[string]string{"go.mod": "module hello\n\ngo 1.26.0\n", "main.go": program} {
		if err := os.MkdirAll(filepath.Join(sources, "hello"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sources, "hello", file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Builder{Sources: sources, Cache: t.TempDir(), Progress: progress.To(os.Stderr)}
}

var hello = Component{Name: "hello", Programs: []Program{{
	Package: ".", File: "hello", Links: []string{"hi"},
	Image: image.Spec{Name: "kedahttp/hello:dev", Entrypoint: "/hello"},
}}}

func TestConcurrentBuildsShareOneResult(t *testing.T) {
	b := builder(t, "package main\nfunc main() {}\n")
	if err := os.MkdirAll(filepath.Join(b.Cache, "components", ".hello.killed.partial", "sub"), 0o755); err != nil { // a build that was killed
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			built, err := b.Build(context.Background(), hello)
			if err != nil {
				t.Error(err)
				return
			}
			images, err := built.Images()
			if err != nil || len(images) != 1 || !strings.HasPrefix(images[0].Digest, "sha256:") {
				t.Errorf("images %v, %v", images, err)
			}
			for _, file := range []string{built.Program("hello"), built.Program("hi"), images[0].File} {
				if _, err := os.Stat(file); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	left, err := os.ReadDir(filepath.Join(b.Cache, "components"))
	if err != nil || len(left) != 2 { // the lock and the one result
		t.Errorf("left in the cache: %v, %v", left, err)
	}
}

func TestABuildThatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	b := builder(t, "package main\nfunc main() { nonsense }\n")
	_, err := b.Build(context.Background(), hello)
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v", err)
	}
	left, err := filepath.Glob(filepath.Join(b.Cache, "components", "hello-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, errors.Join(err))
	}
}
