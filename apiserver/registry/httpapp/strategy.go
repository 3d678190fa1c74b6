// Package httpapp is the registry of HTTPApps: what may be written, what of it is kept, and how it is shown.
package httpapp

import (
	"context"
	"fmt"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/validation"
)

var (
	_ rest.RESTCreateStrategy  = strategy{}
	_ rest.RESTUpdateStrategy  = strategy{}
	_ rest.RESTDeleteStrategy  = strategy{}
	_ rest.ResetFieldsStrategy = strategy{}

	_ rest.RESTUpdateStrategy  = statusStrategy{}
	_ rest.ResetFieldsStrategy = statusStrategy{}
)

// Routes tells which routes of an app older ones own, as far as they are known. It does not wait.
type Routes interface {
	Taken(app *v1alpha1.HTTPApp) []routes.Conflict
}

// strategy is for writes of apps, except of their status.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	// domain is what the default host ends with.
	domain string
	routes Routes
}

func (strategy) NamespaceScoped() bool          { return true }
func (strategy) AllowCreateOnUpdate() bool      { return false }
func (strategy) AllowUnconditionalUpdate() bool { return true }
func (strategy) Canonicalize(runtime.Object)    {}

// GetResetFields names what a writer of an app does not get to own: its status is written elsewhere, or nowhere.
func (strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(v1alpha1.SchemeGroupVersion.String()): fieldpath.NewSet(fieldpath.MakePathOrDie("status")),
	}
}

func (s strategy) PrepareForCreate(_ context.Context, obj runtime.Object) {
	app := obj.(*v1alpha1.HTTPApp)
	app.Status = v1alpha1.HTTPAppStatus{}
	app.Generation = 1
	s.fillRoutes(app)
}

func (s strategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	app, before := obj.(*v1alpha1.HTTPApp), old.(*v1alpha1.HTTPApp)
	app.Status = *before.Status.DeepCopy()
	app.Status.Traffic = nil
	s.fillRoutes(app)
	if !apiequality.Semantic.DeepEqual(app.Spec, before.Spec) {
		app.Generation = before.Generation + 1
	}
}

// fillRoutes writes the default host down, because interceptors read records and do not know the domain. An app without a
// name is refused for that alone.
func (s strategy) fillRoutes(app *v1alpha1.HTTPApp) {
	if len(app.Spec.Routes) == 0 && app.Name != "" {
		host := fmt.Sprintf("%s.%s.%s", app.Name, app.Namespace, s.domain)
		app.Spec.Routes = []v1alpha1.Route{{Hosts: []string{host}}}
	}
}

func (strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	return validation.ValidateHTTPApp(obj.(*v1alpha1.HTTPApp))
}

func (strategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.ValidateHTTPAppUpdate(obj.(*v1alpha1.HTTPApp), old.(*v1alpha1.HTTPApp))
}

func (s strategy) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	return s.warnings(obj.(*v1alpha1.HTTPApp))
}

func (s strategy) WarningsOnUpdate(_ context.Context, obj, old runtime.Object) []string {
	app, before := obj.(*v1alpha1.HTTPApp), old.(*v1alpha1.HTTPApp)
	if apiequality.Semantic.DeepEqual(app.Spec, before.Spec) {
		return nil
	}
	return s.warnings(app)
}

// warnings says what is accepted and yet does not work.
func (s strategy) warnings(app *v1alpha1.HTTPApp) []string {
	return s.conflicts(app)
}

// conflicts names the routes that older apps own. It is no reason to refuse the app: they may go.
func (s strategy) conflicts(app *v1alpha1.HTTPApp) []string {
	if s.routes == nil {
		return nil
	}
	var warnings []string
	for _, c := range s.routes.Taken(app) {
		warnings = append(warnings, fmt.Sprintf("spec.routes: %s belongs to the older app %s; requests for it do not come to this app while that one exists", c.Key, c.Owner))
	}
	return warnings
}

// statusStrategy is for writes of an app's status.
type statusStrategy struct{ strategy }

// GetResetFields names what a writer of the status does not get to own.
func (statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(v1alpha1.SchemeGroupVersion.String()): fieldpath.NewSet(
			fieldpath.MakePathOrDie("spec"),
			fieldpath.MakePathOrDie("metadata", "deletionTimestamp"),
			fieldpath.MakePathOrDie("metadata", "finalizers"),
			fieldpath.MakePathOrDie("metadata", "labels"),
			fieldpath.MakePathOrDie("metadata", "annotations"),
			fieldpath.MakePathOrDie("metadata", "ownerReferences"),
			// Live: joined into answers, never stored.
			fieldpath.MakePathOrDie("status", "traffic"),
		),
	}
}

func (statusStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	app, before := obj.(*v1alpha1.HTTPApp), old.(*v1alpha1.HTTPApp)
	metav1.ResetObjectMetaForStatus(&app.ObjectMeta, &before.ObjectMeta)
	before.Spec.DeepCopyInto(&app.Spec)
	app.Status.Traffic = nil
}

func (statusStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.ValidateHTTPAppStatusUpdate(obj.(*v1alpha1.HTTPApp), old.(*v1alpha1.HTTPApp))
}

func (statusStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}
