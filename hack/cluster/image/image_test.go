package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func spec(t *testing.T, content string) Spec {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "binary")
	if err := os.WriteFile(binary, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	return Spec{Name: "kedahttp/test:dev", Binary: binary, Entrypoint: "/usr/bin/app", Labels: map[string]string{"b": "2", "a": "1"}}
}

func write(t *testing.T, s Spec, format Format) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image.tar")
	if err := s.Write(out, format); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheSameBinaryMakesTheSameBytes(t *testing.T) {
	for _, format := range []Format{Docker, OCI} {
		var first []byte
		for i := range 3 {
			s := spec(t, "content")                                                        // another path and another time of modification
			os.Chtimes(s.Binary, time.Time{}, time.Now().Add(-time.Duration(i)*time.Hour)) //nolint:errcheck // makes the test weaker only
			got, err := os.ReadFile(write(t, s, format))
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = got
			}
			if !bytes.Equal(first, got) {
				t.Errorf("%s: image %d differs", format, i)
			}
		}
	}
}

func TestTheDigestFollowsTheContent(t *testing.T) {
	digest := func(s Spec) string {
		t.Helper()
		d, err := s.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a := spec(t, "a")
	if digest(a) != digest(spec(t, "a")) {
		t.Error("same content, other digest")
	}
	if digest(a) == digest(spec(t, "b")) {
		t.Error("other content, same digest")
	}
	labelled := a
	labelled.Labels = map[string]string{"a": "other"}
	if digest(a) == digest(labelled) {
		t.Error("other labels, same digest")
	}
}

func TestTheImageRunsItsEntryPointAsNobodyInParticular(t *testing.T) {
	s := spec(t, "content")
	img, err := tarball.ImageFromPath(write(t, s, Docker), nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != "65532:65532" || len(c.Entrypoint) != 1 || c.Entrypoint[0] != s.Entrypoint || c.Labels["a"] != "1" {
		t.Errorf("got %+v", c)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Name == "usr/bin/app" && h.Mode != 0o755 {
			t.Errorf("mode %o", h.Mode)
		}
	}
	if got := strings.Join(names, " "); got != "tmp/ usr/ usr/bin/ usr/bin/app" {
		t.Errorf("layer holds %s", got)
	}
}

func TestTheOCITarballCarriesTheNameThatAPodAsksFor(t *testing.T) {
	s := spec(t, "content")
	canonical, err := Canonical(s.Name)
	if err != nil {
		t.Fatal(err)
	}
	index, err := Manifest(write(t, s, OCI), OCI)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(canonical, "/kedahttp/test:dev") || !strings.Contains(string(index), `"`+canonical+`"`) {
		t.Errorf("%q is not in %s", canonical, index)
	}
}

func TestWhatCannotBecomeAnImageIsRefused(t *testing.T) {
	good := spec(t, "content")
	for name, change := range map[string]func(*Spec){
		"relative entry point": func(s *Spec) { s.Entrypoint = "app" },
		"folder as entry":      func(s *Spec) { s.Entrypoint = "/" },
		"upper-case name":      func(s *Spec) { s.Name = "A" },
		"no binary":            func(s *Spec) { s.Binary += "-missing" },
		"folder as binary":     func(s *Spec) { s.Binary = filepath.Dir(s.Binary) },
	} {
		s := good
		change(&s)
		out := filepath.Join(t.TempDir(), "image.tar")
		if err := s.Write(out, OCI); err == nil {
			t.Errorf("%s: made an image", name)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: left a file", name)
		}
	}
}

func TestOneImageIsForSeveralArchitectures(t *testing.T) {
	var first []byte
	for range 2 {
		amd64, arm64 := spec(t, "for amd64"), spec(t, "for arm64")
		amd64.Arch, arm64.Arch = "amd64", "arm64"
		out := filepath.Join(t.TempDir(), "image.tar")
		digest, err := WriteAll(out, []Spec{amd64, arm64})
		if err != nil {
			t.Fatal(err)
		}
		index, err := Manifest(out, OCI)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(index), digest) || !strings.Contains(string(index), "kedahttp/test:dev") {
			t.Errorf("the image %s is not in %s", digest, index)
		}
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"for amd64", "for arm64", `"architecture":"arm64"`, `"architecture":"amd64"`} {
			if !bytes.Contains(got, []byte(want)) {
				t.Errorf("the tarball has no %s", want)
			}
		}
		if first == nil {
			first = got
		}
		if !bytes.Equal(first, got) {
			t.Error("the same binaries made other bytes")
		}
	}
	if _, err := WriteAll(filepath.Join(t.TempDir(), "image.tar"), []Spec{spec(t, "a"), spec(t, "b")}); err == nil {
		t.Error("two binaries for one architecture made an image")
	}
}
