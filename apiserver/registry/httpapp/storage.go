package httpapp

import (
	"context"
	"fmt"
	"strconv"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/live"
)

var (
	_ rest.StandardStorage      = &REST{}
	_ rest.ShortNamesProvider   = &REST{}
	_ rest.CategoriesProvider   = &REST{}
	_ rest.SingularNameProvider = &REST{}

	_ rest.Patcher             = &StatusREST{}
	_ rest.ResetFieldsStrategy = &StatusREST{}
	_ rest.TableConvertor      = &StatusREST{}
)

// Config is what the registry works with.
type Config struct {
	Scheme  *runtime.Scheme
	Options generic.RESTOptionsGetter
	// Domain is what default hosts end with.
	Domain string
	// Routes tells which routes are taken; nil: there are no warnings.
	Routes Routes
	// View shows the requests of this moment.
	View *live.View
	// Scales are those of the host's workloads.
	Scales Scales
	// Listed is called with the size of each list that is about to be answered; nil: nobody wants to know.
	Listed func(apps int)
}

// Storage has what is served: httpapps, httpapps/status and httpapps/scale.
type Storage struct {
	HTTPApp *REST
	Status  *StatusREST
	Scale   *ScaleREST
}

// NewStorage makes the registry.
func NewStorage(config Config) (*Storage, error) {
	s := strategy{ObjectTyper: config.Scheme, NameGenerator: names.SimpleNameGenerator, domain: config.Domain, routes: config.Routes}
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return &v1alpha1.HTTPApp{} },
		NewListFunc:               func() runtime.Object { return &v1alpha1.HTTPAppList{} },
		DefaultQualifiedResource:  v1alpha1.Resource("httpapps"),
		SingularQualifiedResource: v1alpha1.Resource("httpapp"),

		CreateStrategy:      s,
		UpdateStrategy:      s,
		DeleteStrategy:      s,
		ResetFieldsStrategy: s,
		TableConvertor:      tableConvertor{config.View},
	}
	if err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: config.Options, AttrFunc: Attrs}); err != nil {
		return nil, fmt.Errorf("the registry of httpapps: %w", err)
	}
	statusStore := *store
	statusStore.UpdateStrategy = statusStrategy{s}
	statusStore.ResetFieldsStrategy = statusStrategy{s}
	listed := config.Listed
	if listed == nil {
		listed = func(int) {}
	}
	return &Storage{
		HTTPApp: &REST{store, config.View, listed},
		Status:  &StatusREST{&statusStore, config.View},
		Scale:   &ScaleREST{apps: store, scales: config.Scales, view: config.View},
	}, nil
}

// REST serves httpapps.
type REST struct {
	*genericregistry.Store
	view   *live.View
	listed func(apps int)
}

// ShortNames implements rest.ShortNamesProvider.
func (r *REST) ShortNames() []string { return []string{"ha"} }

// Categories implements rest.CategoriesProvider. It is not in "all": with our server away, kubectl get all would fail.
func (r *REST) Categories() []string { return []string{"keda"} }

// Get implements rest.Getter, with the requests of this moment.
func (r *REST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return joined(ctx, r.view)(r.Store.Get(ctx, name, options))
}

// Create implements rest.Creater.
func (r *REST) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	return joined(ctx, r.view)(r.Store.Create(ctx, obj, validate, options))
}

// Update implements rest.Updater.
func (r *REST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	obj, created, err := r.Store.Update(ctx, name, info, create, update, forceAllowCreate, options)
	obj, err = joined(ctx, r.view)(obj, err)
	return obj, created, err
}

// joined joins the requests of this moment into an answer that a client gets.
func joined(ctx context.Context, view *live.View) func(runtime.Object, error) (runtime.Object, error) {
	return func(obj runtime.Object, err error) (runtime.Object, error) {
		if err != nil {
			return nil, err
		}
		if app, ok := obj.(*v1alpha1.HTTPApp); ok {
			view.Join(ctx, app)
		}
		return obj, nil
	}
}

// List implements rest.Lister, with the requests of this moment.
func (r *REST) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	obj, err := r.Store.List(ctx, options)
	if err != nil {
		return nil, err
	}
	if list, ok := obj.(*v1alpha1.HTTPAppList); ok {
		for i := range list.Items {
			r.view.Join(ctx, &list.Items[i])
		}
		r.listed(len(list.Items))
	}
	return obj, nil
}

// Watch implements rest.Watcher. Only tables have live events: everybody else takes an event for a write, and two objects of
// the same version for the same.
func (r *REST) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	w, err := r.Store.Watch(ctx, options)
	if err != nil || !live.WantsTable(ctx) {
		return w, err
	}
	return r.view.Watch(ctx, w, r.scope(ctx, options)), nil
}

// scope says what the client of a watch knows, and is to see.
func (r *REST) scope(ctx context.Context, options *metainternalversion.ListOptions) live.Scope {
	label, field := labels.Everything(), fields.Everything()
	var from uint64
	if options != nil {
		if options.LabelSelector != nil {
			label = options.LabelSelector
		}
		if options.FieldSelector != nil {
			field = options.FieldSelector
		}
		// A client that watches from no version, or from any, is sent everything first. A version that is none was refused.
		if initial := options.SendInitialEvents; initial == nil || !*initial {
			from, _ = strconv.ParseUint(options.ResourceVersion, 10, 64)
		}
	}
	namespace := genericapirequest.NamespaceValue(ctx)
	predicate := r.PredicateFunc(label, field)
	return live.Scope{From: from, Matches: func(app *v1alpha1.HTTPApp) bool {
		if namespace != "" && app.Namespace != namespace {
			return false
		}
		matches, err := predicate.Matches(app)
		return err == nil && matches
	}}
}

// StatusREST serves httpapps/status.
type StatusREST struct {
	store *genericregistry.Store
	view  *live.View
}

// New implements rest.Storage.
func (r *StatusREST) New() runtime.Object { return &v1alpha1.HTTPApp{} }

// Destroy implements rest.Storage. The store is that of REST.
func (r *StatusREST) Destroy() {}

// Get implements rest.Getter.
func (r *StatusREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return joined(ctx, r.view)(r.store.Get(ctx, name, options))
}

// Update implements rest.Updater. A status does not create an app.
func (r *StatusREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	obj, created, err := r.store.Update(ctx, name, info, create, update, false, options)
	obj, err = joined(ctx, r.view)(obj, err)
	return obj, created, err
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (r *StatusREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.store.GetResetFields()
}

// ConvertToTable implements rest.TableConvertor.
func (r *StatusREST) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, obj, options)
}
