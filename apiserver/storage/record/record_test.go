package record

import (
	"math/rand"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/roundtrip"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/randfill"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func TestRecordsSurviveEncodingAndDecoding(t *testing.T) {
	codecs := serializer.NewCodecFactory(Scheme)
	payloads := func(serializer.CodecFactory) []any {
		return []any{func(r *HTTPAppRecord, c randfill.Continue) {
			c.FillNoCustom(r)
			r.Object = `{"apiVersion":"apps.http.keda.sh/v1alpha1","kind":"HTTPApp","spec":{"port":8080}}`
			r.Fields = &runtime.RawExtension{Raw: []byte(`{"spec":{"serviceName":"shop"}}`)}
		}}
	}
	fill := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, payloads), rand.NewSource(rand.Int63()), codecs)
	roundtrip.RoundTripExternalTypesWithoutProtobuf(t, Scheme, codecs, fill, nil)
}

func TestAnAppIsWhereItsRecordIs(t *testing.T) {
	r := &HTTPAppRecord{
		ObjectMeta: metav1.ObjectMeta{Namespace: "restored", Name: "shop", ResourceVersion: "7", UID: "record"},
		Object: `{"apiVersion":"apps.http.keda.sh/v1alpha1","kind":"HTTPApp",
			"metadata":{"namespace":"saved","name":"shop","uid":"app","resourceVersion":"3"},"spec":{"serviceName":"shop"}}`,
	}
	app, err := DecodeServed(r)
	if err != nil {
		t.Fatal(err)
	}
	if app.Namespace != "restored" || app.Name != "shop" || app.ResourceVersion != "7" || app.UID != "app" {
		t.Errorf("the app is %+v", app.ObjectMeta)
	}
	// An older version may have written less.
	if s := app.Spec.Scaling; s.MaxReplicas == nil || *s.MaxReplicas != v1alpha1.DefaultMaxReplicas || s.Autoscaler != v1alpha1.AutoscalerKEDA {
		t.Errorf("the scaling is %+v", s)
	}
	r.Object = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"shop"}}`
	if app, err := DecodeServed(r); err == nil {
		t.Errorf("a Pod is taken for %+v", app)
	}
}
