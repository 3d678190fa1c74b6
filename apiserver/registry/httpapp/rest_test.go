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
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
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
func newTestStorage(t *testing.T, decorator generic.StorageDecorator) *Storage {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: t.TempDir(), Unsafe: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	config := storagebackend.NewDefaultConfig("/test", install.NewCodecs(install.NewServerScheme()).LegacyCodec(v1alpha1.SchemeGroupVersion))
	config.Transport.ServerList = []string{etcd.Endpoint}
	config.EncodeVersioner = v1alpha1.SchemeGroupVersion
	resource := v1alpha1.Resource("httpapps")
	return newTestStorageOn(t, generic.RESTOptions{StorageConfig: config.ForResource(resource), Decorator: decorator, EnableGarbageCollection: true, DeleteCollectionWorkers: 1, ResourcePrefix: resource.Resource})
}

// newTestStorageOn is the registry on whatever those options say.
func newTestStorageOn(t *testing.T, options generic.RESTOptionsGetter) *Storage {
	storage, err := NewStorage(Config{Scheme: install.NewServerScheme(), Options: options, Domain: "example.com", View: viewOf(queue.Sample{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(storage.HTTPApp.Destroy)
	// A cache is empty before it begins.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for storage.HTTPApp.ReadinessCheck() != nil {
		select {
		case <-ctx.Done():
			t.Fatal(storage.HTTPApp.ReadinessCheck())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return storage
}

// valid is an app that nothing is wrong with, with its defaults, in the namespace of the conventions' tests. It says its routes, because these
// tests put it into etcd without asking the strategy: an update that filled them in would be another generation.
func valid() *v1alpha1.HTTPApp {
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "shop"}, Spec: v1alpha1.HTTPAppSpec{
		Template: template(), Routes: []v1alpha1.Route{{Hosts: []string{"shop.example.com"}}}, Scaling: v1alpha1.Scaling{MaxReplicas: ptr.To[int32](3)},
	}}
	install.NewScheme().Default(app)
	return app
}

// conventions runs the tests that Kubernetes has for registries, each on one without apps.
func conventions(t *testing.T, open func(*testing.T) *Storage) {
	for name, run := range map[string]func(*registrytest.Tester){
		"creating": func(r *registrytest.Tester) {
			without := valid()
			without.Spec.Template = nil
			negative := valid()
			negative.Spec.Scaling.MinReplicas = ptr.To[int32](-1)
			r.TestCreate(valid(), without, negative)
		},
		"updating": func(r *registrytest.Tester) {
			replicas := func(n int32) func(runtime.Object) runtime.Object {
				return func(obj runtime.Object) runtime.Object {
					obj.(*v1alpha1.HTTPApp).Spec.Scaling.MaxReplicas = ptr.To(n)
					return obj
				}
			}
			r.TestUpdate(valid(), replicas(5), replicas(-1))
		},
		"deleting": func(r *registrytest.Tester) { r.TestDelete(valid()) },
		"reading":  func(r *registrytest.Tester) { r.TestGet(valid()) },
		"listing":  func(r *registrytest.Tester) { r.TestList(valid()) },
		"watching": func(r *registrytest.Tester) {
			app := valid()
			app.Labels = map[string]string{"a": "b"}
			r.TestWatch(app,
				[]labels.Set{{"a": "b"}, {}},
				[]labels.Set{{"a": "c"}, {"x": "y"}},
				[]fields.Set{{v1alpha1.FieldName: "shop"}, {v1alpha1.FieldReady: "Unknown"}, {v1alpha1.FieldAutoscaler: "KEDA"}},
				[]fields.Set{{v1alpha1.FieldName: "bar"}, {v1alpha1.FieldReady: "True"}, {v1alpha1.FieldWorkload: "web"}},
			)
		},
	} {
		t.Run(name, func(t *testing.T) { run(registrytest.New(t, open(t).HTTPApp.Store)) })
	}
}

func TestTheRegistryKeepsTheConventionsOfKubernetes(t *testing.T) {
	for name, decorator := range map[string]generic.StorageDecorator{
		"etcd": generic.UndecoratedStorage,
		// As the server has it.
		"etcd with a cache": genericregistry.StorageWithCacher(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conventions(t, func(t *testing.T) *Storage { return newTestStorage(t, decorator) })
		})
	}
}

// A status does not change the rest, the rest does not change the status, and neither makes an app.
func TestAStatusAndTheRestOfAnAppAreWrittenApart(t *testing.T) {
	storage := newTestStorage(t, generic.UndecoratedStorage)
	ctx := genericapirequest.WithNamespace(genericapirequest.NewContext(), valid().Namespace)
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
