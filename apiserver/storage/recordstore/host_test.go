//go:build e2e

package recordstore

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/kedahttp/kedahttp/apiserver/storage/hosttest"
)

// host is a host of the suite's pods.
type host struct{ *hosttest.Host }

// newHost starts one. Its records are as the product defines them, but of another kind, with another field to select by.
func newHost(t *testing.T) *host {
	crd := hosttest.Definition(t)
	version := &crd.Spec.Versions[0]
	version.SelectableFields = []apiextensionsv1.SelectableField{{JSONPath: ".fields.spec.nodeName"}}
	object := func(name string, of apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{name: of}}
	}
	properties := version.Schema.OpenAPIV3Schema.Properties
	properties["fields"] = object("spec", object("nodeName", apiextensionsv1.JSONSchemaProps{Type: "string"}))
	payload := properties["object"]
	payload.Pattern = ""
	properties["object"] = payload
	return &host{hosttest.Start(t, crd)}
}
