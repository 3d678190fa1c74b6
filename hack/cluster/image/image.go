// Package image knows how a static binary becomes a container image.
package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// User is whom the binary runs as: nobody in particular, and not root.
const User = 65532

// Format is the form of an image's tarball.
type Format string

// Both forms are read by containerd; docker load reads Docker.
const (
	Docker Format = "docker"
	OCI    Format = "oci"
)

// ParseFormat reads what a flag says.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Docker, OCI:
		return f, nil
	}
	return "", fmt.Errorf("format %q is not known: use %s or %s", s, Docker, OCI)
}

// Spec describes an image of one layer with one program.
type Spec struct {
	Name       string            // such as kedahttp/apiserver:dev
	Binary     string            // a static binary on this machine
	Entrypoint string            // its absolute path in the image
	Arch       string            // what the binary runs on, as GOARCH has it; this machine's if it is empty
	Labels     map[string]string // of the image's configuration
}

// Canonical is the name under which containerd finds the image when a pod asks for ref.
func Canonical(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", ref, err)
	}
	return named.String(), nil
}

// Write writes the image as a tarball. The same spec and binary always make the same bytes.
func (s Spec) Write(out string, format Format) error {
	img, err := s.build()
	if err != nil {
		return err
	}
	return whole(out, func(f io.Writer) error {
		if format == Docker {
			return s.writeDocker(f, img)
		}
		return writeOCI(f, s.Name, func(store layout.Path, named layout.Option) error {
			return store.AppendImage(img, named, layout.WithPlatform(s.platform()))
		})
	})
}

// WriteAll writes one image for several architectures as an OCI tarball, and returns its digest. The same specs and binaries always make
// the same bytes.
func WriteAll(out string, specs []Spec) (digest string, err error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	seen := map[string]bool{}
	for _, s := range specs {
		arch := s.platform().Architecture
		if seen[arch] {
			return "", fmt.Errorf("there are two binaries for %s", arch)
		}
		seen[arch] = true
		img, err := s.build()
		if err != nil {
			return "", err
		}
		platform := s.platform()
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	hash, err := index.Digest()
	if err != nil {
		return "", err
	}
	return hash.String(), whole(out, func(f io.Writer) error {
		return writeOCI(f, specs[0].Name, func(store layout.Path, named layout.Option) error { return store.AppendIndex(index, named) })
	})
}

// whole writes a file that is there as a whole or not at all.
func whole(out string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(out), "."+filepath.Base(out)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}

func (s Spec) platform() v1.Platform {
	return v1.Platform{OS: "linux", Architecture: cmp.Or(s.Arch, runtime.GOARCH)}
}

// Digest identifies the image's content.
func (s Spec) Digest() (string, error) {
	img, err := s.build()
	if err != nil {
		return "", err
	}
	digest, err := img.Digest()
	return digest.String(), err
}

func (s Spec) build() (v1.Image, error) {
	if !path.IsAbs(s.Entrypoint) || path.Clean(s.Entrypoint) != s.Entrypoint || s.Entrypoint == "/" {
		return nil, fmt.Errorf("entry point %q is not an absolute path of a file", s.Entrypoint)
	}
	if _, err := Canonical(s.Name); err != nil {
		return nil, err
	}
	layer, err := newPlainLayer(s.open)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.Binary, err)
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	config.OS, config.Architecture = s.platform().OS, s.platform().Architecture
	config.Config = v1.Config{
		Entrypoint: []string{s.Entrypoint},
		User:       fmt.Sprintf("%d:%d", User, User),
		Env:        []string{"PATH=/"},
		WorkingDir: "/",
		Labels:     s.Labels,
	}
	return mutate.ConfigFile(img, config)
}

// plainLayer is a layer that is not compressed: it goes over a disk and not over a network.
type plainLayer struct {
	open func() (io.ReadCloser, error)
	hash v1.Hash
	size int64
}

var _ v1.Layer = plainLayer{}

func newPlainLayer(open func() (io.ReadCloser, error)) (v1.Layer, error) {
	content, err := open()
	if err != nil {
		return nil, err
	}
	hash, size, err := v1.SHA256(content)
	return plainLayer{open, hash, size}, errors.Join(err, content.Close())
}

func (l plainLayer) Digest() (v1.Hash, error)             { return l.hash, nil }
func (l plainLayer) DiffID() (v1.Hash, error)             { return l.hash, nil }
func (l plainLayer) Compressed() (io.ReadCloser, error)   { return l.open() }
func (l plainLayer) Uncompressed() (io.ReadCloser, error) { return l.open() }
func (l plainLayer) Size() (int64, error)                 { return l.size, nil }
func (l plainLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }

// open streams the layer: the binary, the folders on the way to it, and a /tmp that anybody may write.
func (s Spec) open() (io.ReadCloser, error) {
	binary, err := os.Open(s.Binary)
	if err != nil {
		return nil, err
	}
	info, err := binary.Stat()
	if err != nil {
		return nil, errors.Join(err, binary.Close())
	}
	if !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is not a file", s.Binary), binary.Close())
	}
	r, w := io.Pipe()
	go func() {
		defer binary.Close() //nolint:errcheck // only read
		w.CloseWithError(s.layer(w, binary, info.Size()))
	}()
	return r, nil
}

func (s Spec) layer(out io.Writer, binary io.Reader, size int64) error {
	w := tar.NewWriter(out)
	epoch := time.Unix(0, 0).UTC()
	folder := func(name string, mode int64) error {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: epoch, Format: tar.FormatUSTAR})
	}
	if err := folder("tmp", 0o1777); err != nil {
		return err
	}
	entry := strings.TrimPrefix(s.Entrypoint, "/")
	for i, c := range entry {
		if c == '/' && entry[:i] != "tmp" {
			if err := folder(entry[:i], 0o755); err != nil {
				return err
			}
		}
	}
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: entry, Mode: 0o755, Size: size, ModTime: epoch, Format: tar.FormatUSTAR})
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, binary); err != nil {
		return err
	}
	return w.Close()
}

func (s Spec) writeDocker(out io.Writer, img v1.Image) error {
	tag, err := name.NewTag(s.Name)
	if err != nil {
		return err
	}
	return tarball.Write(tag, img, out)
}

// writeOCI writes what add puts into a layout, under a name.
func writeOCI(out io.Writer, name string, add func(layout.Path, layout.Option) error) error {
	canonical, err := Canonical(name)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kedahttp-image-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	store, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	err = add(store, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          canonical,
		"org.opencontainers.image.ref.name": canonical[strings.LastIndexByte(canonical, ':')+1:],
	}))
	if err != nil {
		return err
	}
	return pack(out, dir)
}

// pack writes a folder as a tar whose bytes depend on the files' names and content alone.
func pack(out io.Writer, dir string) error {
	w := tar.NewWriter(out)
	err := filepath.WalkDir(dir, func(file string, entry os.DirEntry, err error) error { // in lexical order
		if err != nil || file == dir {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeDir, Name: rel + "/", Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if entry.IsDir() {
			return w.WriteHeader(h)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		h.Typeflag, h.Name, h.Mode, h.Size = tar.TypeReg, rel, 0o644, info.Size()
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, f)
		return errors.Join(err, f.Close())
	})
	return errors.Join(err, w.Close())
}

// Manifest is what a tarball written by Write says about itself; used to check one.
func Manifest(file string, format Format) ([]byte, error) {
	want := map[Format]string{Docker: "manifest.json", OCI: "index.json"}[format]
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("%s has no %s: %w", file, want, err)
		}
		if h.Name == want {
			var b bytes.Buffer
			_, err := io.Copy(&b, r)
			return b.Bytes(), err
		}
	}
}
