package record

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func sharing(t testing.TB, cpu string) *v1alpha1.HTTPApp {
	t.Helper()
	app, err := Payload(`{"apiVersion":"apps.http.keda.sh/v1alpha1","kind":"HTTPApp","metadata":{"name":"shop",
		"managedFields":[{"manager":"kubectl","operation":"Update","apiVersion":"apps.http.keda.sh/v1alpha1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:template":{}}}}]},
		"spec":{"template":{"metadata":{"labels":{"tier":"web"}},"spec":{"containers":[{"name":"app","image":"a",
		"readinessProbe":{"httpGet":{"path":"/healthz","port":"web"},"periodSeconds":1},"ports":[{"name":"web","containerPort":80}],"resources":{"requests":{"cpu":"` + cpu + `","memory":"64Mi"}}}]}}},
		"status":{"conditions":[{"type":"Ready","status":"True","reason":"Ready","message":"","lastTransitionTime":null}]}}`).Decode()
	if err != nil {
		t.Fatal(err)
	}
	return app
}

func TestAppsInMemoryShareWhatIsTheSameAndStayAsTheyWere(t *testing.T) {
	s := NewShared()
	first, second := sharing(t, "1"), sharing(t, "1")
	s.Share(first)
	s.Share(second)
	if first.ManagedFields[0].FieldsV1 != second.ManagedFields[0].FieldsV1 {
		t.Error("the fields that are managed are there twice")
	}
	if a, b := first.ManagedFields[0].Manager, second.ManagedFields[0].Manager; unsafe.StringData(a) != unsafe.StringData(b) {
		t.Error("the manager's name is there twice")
	}
	if a, b := first.Spec.Template, second.Spec.Template; a == b || a.Spec.Containers[0].ReadinessProbe != b.Spec.Containers[0].ReadinessProbe {
		t.Error("the probe is there twice, or one app's pods are another's")
	}
	if a, b := first.Spec.Template.Labels["tier"], second.Spec.Template.Labels["tier"]; unsafe.StringData(a) != unsafe.StringData(b) {
		t.Error("a label's value is there twice")
	}
	if a, b := first.Spec.Template.Spec.Containers[0].Ports[0].Name, second.Spec.Template.Spec.Containers[0].Ports[0].Name; unsafe.StringData(a) != unsafe.StringData(b) {
		t.Error("a port's name is there twice")
	}
	for _, cpu := range []string{"1", "2", "1000m"} {
		app := sharing(t, cpu)
		s.Share(app)
		if want := sharing(t, cpu); !equality.Semantic.DeepEqual(app, want) || app.Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().String() != want.Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().String() {
			t.Errorf("with a CPU of %s it became %+v", cpu, app)
		}
	}
}

func TestAnAppThatSharesItsTemplateIsTheSameApp(t *testing.T) {
	s := NewShared()
	payloads := []string{
		typical, `{"kind":"HTTPApp","apiVersion":"apps.http.keda.sh/v1alpha1"}`,
		`{"kind":"HTTPApp","apiVersion":"apps.http.keda.sh/v1alpha1","spec":{"template":null}}`, `{"kind":"HTTPApp","apiVersion":"apps.http.keda.sh/v1alpha1","spec":{"template":{}}}`,
		`{"kind":"HTTPApp","apiVersion":"apps.http.keda.sh/v1alpha1","spec":{"template":{"spec":{"containers":[{"ports":[{"containerPort":80}]}]}}}}`,
		`{"kind":"HTTPApp","apiVersion":"apps.http.keda.sh/v1alpha1","spec":{"template":{"spec":{"containers":7}}}}`,
		`{"kind":"HTTPApp","apiVersion":"apps.http.keda.sh/v1alpha1","spec":{"template":7}}`, `{"kind":"Pod","apiVersion":"v1","spec":{}}`, `{"kind":`, ``,
	}
	fill := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(rand.Int63()), serializer.NewCodecFactory(Scheme))
	for range 20 {
		app := &v1alpha1.HTTPApp{}
		fill.Fill(app)
		app.APIVersion, app.Kind = v1alpha1.SchemeGroupVersion.String(), "HTTPApp"
		data, err := json.Marshal(app)
		if err != nil {
			t.Fatal(err)
		}
		payloads = append(payloads, string(data))
	}
	for _, payload := range append(payloads, payloads...) {
		want, wantErr := Payload(payload).Decode()
		got, err := s.Decode(Payload(payload))
		if (err != nil) != (wantErr != nil) || !equality.Semantic.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v (%v) instead of\n%+v (%v)", payload, got, err, want, wantErr)
		}
	}
}

func TestATemplateIsInMemoryOnceAndAsLongAsAnAppHasIt(t *testing.T) {
	s := NewShared()
	decode := func(payload string) *v1alpha1.HTTPApp {
		t.Helper()
		app, err := s.Decode(Payload(payload))
		if err != nil {
			t.Fatal(err)
		}
		return app
	}
	first := decode(typical)
	scaled, other := decode(strings.Replace(typical, `"maxReplicas":5`, `"maxReplicas":6`, 1)), decode(strings.Replace(typical, "shop:1.2.3", "shop:1.2.4", 1))
	if first.Spec.Template != scaled.Spec.Template || *scaled.Spec.Scaling.MaxReplicas != 6 {
		t.Error("a template that did not change is there twice, or the rest is another app's")
	}
	if first.Spec.Template == other.Spec.Template || other.Spec.Template.Spec.Containers[0].Image == first.Spec.Template.Spec.Containers[0].Image {
		t.Error("an app has another one's template")
	}
	if a, b := first.Spec.Template.Spec.Containers[0], other.Spec.Template.Spec.Containers[0]; a.ReadinessProbe != b.ReadinessProbe {
		t.Error("of two templates the probe is there twice")
	}
	for n := range 10 * fewTemplates {
		if n%fewTemplates == 0 {
			runtime.GC()
		}
		decode(strings.Replace(typical, "shop:1.2.3", fmt.Sprint("shop:2.0.", n), 1))
	}
	if n := len(s.templates); n > 2*fewTemplates {
		t.Errorf("%d templates are known, most of which no app has", n)
	}
	if again := decode(typical); again.Spec.Template != first.Spec.Template {
		t.Error("a template that an app has is forgotten")
	}
	runtime.KeepAlive(scaled)
	runtime.KeepAlive(other)
}

func TestWhatIsSharedIsForgottenWhenThereIsTooMuch(t *testing.T) {
	s := NewShared()
	const each = 16
	for n := range 3 * most / each {
		app := sharing(t, "1")
		app.Annotations = map[string]string{}
		for i := range each {
			app.Annotations["example.com/of-every-app-"+fmt.Sprint(i)] = fmt.Sprint(n*each + i)
		}
		s.Share(app)
	}
	if len(s.strings) > most+3*each {
		t.Errorf("%d words are remembered", len(s.strings))
	}
}

func BenchmarkSharing(b *testing.B) {
	s, app := NewShared(), sharing(b, "1")
	for b.Loop() {
		s.Share(app)
	}
}
