package httpapp

import (
	"os"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/install"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// What the server offers, the scheme lets pass, and the host can evaluate must be the same.
func TestTheSelectableFieldsAreThoseOfTheSchemeAndOfTheRecords(t *testing.T) {
	data, err := os.ReadFile("../../../artifacts/base/crd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(data, crd); err != nil {
		t.Fatal(err)
	}
	var host []string
	for _, f := range crd.Spec.Versions[0].SelectableFields {
		host = append(host, strings.TrimPrefix(f.JSONPath, ".fields."))
	}
	_, offered, err := Attrs(&v1alpha1.HTTPApp{})
	if err != nil {
		t.Fatal(err)
	}
	scheme := install.NewServerScheme()
	var own []string
	for field := range offered {
		if !strings.HasPrefix(field, "metadata.") {
			own = append(own, field)
		}
		if _, _, err := scheme.ConvertFieldLabel(v1alpha1.SchemeGroupVersion.WithKind("HTTPApp"), field, "x"); err != nil {
			t.Error(err)
		}
	}
	slices.Sort(own)
	if slices.Sort(host); !slices.Equal(own, host) {
		t.Errorf("the server offers %v, the records have %v", own, host)
	}
	_, _, err = scheme.ConvertFieldLabel(v1alpha1.SchemeGroupVersion.WithKind("HTTPApp"), "spec.port", "x")
	if err == nil || !strings.Contains(err.Error(), v1alpha1.FieldReady) {
		t.Errorf("spec.port: %v", err)
	}
}

func TestAnAppIsSelectedByHowItIsWithItsPresentSpec(t *testing.T) {
	app := newApp("shop", 0, "a.com")
	app.Generation = 2
	is := func(want string) {
		t.Helper()
		if _, set, err := Attrs(app); err != nil || set[v1alpha1.FieldReady] != want {
			t.Errorf("%v, %v", set, err)
		}
	}
	is("Unknown")
	app.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
	app.Status.ObservedGeneration = 1
	is("Unknown")
	app.Status.ObservedGeneration = 2
	is("True")
}
