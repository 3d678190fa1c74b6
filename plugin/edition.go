package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/kedahttp/kedahttp/artifacts"
)

// edition is what an installation can be told: where the images are, and the domain of the apps. Everything else takes an overlay.
type edition struct {
	registry, tag, domain string
	// overlay is a folder with a kustomization of one's own, instead of all the others.
	overlay string
}

func (e *edition) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&e.domain, "domain", "", "The domain of the apps: NAME.NAMESPACE.DOMAIN leads to an app. A wildcard in the DNS leads to the interceptors.")
	flags.StringVar(&e.registry, "registry", "kedahttp", "Where the images apiserver, interceptor and scaler are.")
	flags.StringVar(&e.tag, "tag", "", "The tag of the images. Default: the plugin's version.")
	flags.StringVarP(&e.overlay, "kustomize", "k", "", "A folder with a kustomization of your own, upon artifacts/base, instead of these flags.")
}

func (e *edition) complete(cmd *cobra.Command) error {
	if e.overlay != "" && (e.domain != "" || e.tag != "" || cmd.Flags().Changed("registry")) {
		return errors.New("--kustomize says it all; --domain, --registry and --tag belong into the kustomization")
	}
	if e.tag == "" {
		e.tag = Version
	}
	return nil
}

// What an edition without a domain is.
const (
	domainNeeded = false
	domainKept   = true
)

// validate looks whether it makes sense. kept says that there is a domain already, which stays unless another is said.
func (e *edition) validate(kept bool) error {
	switch {
	case e.overlay != "":
		return nil
	case e.domain == "" && !kept:
		return errors.New("--domain is needed: the domain of the apps, such as apps.example.com")
	case e.domain != "" && len(validation.IsDNS1123Subdomain(e.domain)) > 0:
		return fmt.Errorf("--domain is %q; it is a name in the DNS, such as apps.example.com", e.domain)
	case e.registry == "" || strings.HasSuffix(e.registry, "/"):
		return fmt.Errorf("--registry is %q; it is what comes before /apiserver in the image's name", e.registry)
	}
	return nil
}

// programs are the parts of kedahttp that run, each a Deployment and an image.
var programs = []string{"apiserver", "interceptor", "scaler"}

// render makes the manifests.
func (e edition) render() ([]*unstructured.Unstructured, error) {
	disk, root := filesys.MakeFsOnDisk(), e.overlay
	if e.overlay == "" {
		disk, root = filesys.MakeFsInMemory(), "/edition"
		if err := e.write(disk, root); err != nil {
			return nil, err
		}
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, root)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, r := range resources.Resources() {
		text, err := r.MarshalJSON()
		if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	if len(objects) == 0 {
		return nil, errors.New("the manifests are empty")
	}
	return objects, nil
}

// write puts the manifests, and an overlay that says what the edition does, into a folder.
func (e edition) write(disk filesys.FileSystem, root string) error {
	files, err := fs.Glob(artifacts.Base, "base/*.yaml")
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := artifacts.Base.ReadFile(file)
		if err != nil {
			return err
		}
		if err := disk.WriteFile(path.Join("/", file), text); err != nil {
			return err
		}
	}
	var images []map[string]string
	for _, program := range programs {
		images = append(images, map[string]string{"name": "kedahttp/" + program, "newName": e.registry + "/" + program, "newTag": e.tag})
	}
	overlay := map[string]any{"resources": []string{"../base"}, "images": images}
	text, err := yaml.Marshal(overlay)
	if err != nil {
		return err
	}
	return disk.WriteFile(path.Join(root, "kustomization.yaml"), text)
}

// setDomain gives the API server the domain of the apps.
func setDomain(objects []*unstructured.Unstructured, domain string) error {
	for _, o := range objects {
		if o.GetKind() != "Deployment" || o.GetName() != "kedahttp-apiserver" {
			continue
		}
		containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if err != nil {
			return err
		}
		for _, c := range containers {
			args, _, _ := unstructured.NestedStringSlice(c.(map[string]any), "args")
			for i, arg := range args {
				if strings.HasPrefix(arg, "--domain=") {
					args[i] = "--domain=" + domain
				}
			}
			if err := unstructured.SetNestedStringSlice(c.(map[string]any), args, "args"); err != nil {
				return err
			}
		}
		return unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers")
	}
	return errors.New("the manifests have no Deployment kedahttp-apiserver")
}

// objects are what is to be in the cluster.
func (e edition) objects() ([]*unstructured.Unstructured, error) {
	objects, err := e.render()
	if err != nil {
		if e.overlay != "" {
			return nil, fmt.Errorf("the kustomization in %s: %w", e.overlay, err)
		}
		return nil, err
	}
	if e.overlay != "" {
		return objects, nil
	}
	return objects, setDomain(objects, e.domain)
}
