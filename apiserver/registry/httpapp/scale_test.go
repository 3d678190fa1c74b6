package httpapp

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/registry/rest/resttest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/live"
	"github.com/kedahttp/kedahttp/apiserver/workload"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// oneApp is all apps there are.
type oneApp struct{ app *v1alpha1.HTTPApp }

func (o oneApp) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if o.app == nil || o.app.Name != name {
		return nil, apierrors.NewNotFound(v1alpha1.Resource("httpapps"), name)
	}
	return o.app.DeepCopy(), nil
}

// oneScale is the scale of one workload.
type oneScale struct {
	scale *autoscalingv1.Scale
	err   error
	// before is called before each write.
	before  func(*oneScale)
	writes  int
	options metav1.UpdateOptions
}

func (o *oneScale) Get(context.Context, string, v1alpha1.WorkloadReference) (*autoscalingv1.Scale, error) {
	if o.err != nil {
		return nil, o.err
	}
	return o.scale.DeepCopy(), nil
}

func (o *oneScale) Update(_ context.Context, _ string, _ v1alpha1.WorkloadReference, scale *autoscalingv1.Scale, options metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	if o.before != nil {
		o.before(o)
	}
	if scale.ResourceVersion != o.scale.ResourceVersion || scale.UID != o.scale.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: "apps", Resource: "deployments"}, scale.Name, nil)
	}
	o.writes++
	o.options = options
	written := scale.DeepCopy()
	o.bump(written)
	if len(options.DryRun) == 0 {
		o.scale = written
	}
	return written, nil
}

func (o *oneScale) bump(s *autoscalingv1.Scale) {
	n, _ := strconv.Atoi(o.scale.ResourceVersion)
	s.ResourceVersion = strconv.Itoa(n + 1)
}

// steady is a Source whose sample does not change.
type steady queue.Sample

func (s steady) Sample(types.NamespacedName, time.Duration) queue.Sample { return queue.Sample(s) }
func (s steady) Subscribe() live.Changes                                 { return nil }

func viewOf(s queue.Sample) *live.View {
	return live.NewView(steady(s), live.Informed{}, clock.RealClock{})
}

func scaling() (*ScaleREST, *oneScale) {
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "shop", UID: "app-uid", ResourceVersion: "900"}}
	app.Spec.WorkloadRef = &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
	app.Spec.Scaling = v1alpha1.Scaling{MinReplicas: ptr.To[int32](1), MaxReplicas: ptr.To[int32](5), Target: ptr.To(quantity("10"))}
	scales := &oneScale{scale: &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "web-uid", ResourceVersion: "7"},
		Spec:       autoscalingv1.ScaleSpec{Replicas: 2},
		Status:     autoscalingv1.ScaleStatus{Replicas: 1, Selector: "app=web"},
	}}
	view := viewOf(queue.Sample{Pending: 20, InFlight: 5, SampledAt: time.Unix(1, 0), Reporting: 1, Expected: 1})
	return &ScaleREST{apps: oneApp{app}, scales: scales, view: view}, scales
}

func TestAScaleShowsTheAppAndTheWorkloadsNumbers(t *testing.T) {
	r, _ := scaling()
	obj, err := r.Get(t.Context(), "shop", &metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := obj.(*autoscalingv1.Scale)
	if s.Name != "shop" || s.UID != "app-uid" || s.ResourceVersion != "7" {
		t.Errorf("the metadata is %+v", s.ObjectMeta)
	}
	if s.Spec.Replicas != 2 || s.Status.Replicas != 1 || s.Status.Selector != "app=web" {
		t.Errorf("it says %+v, %+v", s.Spec, s.Status)
	}
	if s.Annotations[AnnotationPending] != "20" || s.Annotations[AnnotationInFlight] != "5" || s.Annotations[AnnotationDemand] != "3" {
		t.Errorf("the queue is %v", s.Annotations)
	}
}

func TestAScaleSaysNothingOfAQueueThatNobodyReports(t *testing.T) {
	r, _ := scaling()
	r.view = viewOf(queue.Sample{Expected: 1})
	obj, err := r.Get(t.Context(), "shop", &metav1.GetOptions{})
	if err != nil || len(obj.(*autoscalingv1.Scale).Annotations) > 0 {
		t.Errorf("%v, %v", obj, err)
	}
}

// put writes as an HTTP PUT of a scale does, patch as an HTTP PATCH.
func put(r *ScaleREST, s *autoscalingv1.Scale, options *metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	return update(r, rest.DefaultUpdatedObjectInfo(s), options)
}

func patch(r *ScaleREST, replicas int32) (*autoscalingv1.Scale, error) {
	return update(r, rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		s := old.DeepCopyObject().(*autoscalingv1.Scale)
		s.Spec.Replicas = replicas
		return s, nil
	}), &metav1.UpdateOptions{})
}

func update(r *ScaleREST, info rest.UpdatedObjectInfo, options *metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	obj, _, err := r.Update(context.Background(), "shop", info, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, options)
	if err != nil {
		return nil, err
	}
	return obj.(*autoscalingv1.Scale), nil
}

func wanted(replicas int32, version string) *autoscalingv1.Scale {
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "shop", ResourceVersion: version},
		Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
	}
}

func TestAWriteIsInTheWorkloadWhenItReturns(t *testing.T) {
	for name, write := range map[string]func(*ScaleREST) (*autoscalingv1.Scale, error){
		"a patch":                 func(r *ScaleREST) (*autoscalingv1.Scale, error) { return patch(r, 4) },
		"a put of what was read":  func(r *ScaleREST) (*autoscalingv1.Scale, error) { return put(r, wanted(4, "7"), nil) },
		"a put without a version": func(r *ScaleREST) (*autoscalingv1.Scale, error) { return put(r, wanted(4, ""), nil) },
	} {
		r, scales := scaling()
		s, err := write(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if scales.scale.Spec.Replicas != 4 || scales.options.FieldManager != workload.FieldManager {
			t.Errorf("%s: the workload is scaled to %d with %+v", name, scales.scale.Spec.Replicas, scales.options)
		}
		if s.Spec.Replicas != 4 || s.ResourceVersion != scales.scale.ResourceVersion || s.Name != "shop" {
			t.Errorf("%s: the answer is %+v", name, s)
		}
	}
}

func TestAWriteKeepsToTheAppsBounds(t *testing.T) {
	for replicas, says := range map[int32]string{-1: "greater than or equal to 0", 0: "minReplicas of the app, which is 1", 6: "maxReplicas of the app, which is 5"} {
		r, scales := scaling()
		_, err := patch(r, replicas)
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.replicas") || !strings.Contains(err.Error(), says) || scales.writes > 0 {
			t.Errorf("%d: %v", replicas, err)
		}
	}
}

func TestAWorkloadOutsideTheBoundsMayStayThere(t *testing.T) {
	r, scales := scaling()
	scales.scale.Spec.Replicas = 9
	if _, err := patch(r, 9); err != nil || scales.writes > 0 {
		t.Errorf("%v, %d writes", err, scales.writes)
	}
}

func TestAStaleWriteIsAConflict(t *testing.T) {
	r, scales := scaling()
	if _, err := put(r, wanted(4, "6"), nil); !apierrors.IsConflict(err) || scales.writes > 0 {
		t.Errorf("with an old version: %v", err)
	}
	old := wanted(4, "")
	old.UID = "another-app"
	if _, err := put(r, old, nil); !apierrors.IsConflict(err) || scales.writes > 0 {
		t.Errorf("with another app's uid: %v", err)
	}
	scales.before = func(o *oneScale) { o.bump(o.scale) }
	if _, err := put(r, wanted(4, "7"), nil); !apierrors.IsConflict(err) || scales.writes > 0 {
		t.Errorf("when the workload changes meanwhile: %v", err)
	}
}

func TestAPatchIsTriedAgainWhenTheWorkloadChangedMeanwhile(t *testing.T) {
	r, scales := scaling()
	races := 2
	scales.before = func(o *oneScale) {
		if races--; races >= 0 {
			o.bump(o.scale)
		}
	}
	if s, err := patch(r, 4); err != nil || s.Spec.Replicas != 4 || scales.writes != 1 {
		t.Errorf("%v, %v, %d writes", s, err, scales.writes)
	}
	scales.before = func(o *oneScale) { o.bump(o.scale) }
	if _, err := patch(r, 3); !apierrors.IsConflict(err) {
		t.Errorf("for ever: %v", err)
	}
}

func TestADryRunAndTheManagerArePassedOn(t *testing.T) {
	r, scales := scaling()
	s, err := put(r, wanted(4, ""), &metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: "me"})
	if err != nil || s.Spec.Replicas != 4 {
		t.Fatalf("%v, %v", s, err)
	}
	if scales.scale.Spec.Replicas != 2 || len(scales.options.DryRun) != 1 || scales.options.FieldManager != "me" {
		t.Errorf("the workload has %d replicas, the options are %+v", scales.scale.Spec.Replicas, scales.options)
	}
}

func TestAWriteIsThatOfTheProgramThatSendsIt(t *testing.T) {
	for userAgent, want := range map[string]string{
		"kubectl/v1.36.2 (linux/amd64) kubernetes/abc": "kubectl",
		"my\x00tool":             "mytool",
		strings.Repeat("ä", 100): strings.Repeat("ä", 64),
		"":                       workload.FieldManager,
	} {
		request := httptest.NewRequest("PUT", "/", nil)
		request.Header.Set("User-Agent", userAgent)
		WithManager(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got := passedOn(r.Context(), nil).FieldManager; got != want {
				t.Errorf("%q is %q", userAgent, got)
			}
			if got := passedOn(r.Context(), &metav1.UpdateOptions{FieldManager: "me"}).FieldManager; got != "me" {
				t.Errorf("%q is %q, who said that it is me", userAgent, got)
			}
		})).ServeHTTP(httptest.NewRecorder(), request)
	}
}

func TestAMissingWorkloadIsExplained(t *testing.T) {
	r, scales := scaling()
	scales.err = apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: "deployments"}, "web")
	if _, err := r.Get(t.Context(), "shop", nil); !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), `Deployment "web" (apps/v1), which httpapp "shop" refers to, does not exist`) {
		t.Errorf("one that was adopted: %v", err)
	}
	made := r.apps.(oneApp).app
	made.Spec.WorkloadRef, made.Spec.Template = nil, template()
	if _, err := r.Get(t.Context(), "shop", nil); !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), "not made yet") {
		t.Errorf("one that is to be made: %v", err)
	}
	scales.err = &workload.NoScaleError{Ref: v1alpha1.WorkloadReference{Kind: "DaemonSet", Name: "web"}, Why: "it has none"}
	if _, err := r.Get(t.Context(), "shop", nil); !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "cannot be scaled") {
		t.Errorf("one without a scale: %v", err)
	}
	if _, err := r.Get(t.Context(), "nobody", nil); !apierrors.IsNotFound(err) {
		t.Errorf("no app: %v", err)
	}
}

// scaledApps are the apps that creates of scales made.
type scaledApps map[types.NamespacedName]*v1alpha1.HTTPApp

func (a scaledApps) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	app, ok := a[types.NamespacedName{Namespace: genericapirequest.NamespaceValue(ctx), Name: name}]
	if !ok {
		return nil, apierrors.NewNotFound(v1alpha1.Resource("httpapps"), name)
	}
	return app.DeepCopy(), nil
}

// creatableScale makes an app for each scale that is created: nobody creates scales, but the conventions' tests begin so.
type creatableScale struct {
	*ScaleREST
	apps scaledApps
}

func (c creatableScale) Create(ctx context.Context, obj runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	name := types.NamespacedName{Namespace: genericapirequest.NamespaceValue(ctx), Name: obj.(*autoscalingv1.Scale).Name}
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: types.UID(name.String())}}
	app.Spec.WorkloadRef = &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name.Name}
	c.apps[name] = app
	return c.Get(ctx, name.Name, &metav1.GetOptions{})
}

func TestReadingAScaleKeepsTheConventionsOfKubernetes(t *testing.T) {
	r, _ := scaling()
	apps := scaledApps{}
	r.apps = apps
	resttest.New(t, creatableScale{r, apps}).TestGet(&autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
}
