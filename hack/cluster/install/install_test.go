package install

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const stream = `
apiVersion: v1
kind: Namespace
metadata: {name: kedahttp-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: kedahttp-system}
spec:
  template:
    metadata: {annotations: {kept: "yes"}}
    spec:
      containers:
      - {name: a, image: kedahttp/a:dev}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: b}
spec:
  template:
    spec:
      initContainers: [{name: init, image: kedahttp/a:dev}]
      containers: [{name: b, image: other}]
---
# nothing
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: c}
spec: {template: {spec: {containers: [{name: c, image: other}]}}}
`

func parse(t *testing.T, s string) Manifests {
	t.Helper()
	m, err := Parse([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func stamps(t *testing.T, digests map[string]string) map[string]string {
	t.Helper()
	m := parse(t, stream)
	m.Stamp(digests)
	data, err := m.YAML()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, o := range parse(t, string(data)) {
		annotations := child(child(child(child(o, "spec"), "template"), "metadata"), "annotations")
		if s, ok := annotations[ContentAnnotation].(string); ok {
			found[o.Name()] = s
		}
		if o.Name() == "a" && annotations["kept"] != "yes" {
			t.Error("an annotation was lost")
		}
	}
	return found
}

func TestOnlyWorkloadsWhoseImageContentChangedGetANewTemplate(t *testing.T) {
	first := stamps(t, map[string]string{"kedahttp/a:dev": "sha256:1"})
	if len(first) != 2 || first["a"] == "" || first["b"] == "" {
		t.Fatalf("stamped %v, want a and b", first)
	}
	if again := stamps(t, map[string]string{"kedahttp/a:dev": "sha256:1", "kedahttp/z:dev": "sha256:3"}); again["a"] != first["a"] {
		t.Error("the same content makes another template")
	}
	if changed := stamps(t, map[string]string{"kedahttp/a:dev": "sha256:2"}); changed["a"] == first["a"] || changed["b"] == first["b"] {
		t.Error("other content makes the same template")
	}
}

func TestAStreamIsSplitIntoItsObjects(t *testing.T) {
	m := parse(t, stream)
	var names []string
	for _, o := range m {
		names = append(names, o.Kind()+"/"+o.Namespace()+"/"+o.Name())
	}
	want := []string{"Namespace/default/kedahttp-system", "Deployment/kedahttp-system/a", "Deployment/default/b", "StatefulSet/default/c"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	first, rest := m.Split(func(o Object) bool { return o.Kind() == "Namespace" })
	if len(first) != 1 || len(rest) != 3 {
		t.Errorf("split into %d and %d", len(first), len(rest))
	}
	for _, bad := range []string{"kind: A", "metadata: {name: a}", "a: ["} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestNodePortsAreFound(t *testing.T) {
	m := parse(t, stream+`---
apiVersion: v1
kind: Service
metadata: {name: d}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}, {port: 81}]}
`)
	if got := m.nodePorts(); !slices.Equal(got, []int{30080}) {
		t.Errorf("got %v", got)
	}
}

func TestAWorkTreesProgramsAndTestImagesAreFound(t *testing.T) {
	repo := t.TempDir()
	if _, err := Sources(repo); err == nil || !strings.Contains(err.Error(), "not a work tree") {
		t.Errorf("an empty folder: %v", err)
	}
	for _, dir := range []string{"cmd/apiserver", "cmd/interceptor", "cmd/scaler", "test/images/echo", "test/images/notes"} {
		if err := os.MkdirAll(filepath.Join(repo, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(repo, "test/images/echo/main.go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	sources, err := Sources(repo)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range sources {
		got = append(got, s.Image.Name+" "+s.Image.Entrypoint)
	}
	want := []string{"kedahttp/apiserver:dev /apiserver", "kedahttp/interceptor:dev /interceptor", "kedahttp/scaler:dev /scaler", "kedahttp/test-echo:dev /echo"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
