package record

import (
	"fmt"
	"testing"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/equality"

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
