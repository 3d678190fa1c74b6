package reconcile

import (
	"testing"
	"time"

	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

func TestReplicasGoAfterTheWindowUnlessTheAppSpeaksOfIt(t *testing.T) {
	app := &v1alpha1.HTTPApp{}
	steady := func() *int32 { return behaviorOf(app).ScaleDown.StabilizationWindowSeconds }
	if got := ptr.Deref(steady(), 0); got != 60 {
		t.Errorf("by default they go after %d s", got)
	}
	app.Spec.Scaling.Window = &metav1.Duration{Duration: 1500 * time.Millisecond}
	up := &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](3)}
	app.Spec.Scaling.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: up}
	if got := ptr.Deref(steady(), 0); got != 2 || *behaviorOf(app).ScaleUp.StabilizationWindowSeconds != 3 {
		t.Errorf("with a window of 1.5 s they go after %d s, and grow by %v", got, behaviorOf(app).ScaleUp)
	}
	if app.Spec.Scaling.Behavior.ScaleDown != nil {
		t.Error("the app itself was changed")
	}
	app.Spec.Scaling.Behavior.ScaleDown = &autoscalingv2.HPAScalingRules{SelectPolicy: ptr.To(autoscalingv2.DisabledPolicySelect)}
	if steady() != nil {
		t.Error("what the app says is not left as it is")
	}
}

func TestWhatOthersSetInTheScaledObjectIsTheirsWhereTheAppIsSilent(t *testing.T) {
	managed := func(manager, fields string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: manager, FieldsV1: metav1.NewFieldsV1(fields)}})
		return u
	}
	const (
		steady = `{"f:spec":{"f:advanced":{"f:horizontalPodAutoscalerConfig":{"f:behavior":{"f:scaleDown":{"f:stabilizationWindowSeconds":{}}}}}}}`
		growth = `{"f:spec":{"f:advanced":{"f:horizontalPodAutoscalerConfig":{"f:behavior":{"f:scaleUp":{"f:stabilizationWindowSeconds":{}}}}}}}`
	)
	r := &Reconciler{}
	for what, c := range map[string]struct {
		live   *unstructured.Unstructured
		says   *autoscalingv2.HorizontalPodAutoscalerBehavior
		theirs bool
	}{
		"there is none":                   {nil, nil, false},
		"nobody else did":                 {managed(workload.FieldManager, steady), nil, false},
		"somebody edited it":              {managed("kubectl-edit", steady), nil, true},
		"somebody edited something else":  {managed("kubectl-edit", growth), nil, false},
		"somebody edited it, the app too": {managed("kubectl-edit", steady), &autoscalingv2.HorizontalPodAutoscalerBehavior{}, false},
	} {
		t.Run(what, func(t *testing.T) {
			app := &v1alpha1.HTTPApp{}
			app.Spec.Scaling.Behavior = c.says
			if config := r.scaledObject(app, c.live).Spec.Advanced.HorizontalPodAutoscalerConfig; (config == nil) != c.theirs {
				t.Errorf("the ScaledObject has %+v", config)
			}
		})
	}
}

func TestKEDAAsksAsOftenAsTheAppSaysOrElseAsWasSetByHand(t *testing.T) {
	byHand := &unstructured.Unstructured{}
	byHand.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl-edit", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:pollingInterval":{}}}`)}})
	app := &v1alpha1.HTTPApp{}
	r := &Reconciler{}
	is := func(live *unstructured.Unstructured, interval *int32, activeFor string) {
		t.Helper()
		spec := r.scaledObject(app, live).Spec
		if !ptr.Equal(spec.PollingInterval, interval) || spec.Triggers[0].Metadata["activeFor"] != activeFor {
			t.Errorf("KEDA asks each %v s, for the last %q", ptr.Deref(spec.PollingInterval, 0), spec.Triggers[0].Metadata["activeFor"])
		}
	}
	is(nil, ptr.To[int32](5), "")
	is(&unstructured.Unstructured{}, ptr.To[int32](5), "")
	is(byHand, nil, "")
	app.Spec.Scaling.PollingInterval = &metav1.Duration{Duration: 14500 * time.Millisecond}
	is(byHand, ptr.To[int32](15), "30s")
}

func TestKEDASpeaksTLSToTheScalerIfItWasToldHow(t *testing.T) {
	trigger := func(r *Reconciler) kedav1alpha1.ScaleTriggers {
		return r.scaledObject(&v1alpha1.HTTPApp{}, nil).Spec.Triggers[0]
	}
	if plain := trigger(&Reconciler{}); plain.AuthenticationRef != nil || plain.Metadata["enableTLS"] != "" {
		t.Errorf("the trigger is %+v", plain)
	}
	tls := trigger(&Reconciler{Config: Config{ScalerAuthentication: "scaler"}})
	if tls.Metadata["enableTLS"] != "true" || tls.AuthenticationRef == nil || tls.AuthenticationRef.Name != "scaler" || tls.AuthenticationRef.Kind != "ClusterTriggerAuthentication" {
		t.Errorf("the trigger is %+v", tls)
	}
}
