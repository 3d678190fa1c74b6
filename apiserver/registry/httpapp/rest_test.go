package httpapp

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	registrytest "k8s.io/apiserver/pkg/registry/generic/testing"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/install"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/storage/embedded"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// newTestStorage is the registry on an etcd of its own.
func newTestStorage(t *testing.T) *Storage {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: t.TempDir(), Unsafe: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	scheme := install.NewServerScheme()
	config := storagebackend.NewDefaultConfig("/test", install.NewCodecs(scheme).LegacyCodec(v1alpha1.SchemeGroupVersion))
	config.Transport.ServerList = []string{etcd.Endpoint}
	config.EncodeVersioner = v1alpha1.SchemeGroupVersion
	resource := v1alpha1.Resource("httpapps")
	storage, err := NewStorage(Config{
		Scheme:  scheme,
		Options: generic.RESTOptions{StorageConfig: config.ForResource(resource), Decorator: generic.UndecoratedStorage, EnableGarbageCollection: true, DeleteCollectionWorkers: 1, ResourcePrefix: resource.Resource},
		Domain:  "example.com",
		View:    viewOf(queue.Sample{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(storage.HTTPApp.Destroy)
	return storage
}

// valid is an app that nothing is wrong with, with its defaults. Its namespace is the request's. It says its routes, because
// the conventions' tests put it into etcd without asking the strategy: an update that filled them in would be another generation.
func valid() *v1alpha1.HTTPApp {
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: v1alpha1.HTTPAppSpec{
		Template: template(), Routes: []v1alpha1.Route{{Hosts: []string{"shop.example.com"}}}, Scaling: v1alpha1.Scaling{MaxReplicas: ptr.To[int32](3)},
	}}
	install.NewScheme().Default(app)
	return app
}

func TestCreatingKeepsTheConventionsOfKubernetes(t *testing.T) {
	without := valid()
	without.Spec.Template = nil
	negative := valid()
	negative.Spec.Scaling.MinReplicas = ptr.To[int32](-1)
	registrytest.New(t, newTestStorage(t).HTTPApp.Store).TestCreate(valid(), without, negative)
}

func TestUpdatingKeepsTheConventionsOfKubernetes(t *testing.T) {
	registrytest.New(t, newTestStorage(t).HTTPApp.Store).TestUpdate(valid(),
		func(obj runtime.Object) runtime.Object {
			obj.(*v1alpha1.HTTPApp).Spec.Scaling.MaxReplicas = ptr.To[int32](5)
			return obj
		},
		func(obj runtime.Object) runtime.Object {
			obj.(*v1alpha1.HTTPApp).Spec.Scaling.MaxReplicas = ptr.To[int32](-1)
			return obj
		},
	)
}

func TestDeletingKeepsTheConventionsOfKubernetes(t *testing.T) {
	registrytest.New(t, newTestStorage(t).HTTPApp.Store).TestDelete(valid())
}

func TestReadingKeepsTheConventionsOfKubernetes(t *testing.T) {
	registrytest.New(t, newTestStorage(t).HTTPApp.Store).TestGet(valid())
}

func TestListingKeepsTheConventionsOfKubernetes(t *testing.T) {
	registrytest.New(t, newTestStorage(t).HTTPApp.Store).TestList(valid())
}

func TestWatchingKeepsTheConventionsOfKubernetes(t *testing.T) {
	app := valid()
	app.Labels = map[string]string{"a": "b"}
	registrytest.New(t, newTestStorage(t).HTTPApp.Store).TestWatch(app,
		[]labels.Set{{"a": "b"}, {}},
		[]labels.Set{{"a": "c"}, {"x": "y"}},
		[]fields.Set{{v1alpha1.FieldName: "shop"}, {v1alpha1.FieldReady: "Unknown"}, {v1alpha1.FieldAutoscaler: "KEDA"}},
		[]fields.Set{{v1alpha1.FieldName: "bar"}, {v1alpha1.FieldReady: "True"}, {v1alpha1.FieldWorkload: "web"}},
	)
}

// A status does not change the rest, the rest does not change the status, and neither makes an app.
func TestAStatusAndTheRestOfAnAppAreWrittenApart(t *testing.T) {
	storage := newTestStorage(t)
	ctx := genericapirequest.WithNamespace(genericapirequest.NewContext(), metav1.NamespaceDefault)
	app := valid()
	app.Status.URL = "http://from-a-client"
	obj, err := storage.HTTPApp.Create(ctx, app, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created := obj.(*v1alpha1.HTTPApp)
	if created.Status.URL != "" || created.Generation != 1 {
		t.Errorf("created at generation %d with the status %+v", created.Generation, created.Status)
	}
	update := func(r interface {
		Update(context.Context, string, rest.UpdatedObjectInfo, rest.ValidateObjectFunc, rest.ValidateObjectUpdateFunc, bool, *metav1.UpdateOptions) (runtime.Object, bool, error)
	}, change func(*v1alpha1.HTTPApp)) *v1alpha1.HTTPApp {
		t.Helper()
		info := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
			app := old.DeepCopyObject().(*v1alpha1.HTTPApp)
			change(app)
			return app, nil
		})
		obj, made, err := r.Update(ctx, "shop", info, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		if err != nil || made {
			t.Fatalf("%v, %v", made, err)
		}
		return obj.(*v1alpha1.HTTPApp)
	}
	change := func(app *v1alpha1.HTTPApp) {
		app.Status.URL, app.Labels = "http://shop", map[string]string{"a": "b"}
		app.Spec.Scaling.MaxReplicas = ptr.To[int32](7)
	}
	if got := update(storage.Status, change); got.Status.URL != "http://shop" || *got.Spec.Scaling.MaxReplicas != 3 || got.Labels != nil || got.Generation != 1 {
		t.Errorf("after a write of the status: %+v", got)
	}
	if got := update(storage.HTTPApp, func(app *v1alpha1.HTTPApp) { change(app); app.Status.URL = "" }); got.Status.URL != "http://shop" || *got.Spec.Scaling.MaxReplicas != 7 || got.Labels == nil || got.Generation != 2 {
		t.Errorf("after a write of the app: %+v", got)
	}
	_, _, err = storage.Status.Update(ctx, "other", rest.DefaultUpdatedObjectInfo(valid()), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, true, &metav1.UpdateOptions{})
	if err == nil {
		t.Error("a status made an app")
	}
}
