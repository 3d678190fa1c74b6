package recordstore

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/rest"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/install"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// storeOf returns a store over a host that answers with the handler.
func storeOf(t *testing.T, handler http.HandlerFunc) *Store {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := record.NewClient(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{
		Client:   client,
		Resource: v1alpha1.Resource("httpapps"),
		Prefix:   "/httpapps",
		Codec:    install.NewCodecs(install.NewServerScheme()).LegacyCodec(v1alpha1.SchemeGroupVersion),
		New:      func() runtime.Object { return &v1alpha1.HTTPApp{} },
		Attrs: func(obj runtime.Object) (labels.Set, fields.Set, error) {
			app := obj.(*v1alpha1.HTTPApp)
			return app.Labels, fields.Set{"metadata.name": app.Name, "spec.serviceName": app.Spec.ServiceName, "status.url": app.Status.URL}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const key = "/httpapps/ns/shop"

// status is a host that answers with a Status.
func status(err *apierrors.StatusError) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s := err.ErrStatus
		s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(s.Code))
		_ = json.NewEncoder(w).Encode(s)
	}
}

func text(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "404 page not found", code) }
}

func TestErrorsOfTheHostSpeakOfApps(t *testing.T) {
	records := record.Resource.GroupResource()
	terminating := apierrors.NewForbidden(records, "shop", nil)
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for name, c := range map[string]struct {
		host http.HandlerFunc
		is   func(error) bool
	}{
		"the record is not there":         {status(apierrors.NewNotFound(records, "shop")), storage.IsNotFound},
		"another record is not there":     {status(apierrors.NewNotFound(records, "other")), apierrors.IsServiceUnavailable},
		"the namespace is not there":      {status(apierrors.NewNotFound(corev1.Resource("namespaces"), "ns")), apierrors.IsNotFound},
		"the definition is not there":     {text(http.StatusNotFound), apierrors.IsServiceUnavailable},
		"the definition is being deleted": {status(apierrors.NewMethodNotSupported(records, "create")), apierrors.IsServiceUnavailable},
		"the record is there already":     {status(apierrors.NewAlreadyExists(records, "shop")), storage.IsExist},
		"this server may not":             {status(apierrors.NewForbidden(records, "shop", errors.New(`User "system:serviceaccount:ns:server" cannot get resource "httpapprecords" in API group "storage.apps.http.keda.sh" in the namespace "ns"`))), apierrors.IsServiceUnavailable},
		"a policy forbids it": {status(apierrors.NewForbidden(records, "shop", errors.New(`admission webhook "policy.example.com" denied the request: no`))), func(err error) bool {
			return apierrors.IsForbidden(err) && strings.Contains(err.Error(), `"policy.example.com" denied the request: no`)
		}},
		"a quota is used up": {status(apierrors.NewForbidden(records, "shop", errors.New("exceeded quota: few"))), func(err error) bool {
			return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota: few")
		}},
		"the namespace is going":         {status(terminating), apierrors.IsForbidden},
		"the object is too large":        {status(apierrors.NewRequestEntityTooLargeError("limit is 3145728")), apierrors.IsRequestEntityTooLargeError},
		"something broke in the host":    {status(apierrors.NewInternalError(context.Canceled)), apierrors.IsInternalError},
		"the host is busy":               {status(apierrors.NewTooManyRequests("busy", 3)), apierrors.IsTooManyRequests},
		"the version is too old":         {status(apierrors.NewResourceExpired("too old")), apierrors.IsResourceExpired},
		"the host does not find it well": {status(apierrors.NewBadRequest("no " + records.String())), apierrors.IsBadRequest},
		"something in between broke":     {text(http.StatusBadGateway), apierrors.IsInternalError},
		"a record that is not JSON": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte("{"))
		}, apierrors.IsServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := storeOf(t, c.host)
			// What is said of reading one is meant here, except where only a write can fail so.
			err := s.Get(t.Context(), key, storage.GetOptions{}, &v1alpha1.HTTPApp{})
			if !storage.IsNotFound(err) {
				err = s.Create(t.Context(), key, &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "shop"}}, &v1alpha1.HTTPApp{}, 0)
			}
			if err == nil || !c.is(err) {
				t.Errorf("%T %v", err, err)
			}
			if err != nil && strings.Contains(err.Error(), record.Resource.Resource) {
				t.Errorf("it speaks of records: %v", err)
			}
		})
	}
}

func TestAHostThatCannotBeReachedIsNotAnAppThatIsNotThere(t *testing.T) {
	s := storeOf(t, text(http.StatusOK))
	gone := httptest.NewServer(nil)
	gone.Close()
	client, err := record.NewClient(&rest.Config{Host: gone.URL})
	if err != nil {
		t.Fatal(err)
	}
	s.Client = client
	err = s.Get(t.Context(), key, storage.GetOptions{}, &v1alpha1.HTTPApp{})
	if !apierrors.IsServiceUnavailable(err) || strings.Contains(err.Error(), gone.URL) {
		t.Errorf("%v", err)
	}
}

// answer writes an object as a host does.
func answer(w http.ResponseWriter, kind string, obj map[string]any) {
	obj["apiVersion"], obj["kind"] = record.SchemeGroupVersion.String(), kind
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(obj)
}

func stored(name, version string, object any) map[string]any {
	return map[string]any{
		"apiVersion": record.SchemeGroupVersion.String(), "kind": "HTTPAppRecord",
		"metadata": map[string]any{"namespace": "ns", "name": name, "resourceVersion": version, "uid": "record-" + name},
		"object":   object,
	}
}

func payload(name string) string {
	return `{"apiVersion":"apps.http.keda.sh/v1alpha1","kind":"HTTPApp","metadata":{"namespace":"ns","name":"` + name + `","uid":"app-` + name + `"}}`
}

func TestABrokenRecordIsLeftOutOfAList(t *testing.T) {
	s := storeOf(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, "HTTPAppRecordList", map[string]any{"metadata": map[string]any{"resourceVersion": "9"}, "items": []any{
			stored("a", "1", payload("a")),
			stored("b", "2", `{"spec":"x"}`),
			stored("c", "3", []any{}),
			stored("no-json", "3", "{"),
			stored("d", "4", `{"apiVersion":"v1","kind":"Pod"}`),
			stored("e", "5", payload("e")),
		}})
	})
	list := &v1alpha1.HTTPAppList{}
	if err := s.GetList(t.Context(), "/httpapps", storage.ListOptions{Recursive: true, Predicate: storage.Everything}, list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 2 || list.Items[0].Name != "a" || list.Items[1].Name != "e" || list.ResourceVersion != "9" {
		t.Errorf("the list at %s has %d items", list.ResourceVersion, len(list.Items))
	}
	if a := list.Items[0]; a.UID != "app-a" || a.ResourceVersion != "1" || a.Kind != "" {
		t.Errorf("its metadata is %+v of kind %q", a.ObjectMeta, a.Kind)
	}
}

func TestABrokenRecordIsNotAnAppThatIsNotThere(t *testing.T) {
	s := storeOf(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, "HTTPAppRecord", stored("shop", "1", `{"apiVersion":"v1","kind":"Pod"}`))
	})
	err := s.Get(t.Context(), key, storage.GetOptions{IgnoreNotFound: true}, &v1alpha1.HTTPApp{})
	if !storage.IsInternalError(err) || !strings.Contains(err.Error(), "ns/shop") {
		t.Errorf("%v", err)
	}
}

func TestAnAppIsWhereItsRecordIs(t *testing.T) {
	s := storeOf(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, "HTTPAppRecord", stored("shop", "1", payload("saved-under-another-name")))
	})
	app := &v1alpha1.HTTPApp{}
	if err := s.Get(t.Context(), key, storage.GetOptions{}, app); err != nil || app.Namespace != "ns" || app.Name != "shop" {
		t.Errorf("%s/%s, %v", app.Namespace, app.Name, err)
	}
}

func TestOfABrokenRecordAWatchTellsOnlyTheEnd(t *testing.T) {
	s := storeOf(t, text(http.StatusOK))
	broken := &record.HTTPAppRecord{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "shop", ResourceVersion: "7"}, Object: `{"spec":1}`}
	for _, kind := range []watch.EventType{watch.Added, watch.Modified} {
		if e, ok := s.event(watch.Event{Type: kind, Object: broken}); ok {
			t.Errorf("%v passes", e)
		}
	}
	e, ok := s.event(watch.Event{Type: watch.Deleted, Object: broken})
	if app, _ := e.Object.(*v1alpha1.HTTPApp); !ok || app == nil || app.Name != "shop" || app.ResourceVersion != "7" {
		t.Errorf("%v, %v", e, ok)
	}
}

func TestBookmarksSayWhenTheInitialEventsEnd(t *testing.T) {
	s := storeOf(t, text(http.StatusOK))
	e, ok := s.event(watch.Event{Type: watch.Bookmark, Object: &record.HTTPAppRecord{ObjectMeta: metav1.ObjectMeta{
		ResourceVersion: "7", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"},
	}}})
	if app := e.Object.(*v1alpha1.HTTPApp); !ok || app.ResourceVersion != "7" || app.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("%v, %v", e, ok)
	}
}

func TestSelectorsAndLimitsAreTheHostsToApply(t *testing.T) {
	var query map[string][]string
	var path string
	s := storeOf(t, func(w http.ResponseWriter, r *http.Request) {
		query, path = r.URL.Query(), r.URL.Path
		answer(w, "HTTPAppRecordList", map[string]any{"metadata": map[string]any{"resourceVersion": "9", "continue": "more", "remainingItemCount": 4}, "items": []any{}})
	})
	label, _ := labels.Parse("a in (b,c)")
	list := &v1alpha1.HTTPAppList{}
	err := s.GetList(t.Context(), "/httpapps/ns", storage.ListOptions{Recursive: true, ResourceVersion: "5", ResourceVersionMatch: metav1.ResourceVersionMatchExact,
		Predicate: storage.SelectionPredicate{Label: label, Field: fields.OneTermNotEqualSelector("metadata.name", "x"), Limit: 2}}, list)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"labelSelector": "a in (b,c)", "fieldSelector": "metadata.name!=x", "limit": "2", "resourceVersion": "5", "resourceVersionMatch": "Exact"} {
		if got := strings.Join(query[name], "|"); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	if path != "/apis/storage.apps.http.keda.sh/v1/namespaces/ns/httpapprecords" || list.Continue != "more" || *list.RemainingItemCount != 4 {
		t.Errorf("%s gave %+v", path, list.ListMeta)
	}
	selected := func(field string) error {
		return s.GetList(t.Context(), "/httpapps", storage.ListOptions{Recursive: true, Predicate: storage.SelectionPredicate{Label: labels.Everything(), Field: fields.OneTermEqualSelector(field, "x")}}, list)
	}
	if err := selected("spec.serviceName"); err != nil || query["fieldSelector"][0] != "fields.spec.serviceName=x" {
		t.Errorf("%v, %v", query, err)
	}
	err = selected("spec.port")
	if !apierrors.IsBadRequest(err) || !strings.HasSuffix(err.Error(), `"spec.port" is not a known field selector: only "metadata.name", "metadata.namespace", "spec.serviceName", "status.url"`) {
		t.Errorf("a selector that the host cannot apply: %v", err)
	}
}

func TestARecordIsGuardedWhileItsAppHasFinalizers(t *testing.T) {
	s := storeOf(t, text(http.StatusOK))
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "shop", Labels: map[string]string{"a": "b"}, UID: "app"}}
	at := target{"ns", "shop"}
	r, err := s.recordOf(at, app, []byte("{}"), "3")
	if err != nil || len(r.Finalizers) > 0 || r.Labels["a"] != "b" || r.UID != "" || r.ResourceVersion != "3" {
		t.Errorf("%+v, %v", r, err)
	}
	app.Finalizers = []string{"example.com/x"}
	if r, err = s.recordOf(at, app, []byte("{}"), "3"); err != nil || len(r.Finalizers) != 1 || r.Finalizers[0] != Finalizer {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSelectableFieldsAreBesideTheAppAndEmptyOnesAreNot(t *testing.T) {
	s := storeOf(t, text(http.StatusOK))
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "shop"}}
	at := target{"ns", "shop"}
	r, err := s.recordOf(at, app, []byte("{}"), "")
	if err != nil || r.Fields != nil {
		t.Errorf("%s, %v", r.Fields, err)
	}
	app.Spec.ServiceName, app.Status.URL = "web", "http://a.com"
	if r, err = s.recordOf(at, app, []byte("{}"), ""); err != nil || string(r.Fields.Raw) != `{"spec":{"serviceName":"web"},"status":{"url":"http://a.com"}}` {
		t.Errorf("%+v, %v", r, err)
	}
}

// A record that an older version wrote, or another hand, is written anew by the next update of its app.
func TestARecordIsUpToDateIfItIsWhatWouldBeWritten(t *testing.T) {
	raw := func(s string) *runtime.RawExtension { return &runtime.RawExtension{Raw: []byte(s)} }
	now := &record.HTTPAppRecord{Object: `{"a":1}`, Fields: raw(`{"x":"y","z":"a"}`)}
	for stored, want := range map[*record.HTTPAppRecord]bool{
		{Object: `{"a":1}`, Fields: raw(`{"z":"a", "x":"y"}`)}: true,
		{Object: `{"a":1}`}:                           false,
		{Object: `{"a":2}`, Fields: now.Fields}:       false,
		{Object: `{"a":1}`, Fields: raw(`{"x":"y"}`)}: false,
		{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Object: now.Object, Fields: now.Fields}: false,
	} {
		if got := upToDate(stored, now); got != want {
			t.Errorf("%s with %s: %v", stored.Object, stored.Fields, got)
		}
	}
}

func TestKeysNameAllOneNamespaceOrOneObject(t *testing.T) {
	s := storeOf(t, text(http.StatusOK))
	for key, want := range map[string]target{
		"/httpapps": {}, "/httpapps/": {}, "/httpapps/ns": {"ns", ""}, "/httpapps/ns/": {"ns", ""}, "/httpapps/ns/shop": {"ns", "shop"},
	} {
		if got, err := s.target(key, true); err != nil || got != want {
			t.Errorf("%q: %v, %v", key, got, err)
		}
	}
	for _, key := range []string{"/pods/ns/shop", "/httpapps/ns/shop/status", "/httpappsx", "httpapps/ns/shop", "/httpapps/../x", ""} {
		if got, err := s.target(key, true); err == nil {
			t.Errorf("%q: %v", key, got)
		}
	}
}
