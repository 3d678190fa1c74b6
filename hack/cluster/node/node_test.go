package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/progress"
	"sigs.k8s.io/yaml"
)

func node(t *testing.T) *Node {
	t.Helper()
	c, err := cluster.Roots{Data: t.TempDir(), Run: t.TempDir()}.Named("a")
	if err != nil {
		t.Fatal(err)
	}
	return Of(c, progress.To(os.Stderr))
}

func TestEveryConfigurationFileIsCompleteAndParses(t *testing.T) {
	n := node(t)
	for file, data := range map[string]any{
		"containerd.toml": n,
		"cni.conflist":    n,
		"kubelet.yaml":    n,
		"kube-proxy.yaml": n,
		"kubeconfig.yaml": map[string]string{"Cluster": "a", "Server": "https://127.0.0.1:1", "User": "admin", "CA": "eA==", "Cert": "eA==", "Key": "eA=="},
	} {
		target := filepath.Join(t.TempDir(), file)
		if err := render(file, target, 0o600, data); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		content, err := os.ReadFile(target)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "<no value>") {
			t.Errorf("%s lacks a value:\n%s", file, content)
		}
		var parsed map[string]any
		if !strings.HasSuffix(file, ".toml") {
			if err := yaml.UnmarshalStrict(content, &parsed); err != nil {
				t.Errorf("%s: %v\n%s", file, err, content)
			}
		}
	}
}

func TestDigestsAreReadFromTheListOfImages(t *testing.T) {
	const listing = `REF                                      TYPE                                       DIGEST        SIZE     PLATFORMS   LABELS
example.org/kedahttp/pause:dev           application/vnd.oci.image.manifest.v1+json sha256:aa     1.4 MiB  linux/amd64 io.cri-containerd.image=managed
sha256:bb                                application/vnd.oci.image.manifest.v1+json sha256:aa     1.4 MiB  linux/amd64 io.cri-containerd.image=managed
`
	got := parseDigests(listing)
	if len(got) != 2 || got["example.org/kedahttp/pause:dev"] != "sha256:aa" {
		t.Errorf("got %v", got)
	}
}

func TestTheNetworkOfANamesakeIsNotTouched(t *testing.T) {
	id := strings.Repeat("0f", 32)
	for file, want := range map[string]bool{
		"kedahttp-a-" + id + "-eth0":   true,
		"kedahttp-a-b-" + id + "-eth0": false,
		"kedahttp-b-" + id + "-eth0":   false,
		"kedahttp-a-eth0":              false,
	} {
		if got, ok := containerOf("kedahttp-a", file); ok != want || ok && got != id {
			t.Errorf("%s: %q, %t, want %t", file, got, ok, want)
		}
	}
}

func TestAFolderIsRemovedOnlyWithNothingElseInIt(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	if err := os.WriteFile(ours, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if !removable(dir, []string{ours}) {
		t.Error("a folder with our file only stays")
	}
	if err := os.WriteFile(theirs, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if removable(dir, []string{ours}) {
		t.Error("a folder with somebody else's file goes")
	}
	if removable(filepath.Join(dir, "missing"), nil) {
		t.Error("what is not there goes")
	}
}
