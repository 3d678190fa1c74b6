package reconcile

import (
	"math"
	"time"

	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// behaviorOf is how fast the number of replicas may change: as the app says, and where it says nothing of it, down as soon as demand.Steadiness
// allows.
func behaviorOf(app *v1alpha1.HTTPApp) *autoscalingv2.HorizontalPodAutoscalerBehavior {
	behavior := app.Spec.Scaling.Behavior
	if behavior != nil && behavior.ScaleDown != nil {
		return behavior
	}
	if behavior = behavior.DeepCopy(); behavior == nil {
		behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{}
	}
	behavior.ScaleDown = &autoscalingv2.HPAScalingRules{
		StabilizationWindowSeconds: ptr.To(int32(math.Ceil(demand.Steadiness(app).Seconds()))),
	}
	return behavior
}

// scaleDown is where a ScaledObject says how fast replicas are taken away.
var scaleDown = []string{"spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown"}

// defaultPollingInterval is how often KEDA asks whether an app is active. What makes it active is pushed; this is how soon it is
// noticed that it no longer is.
const defaultPollingInterval = 5 * time.Second

// pollingInterval is where a ScaledObject says how often KEDA asks.
var pollingInterval = []string{"spec", "pollingInterval"}

// poll says how often KEDA asks. What it asks for, whether there were requests, is answered for two intervals, so that none falls between
// two questions.
func poll(app *v1alpha1.HTTPApp, spec *kedav1alpha1.ScaledObjectSpec, live *unstructured.Unstructured) {
	switch said := app.Spec.Scaling.PollingInterval; {
	case said != nil:
		interval := int32(math.Ceil(said.Seconds()))
		spec.PollingInterval = &interval
		spec.Triggers[0].Metadata["activeFor"] = (2 * time.Duration(interval) * time.Second).String()
	case live == nil || !othersSet(live, pollingInterval):
		spec.PollingInterval = ptr.To(int32(defaultPollingInterval / time.Second))
	}
}

// othersSet reports whether somebody else set a field of an object, or one below it.
func othersSet(live *unstructured.Unstructured, field []string) bool {
	for _, e := range live.GetManagedFields() {
		if e.Manager == workload.FieldManager || e.FieldsV1 == nil || e.Subresource != "" {
			continue
		}
		set := &fieldpath.Set{}
		if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
			continue
		}
		last := len(field) - 1
		for _, name := range field[:last] {
			set = set.WithPrefix(fieldpath.PathElement{FieldName: &name})
		}
		if set.Members.Has(fieldpath.PathElement{FieldName: &field[last]}) || !set.WithPrefix(fieldpath.PathElement{FieldName: &field[last]}).Empty() {
			return true
		}
	}
	return false
}
