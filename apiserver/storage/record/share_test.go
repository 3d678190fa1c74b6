package record

import (
	"fmt"
	"testing"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func sharing(t *testing.T, cpu string) *v1alpha1.HTTPApp {
	t.Helper()
	app, err := Payload(`{"apiVersion":"apps.http.keda.sh/v1alpha1","kind":"HTTPApp","metadata":{"name":"shop",
		"managedFields":[{"manager":"kubectl","operation":"Update","apiVersion":"apps.http.keda.sh/v1alpha1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:template":{}}}}]},
		"spec":{"template":{"spec":{"containers":[{"name":"app","image":"a","resources":{"requests":{"cpu":"` + cpu + `","memory":"64Mi"}}}]}}},
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
	for n := range 3 * most {
		app := sharing(t, "1")
		app.ManagedFields[0].Manager = fmt.Sprint(n)
		s.Share(app)
	}
	if len(s.strings) > most+10 {
		t.Errorf("%d words are remembered", len(s.strings))
	}
}
