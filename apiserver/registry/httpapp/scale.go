package httpapp

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/live"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// The annotations of a scale: the queue of this moment. They are absent while no interceptor has reported.
const (
	AnnotationPending  = v1alpha1.GroupName + "/pending"
	AnnotationInFlight = v1alpha1.GroupName + "/in-flight"
	// AnnotationDemand is the number of replicas that the queue calls for.
	AnnotationDemand = v1alpha1.GroupName + "/demand"
)

// retries is how often a write that is not bound to a version is tried again after another write was faster.
const retries = 5

// Scales reads and writes the scale subresource of workloads.
type Scales interface {
	Get(ctx context.Context, namespace string, ref v1alpha1.WorkloadReference) (*autoscalingv1.Scale, error)
	Update(ctx context.Context, namespace string, ref v1alpha1.WorkloadReference, scale *autoscalingv1.Scale, opts metav1.UpdateOptions) (*autoscalingv1.Scale, error)
}

// ScaleREST serves httpapps/scale: a window on the scale of the app's workload. Nothing of it is kept here.
//
// What it shows has the app's name, uid and creationTimestamp, because that is the object whose subresource it is, and the
// workload's resourceVersion, because that is what a write is checked against. So a uid precondition means the app, and a
// resourceVersion precondition means the workload.
type ScaleREST struct {
	apps   rest.Getter
	scales Scales
	view   *live.View
}

var (
	_ rest.Patcher                  = &ScaleREST{}
	_ rest.GroupVersionKindProvider = &ScaleREST{}
	_ rest.TableConvertor           = &ScaleREST{}
)

// New implements rest.Storage.
func (r *ScaleREST) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy implements rest.Storage. The store is that of REST.
func (r *ScaleREST) Destroy() {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (r *ScaleREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// Get implements rest.Getter.
func (r *ScaleREST) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	// The options' resourceVersion is of the workload, and the workload is always read afresh.
	app, err := r.app(ctx, name)
	if err != nil {
		return nil, err
	}
	of, err := r.scales.Get(ctx, app.Namespace, workload.RefOf(app))
	if err != nil {
		return nil, r.explain(app, err)
	}
	return r.scale(app, of), nil
}

func (r *ScaleREST) app(ctx context.Context, name string) (*v1alpha1.HTTPApp, error) {
	obj, err := r.apps.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	app, ok := obj.(*v1alpha1.HTTPApp)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("the registry of httpapps returned %T", obj))
	}
	return app, nil
}

// scale is what clients see of the workload's scale.
func (r *ScaleREST) scale(app *v1alpha1.HTTPApp, of *autoscalingv1.Scale) *autoscalingv1.Scale {
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:         app.Namespace,
			Name:              app.Name,
			UID:               app.UID,
			CreationTimestamp: app.CreationTimestamp,
			ResourceVersion:   of.ResourceVersion,
		},
		Spec:   of.Spec,
		Status: of.Status,
	}
	if scale.Status.Selector == "" && app.Spec.Template != nil {
		// An autoscaler refuses a scale without one.
		scale.Status.Selector = labels.Set{v1alpha1.AppLabel: app.Name}.String()
	}
	if s, ok := r.view.Sample(types.NamespacedName{Namespace: app.Namespace, Name: app.Name}); ok {
		scale.Annotations = map[string]string{
			AnnotationPending:  strconv.FormatInt(s.Pending, 10),
			AnnotationInFlight: strconv.FormatInt(s.InFlight, 10),
			AnnotationDemand:   strconv.Itoa(int(demand.Replicas(app, s.Pending, s.InFlight))),
		}
	}
	return scale
}

// Update implements rest.Updater: it changes the workload's replicas before it returns. A version that the caller names is
// passed on; without one the write is tried again when another one was faster.
func (r *ScaleREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc,
	validate rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	var conflict error
	for range retries {
		scale, err := r.tryUpdate(ctx, name, info, validate, options)
		if err == nil {
			return scale, false, nil
		}
		if !errors.Is(err, errRaced) {
			return nil, false, err
		}
		conflict = err
	}
	return nil, false, apierrors.NewConflict(scaleResource, name, conflict)
}

var (
	errRaced      = errors.New("the workload was scaled by others at the same time")
	scaleResource = v1alpha1.Resource("httpapps/scale")
)

func (r *ScaleREST) tryUpdate(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	validate rest.ValidateObjectUpdateFunc, options *metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	app, err := r.app(ctx, name)
	if err != nil {
		return nil, err
	}
	if p := info.Preconditions(); p != nil && p.UID != nil && *p.UID != app.UID {
		return nil, apierrors.NewConflict(scaleResource, name, fmt.Errorf("the uid in the precondition is %s, that of the app %s", *p.UID, app.UID))
	}
	ref := workload.RefOf(app)
	of, err := r.scales.Get(ctx, app.Namespace, ref)
	if err != nil {
		return nil, r.explain(app, err)
	}
	before := r.scale(app, of)
	obj, err := info.UpdatedObject(ctx, before.DeepCopy())
	if err != nil {
		return nil, err
	}
	wanted, ok := obj.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("a Scale was expected, not %T", obj))
	}
	if wanted.Name != "" && wanted.Name != app.Name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the scale is %q, not %q", app.Name, wanted.Name))
	}
	if err := rest.EnsureObjectNamespaceMatchesRequestNamespace(app.Namespace, wanted); err != nil {
		return nil, err
	}
	if v := wanted.ResourceVersion; v != "" && v != before.ResourceVersion {
		return nil, apierrors.NewConflict(scaleResource, name, errors.New("the workload has been modified; please apply your changes to the latest version and try again"))
	}
	if err := checkReplicas(app, before, wanted); err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, wanted.DeepCopy(), before.DeepCopy()); err != nil {
			return nil, err
		}
	}
	if wanted.Spec.Replicas == before.Spec.Replicas {
		return before, nil
	}
	next := of.DeepCopy()
	next.Spec.Replicas = wanted.Spec.Replicas
	written, err := r.scales.Update(ctx, app.Namespace, ref, next, passedOn(ctx, options))
	if apierrors.IsConflict(err) {
		return nil, errRaced
	}
	if err != nil {
		return nil, r.explain(app, err)
	}
	return r.scale(app, written), nil
}

// checkReplicas holds a change to the app's bounds, so that nobody wonders why an autoscaler takes it back.
func checkReplicas(app *v1alpha1.HTTPApp, before, wanted *autoscalingv1.Scale) error {
	n := wanted.Spec.Replicas
	if n == before.Spec.Replicas {
		return nil
	}
	least, most := demand.Bounds(app)
	path := field.NewPath("spec", "replicas")
	var err *field.Error
	switch {
	case n < 0:
		err = field.Invalid(path, n, apivalidation.IsNegativeErrorMsg)
	case n < least:
		err = field.Invalid(path, n, fmt.Sprintf("must not be less than spec.scaling.minReplicas of the app, which is %d", least))
	case n > most:
		err = field.Invalid(path, n, fmt.Sprintf("must not be more than spec.scaling.maxReplicas of the app, which is %d", most))
	default:
		return nil
	}
	return apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), app.Name, field.ErrorList{err})
}

// explain says what an error about the workload's scale means for the app's.
func (r *ScaleREST) explain(app *v1alpha1.HTTPApp, err error) error {
	ref := workload.RefOf(app)
	var noScale *workload.NoScaleError
	switch {
	case errors.As(err, &noScale):
		return notFound(app, noScale.Error())
	case apierrors.IsNotFound(err) && app.Spec.WorkloadRef == nil:
		return apierrors.NewServiceUnavailable(fmt.Sprintf("the %s of httpapp %q is not made yet; the app's conditions say why if it takes long", ref.Kind, app.Name))
	case apierrors.IsNotFound(err):
		return notFound(app, fmt.Sprintf("%s %q (%s), which httpapp %q refers to, does not exist", ref.Kind, ref.Name, ref.APIVersion, app.Name))
	case apierrors.IsForbidden(err):
		return apierrors.NewInternalError(fmt.Errorf("the host cluster does not let the API server of httpapps scale %s %q: %w", ref.Kind, ref.Name, err))
	}
	return err
}

func notFound(app *v1alpha1.HTTPApp, message string) error {
	err := apierrors.NewNotFound(scaleResource, app.Name)
	err.ErrStatus.Message = message
	return err
}

// ConvertToTable implements rest.TableConvertor.
func (r *ScaleREST) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	scale, ok := obj.(*autoscalingv1.Scale)
	if !ok {
		return nil, fmt.Errorf("%T cannot be a row of scales", obj)
	}
	table := &metav1.Table{ListMeta: metav1.ListMeta{ResourceVersion: scale.ResourceVersion}}
	if opts, ok := options.(*metav1.TableOptions); !ok || !opts.NoHeaders {
		table.ColumnDefinitions = scaleColumns
	}
	table.Rows = []metav1.TableRow{{
		Cells:  []any{scale.Name, int64(scale.Spec.Replicas), int64(scale.Status.Replicas), age(scale.CreationTimestamp)},
		Object: runtime.RawExtension{Object: scale},
	}}
	return table, nil
}
