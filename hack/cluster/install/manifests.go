package install

import (
	"bytes"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// ContentAnnotation is on the pod templates of workloads that run images of the work tree: their tag stays the same, so
// without it a rebuilt image would not make new pods.
const ContentAnnotation = "kedahttp-cluster/image-content"

// Object is one Kubernetes object.
type Object map[string]any

// Manifests are objects in the order in which they are applied.
type Manifests []Object

// Parse reads a stream of YAML documents.
func Parse(stream []byte) (Manifests, error) {
	var all Manifests
	for document := range bytes.SplitSeq(append([]byte("\n"), stream...), []byte("\n---")) {
		var o Object
		if err := yaml.Unmarshal(document, &o); err != nil {
			return nil, err
		}
		if len(o) == 0 {
			continue
		}
		if o.Kind() == "" || o.Name() == "" {
			return nil, fmt.Errorf("an object has no kind or no name:\n%s", bytes.TrimSpace(document))
		}
		all = append(all, o)
	}
	return all, nil
}

// YAML writes the stream of documents.
func (m Manifests) YAML() ([]byte, error) {
	var out bytes.Buffer
	for _, o := range m {
		data, err := yaml.Marshal(o)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "---\n%s", data)
	}
	return out.Bytes(), nil
}

// Split divides the objects, and keeps their order.
func (m Manifests) Split(first func(Object) bool) (a, b Manifests) {
	for _, o := range m {
		if first(o) {
			a = append(a, o)
		} else {
			b = append(b, o)
		}
	}
	return a, b
}

// Kind is the object's kind.
func (o Object) Kind() string { s, _ := o["kind"].(string); return s }

// Name is the object's name.
func (o Object) Name() string { s, _ := child(o, "metadata")["name"].(string); return s }

// Namespace is the object's namespace, default if it names none.
func (o Object) Namespace() string {
	if s, _ := child(o, "metadata")["namespace"].(string); s != "" {
		return s
	}
	return "default"
}

// rolls says whether the object makes pods of a template, and replaces them when it changes.
func (o Object) rolls() bool {
	switch o.Kind() {
	case "Deployment", "StatefulSet", "DaemonSet":
		return strings.HasPrefix(fmt.Sprint(o["apiVersion"]), "apps/")
	}
	return false
}

// Stamp writes the content of the images that a workload runs into its pod template.
func (m Manifests) Stamp(digests map[string]string) {
	for _, o := range m {
		if !o.rolls() {
			continue
		}
		template := child(child(o, "spec"), "template")
		var images []string
		for _, list := range []string{"initContainers", "containers"} {
			containers, _ := child(template, "spec")[list].([]any)
			for _, c := range containers {
				if container, ok := c.(map[string]any); ok {
					images = append(images, fmt.Sprint(container["image"]))
				}
			}
		}
		content := contentOf(images, digests)
		if content == "" {
			continue
		}
		metadata := make(map[string]any)
		if there, ok := template["metadata"].(map[string]any); ok {
			metadata = there
		}
		annotations := make(map[string]any)
		if there, ok := metadata["annotations"].(map[string]any); ok {
			annotations = there
		}
		annotations[ContentAnnotation] = content
		metadata["annotations"] = annotations
		template["metadata"] = metadata
	}
}

// nodePorts are the ports that Services ask for on every node.
func (m Manifests) nodePorts() []int {
	var found []int
	for _, o := range m {
		if o.Kind() != "Service" {
			continue
		}
		ports, _ := child(o, "spec")["ports"].([]any)
		for _, p := range ports {
			port, _ := p.(map[string]any)
			if number, ok := port["nodePort"].(float64); ok { // YAML is read by way of JSON
				found = append(found, int(number))
			}
		}
	}
	return found
}

// child is a field that holds an object; an empty one if it does not.
func child(o map[string]any, field string) map[string]any {
	if m, ok := o[field].(map[string]any); ok {
		return m
	}
	return map[string]any{}
}
