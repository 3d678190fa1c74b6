//go:build e2e

package recordstore

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/install"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/storage/hosttest"
	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// An administrator may write records, and write nonsense.
func TestARecordThatSomebodyBrokeHidesNoOther(t *testing.T) {
	h, product := newHost(t), hosttest.Definition(t)
	crds := apiextensions.NewForConfigOrDie(h.Config).CustomResourceDefinitions()
	crd, err := crds.Get(t.Context(), product.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{
		Client:   h.Records,
		Resource: v1alpha1.Resource("httpapps"),
		Prefix:   "/httpapps",
		Codec:    install.NewCodecs(install.NewServerScheme()).LegacyCodec(v1alpha1.SchemeGroupVersion),
		New:      func() runtime.Object { return &v1alpha1.HTTPApp{} },
		Attrs: func(obj runtime.Object) (labels.Set, fields.Set, error) {
			return nil, fields.Set{v1alpha1.FieldServiceName: obj.(*v1alpha1.HTTPApp).Spec.ServiceName}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	create := func(name string) {
		t.Helper()
		app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: v1alpha1.HTTPAppSpec{ServiceName: "svc-" + name}}
		if err := s.Create(t.Context(), "/httpapps/ns/"+name, app, &v1alpha1.HTTPApp{}, 0); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, object any) error {
		raw, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		return h.Records.Post().Namespace("ns").Resource(record.Resource.Resource).
			Body(&record.HTTPAppRecord{ObjectMeta: metav1.ObjectMeta{Name: name}, Object: record.Payload(raw)}).Do(t.Context()).Error()
	}
	list := func(predicate storage.SelectionPredicate) *v1alpha1.HTTPAppList {
		t.Helper()
		list := &v1alpha1.HTTPAppList{}
		if err := s.GetList(t.Context(), "/httpapps", storage.ListOptions{Recursive: true, Predicate: predicate}, list); err != nil {
			t.Fatal(err)
		}
		return list
	}

	// Before the product's definition, so that what it refuses is there.
	create("before")
	start := list(storage.Everything)
	w, err := s.Watch(t.Context(), "/httpapps", storage.ListOptions{ResourceVersion: start.ResourceVersion, Recursive: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	app := map[string]any{"apiVersion": v1alpha1.SchemeGroupVersion.String(), "kind": "HTTPApp", "metadata": map[string]any{}}
	pod := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{}, "spec": map[string]any{}}
	for name, object := range map[string]any{
		"a-pod": pod, "nothing": map[string]any{},
		"odd": map[string]any{"apiVersion": app["apiVersion"], "kind": "HTTPApp", "metadata": map[string]any{}, "spec": map[string]any{"scaling": "much"}},
	} {
		if err := write(name, object); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	create("past")
	if e := <-w.ResultChan(); e.Type != watch.Added || e.Object.(*v1alpha1.HTTPApp).Name != "past" {
		t.Errorf("the watch tells of %+v", e)
	}
	if got := list(storage.Everything); len(got.Items) != 2 || got.Items[0].Name != "before" || got.Items[1].Name != "past" {
		t.Errorf("%d apps are listed", len(got.Items))
	}

	crd.Spec = product.Spec
	if _, err := crds.Update(t.Context(), crd, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	var refusal error
	h.Await(t, "the product's definition to hold", func(ctx context.Context) bool {
		refusal = write("another-pod", pod)
		if refusal == nil {
			_ = h.Records.Delete().Namespace("ns").Resource(record.Resource.Resource).Name("another-pod").Do(ctx).Error()
		}
		return refusal != nil
	})
	if !apierrors.IsInvalid(refusal) || !strings.Contains(refusal.Error(), "object") {
		t.Errorf("a pod as a record: %v", refusal)
	}
	// What an older version wrote is found by what it could be found by, and by the rest once it was written again.
	by := func(field, value string) storage.SelectionPredicate {
		return storage.SelectionPredicate{Label: labels.Everything(), Field: fields.OneTermEqualSelector(field, value)}
	}
	if got := list(by("metadata.name", "before")); len(got.Items) != 1 {
		t.Errorf("%d apps are called before", len(got.Items))
	}
	same := func(obj runtime.Object, _ storage.ResponseMeta) (runtime.Object, *uint64, error) {
		return obj, nil, nil
	}
	if err := s.GuaranteedUpdate(t.Context(), "/httpapps/ns/before", &v1alpha1.HTTPApp{}, false, nil, same, nil); err != nil {
		t.Fatal(err)
	}
	if got := list(by(v1alpha1.FieldServiceName, "svc-before")); len(got.Items) != 1 || got.Items[0].Name != "before" {
		t.Errorf("%d apps have this Service", len(got.Items))
	}
	// It is nobody's business who manages which field of a record.
	written, err := h.Records.Get().Namespace("ns").Resource(record.Resource.Resource).Name("before").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(written), "managedFields") {
		t.Errorf("the host goes on working out who manages which field: %s", written)
	}
}
