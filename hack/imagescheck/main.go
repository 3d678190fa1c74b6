// Command imagescheck says what is wrong with the images of a folder: what hack/images.sh writes is for these architectures, labelled, not
// for root, and described by a list of what it is made of.
package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

var (
	parts  = []string{"apiserver", "interceptor", "scaler"}
	arches = []string{"amd64", "arm64"}
	labels = []string{"title", "version", "revision", "created", "source", "licenses"}
)

func main() {
	revision := flag.String("revision", "", "The commit that the images are of.")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: imagescheck --revision COMMIT FOLDER")
		os.Exit(2)
	}
	if err := check(os.Stdout, flag.Arg(0), *revision); err != nil {
		fmt.Fprintln(os.Stderr, "imagescheck:", err)
		os.Exit(1)
	}
}

func check(out io.Writer, folder, revision string) error {
	var errs []error
	for _, part := range parts {
		digest, err := image(filepath.Join(folder, part+".tar"), part, revision)
		if err != nil {
			errs = append(errs, fmt.Errorf("the image of %s: %w", part, err))
			continue
		}
		n := 0
		for _, arch := range arches {
			components, err := bill(filepath.Join(folder, part+"-"+arch+".cdx.json"), part)
			if err != nil {
				errs = append(errs, fmt.Errorf("what %s for %s is made of: %w", part, arch, err))
			}
			n = max(n, components)
		}
		fmt.Fprintf(out, "%s %s: %s, of %d modules\n", part, digest, strings.Join(arches, " and "), n)
	}
	return errors.Join(errs...)
}

type descriptor struct {
	Digest   string
	Platform struct{ OS, Architecture string }
}

// image looks at an OCI archive and returns the digest of its index.
func image(file, part, revision string) (string, error) {
	blobs, err := read(file)
	if err != nil {
		return "", err
	}
	blob := func(d descriptor, into any) error {
		content, ok := blobs["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
		if !ok {
			return fmt.Errorf("%s is missing", d.Digest)
		}
		return json.Unmarshal(content, into)
	}
	var top, index struct{ Manifests []descriptor }
	if err := json.Unmarshal(blobs["index.json"], &top); err != nil {
		return "", fmt.Errorf("its index: %w", err)
	}
	if len(top.Manifests) != 1 {
		return "", fmt.Errorf("it has %d images", len(top.Manifests))
	}
	if err := blob(top.Manifests[0], &index); err != nil {
		return "", err
	}
	var found []string
	for _, m := range index.Manifests {
		found = append(found, m.Platform.Architecture)
		var manifest struct{ Config descriptor }
		var config struct {
			Architecture, OS string
			Config           struct {
				User       string
				Entrypoint []string
				Labels     map[string]string
			}
		}
		if err := errors.Join(blob(m, &manifest), blob(manifest.Config, &config)); err != nil {
			return "", err
		}
		of := config.Config
		switch {
		case config.OS != "linux" || config.Architecture != m.Platform.Architecture:
			return "", fmt.Errorf("what is announced for %v is for %s/%s", m.Platform, config.OS, config.Architecture)
		case !slices.Equal(of.Entrypoint, []string{"/" + part}):
			return "", fmt.Errorf("it runs %v", of.Entrypoint)
		case of.User == "" || strings.HasPrefix(of.User, "0") || strings.HasPrefix(of.User, "root"):
			return "", fmt.Errorf("it runs as %q", of.User)
		case of.Labels["org.opencontainers.image.revision"] != revision:
			return "", fmt.Errorf("it is of commit %q and not of %s", of.Labels["org.opencontainers.image.revision"], revision)
		}
		for _, label := range labels {
			if of.Labels["org.opencontainers.image."+label] == "" {
				return "", fmt.Errorf("it has no label %s", label)
			}
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, arches) {
		return "", fmt.Errorf("it is for %v", found)
	}
	return top.Manifests[0].Digest, nil
}

// read returns the small files of an archive, which are those that say what the others are.
func read(file string) (map[string][]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	files := map[string][]byte{}
	for archive := tar.NewReader(f); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Size > 1<<20 {
			continue
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			return nil, err
		}
	}
}

type component struct{ Name, Version, PURL string }

// bill looks at a list of what a program is made of, and returns how many modules it has.
func bill(file, part string) (int, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var list struct {
		BOMFormat  string
		Metadata   struct{ Component struct{ Name string } }
		Components []component
	}
	if err := json.Unmarshal(content, &list); err != nil {
		return 0, err
	}
	if list.BOMFormat != "CycloneDX" || !strings.Contains(list.Metadata.Component.Name, "kedahttp") {
		return 0, fmt.Errorf("%s is no list of %s in CycloneDX", list.Metadata.Component.Name, part)
	}
	for _, c := range list.Components {
		if c.Name == "" || c.Version == "" || c.PURL == "" {
			return 0, fmt.Errorf("a component is not named in full: %+v", c)
		}
	}
	if !slices.ContainsFunc(list.Components, func(c component) bool { return c.Name == "k8s.io/client-go" }) {
		return 0, errors.New("it has no k8s.io/client-go, which every part has")
	}
	return len(list.Components), nil
}
