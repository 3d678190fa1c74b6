package install

import (
	"math/rand"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/roundtrip"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	celopenapi "k8s.io/apiserver/pkg/cel/openapi"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/randfill"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/apis/openapi"
)

// appFuzzer fills apps. Pod templates are left small: their round trip is Kubernetes' to test.
func appFuzzer(serializer.CodecFactory) []any {
	return []any{
		func(t *corev1.PodTemplateSpec, c randfill.Continue) {
			t.Labels = map[string]string{c.String(8): c.String(8)}
			t.Spec.Containers = []corev1.Container{{Name: c.String(8), Image: c.String(8), Ports: []corev1.ContainerPort{{ContainerPort: c.Int31(), Protocol: "TCP"}}}}
		},
		func(a *v1alpha1.HTTPApp, c randfill.Continue) {
			c.FillNoCustom(a)
			v1alpha1.SetObjectDefaults_HTTPApp(a)
		},
	}
}

func TestAppsSurviveEncodingAndDecoding(t *testing.T) {
	scheme := NewServerScheme()
	codecs := serializer.NewCodecFactory(scheme)
	fill := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, appFuzzer), rand.NewSource(rand.Int63()), codecs)
	for _, kind := range []string{"HTTPApp", "HTTPAppList"} {
		for range 20 {
			roundtrip.RoundTripSpecificKindWithoutProtobuf(t, v1alpha1.SchemeGroupVersion.WithKind(kind), scheme, codecs, fill, nil)
		}
	}
}

func TestDefaultsOfDefaultsAreTheSame(t *testing.T) {
	scheme := NewScheme()
	fill := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, func(serializer.CodecFactory) []any { return appFuzzer(serializer.CodecFactory{})[:1] }),
		rand.NewSource(rand.Int63()), serializer.NewCodecFactory(scheme))
	for range 200 {
		once := &v1alpha1.HTTPApp{}
		fill.Fill(once)
		scheme.Default(once)
		twice := once.DeepCopy()
		scheme.Default(twice)
		if !apiequality.Semantic.DeepEqual(once, twice) {
			t.Fatalf("the defaults of\n%#v\nare\n%#v", once, twice)
		}
	}
}

func TestNoProtobufIsOffered(t *testing.T) {
	types := NewCodecs(NewServerScheme()).SupportedMediaTypes()
	if slices.ContainsFunc(types, func(i runtime.SerializerInfo) bool { return strings.Contains(i.MediaType, "protobuf") }) {
		t.Error("protobuf is offered; the types cannot be written in it")
	}
	if !slices.ContainsFunc(types, func(i runtime.SerializerInfo) bool { return i.MediaType == runtime.ContentTypeJSON }) {
		t.Error("JSON is not offered")
	}
}

// Without its kind in the OpenAPI definition, an object has no managed fields and no kubectl explain, and nothing says why.
func TestThePublishedDefinitionsNameTheKinds(t *testing.T) {
	namer := openapinamer.NewDefinitionNamer(NewScheme())
	definitions := openapi.GetOpenAPIDefinitions(func(path string) spec.Ref { return spec.MustCreateRef(path) })
	for name, want := range map[string]schema.GroupVersionKind{
		v1alpha1.HTTPApp{}.OpenAPIModelName():     v1alpha1.SchemeGroupVersion.WithKind("HTTPApp"),
		v1alpha1.HTTPAppList{}.OpenAPIModelName(): v1alpha1.SchemeGroupVersion.WithKind("HTTPAppList"),
		"io.k8s.api.autoscaling.v1.Scale":         {Group: "autoscaling", Version: "v1", Kind: "Scale"},
	} {
		definition, ok := definitions[name]
		if !ok {
			t.Errorf("there is no definition of %s", name)
			continue
		}
		if definition.Schema.Description == "" {
			t.Errorf("%s has no description", name)
		}
		_, extensions := namer.GetDefinitionName(name)
		kinds, _ := extensions["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 {
			t.Fatalf("%s has the kinds %v", name, kinds)
		}
		got := kinds[0].(map[string]any)
		if got["group"] != want.Group || got["version"] != want.Version || got["kind"] != want.Kind {
			t.Errorf("%s is %v, not %v", name, got, want)
		}
	}
}

// A boolean there once made controllers of the host panic.
func TestNoDefinitionHasABooleanForAdditionalProperties(t *testing.T) {
	for name, d := range openapi.GetOpenAPIDefinitions(func(path string) spec.Ref { return spec.MustCreateRef(path) }) {
		if strings.HasPrefix(name, "sh.keda.http.") && d.Schema.AdditionalProperties != nil && d.Schema.AdditionalProperties.Schema == nil {
			t.Errorf("%s has a boolean for additionalProperties", name)
		}
	}
}

// Admission policies are type-checked against it, by a controller that a schema it cannot use has brought down before.
func TestPoliciesCanBeCheckedAgainstThePublishedSchemas(t *testing.T) {
	schemas := resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, NewScheme())
	for _, kind := range []string{"HTTPApp", "HTTPAppList"} {
		found, err := schemas.ResolveSchema(v1alpha1.SchemeGroupVersion.WithKind(kind))
		if err != nil {
			t.Fatal(err)
		}
		declared := celopenapi.SchemaDeclType(found, true)
		if declared == nil {
			t.Fatalf("%s has no type", kind)
		}
		if kind == "HTTPApp" && (declared.Fields["spec"] == nil || declared.Fields["spec"].Type.Fields["scaling"] == nil) {
			t.Errorf("the type of %s has the fields %v", kind, declared.Fields)
		}
	}
}
