package reconcile

import (
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/server/apiservice"
)

func TestTheHPAScalesTheWorkloadByTheAppsMetric(t *testing.T) {
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a", UID: "u"}}
	spec := hpaOf(app).Spec
	external := spec.Metrics[0].External
	if ref := spec.ScaleTargetRef; ref.Kind != "Deployment" || ref.Name != "a" || ref.APIVersion != "apps/v1" {
		t.Errorf("it scales %v", ref)
	}
	if *spec.MinReplicas != 1 || spec.MaxReplicas != v1alpha1.DefaultMaxReplicas {
		t.Errorf("it scales from %d to %d", *spec.MinReplicas, spec.MaxReplicas)
	}
	if external.Metric.Name != "http_concurrency" || external.Metric.Selector.MatchLabels["httpapp"] != "a" || external.Target.AverageValue.String() != "100" {
		t.Errorf("it scales by %+v", external)
	}
	app.Spec.WorkloadRef = &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}
	app.Spec.Scaling = v1alpha1.Scaling{
		MinReplicas: ptr.To[int32](2), MaxReplicas: ptr.To[int32](5), Metric: v1alpha1.MetricRequestRate, Target: ptr.To(resource.MustParse("2500m")),
		Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](7)}},
	}
	spec = hpaOf(app).Spec
	external = spec.Metrics[0].External
	if spec.ScaleTargetRef.Kind != "StatefulSet" || *spec.MinReplicas != 2 || spec.MaxReplicas != 5 || *spec.Behavior.ScaleDown.StabilizationWindowSeconds != 7 ||
		external.Metric.Name != "http_request_rate" || external.Target.AverageValue.String() != "2500m" {
		t.Errorf("the HPA is %+v", spec)
	}
}

func TestWhatTheHPAControllerSaysIsPassedOn(t *testing.T) {
	hpa := func(conditions ...autoscalingv2.HorizontalPodAutoscalerCondition) *autoscalingv2.HorizontalPodAutoscaler {
		return &autoscalingv2.HorizontalPodAutoscaler{Status: autoscalingv2.HorizontalPodAutoscalerStatus{Conditions: conditions}}
	}
	said := func(kind autoscalingv2.HorizontalPodAutoscalerConditionType, status corev1.ConditionStatus, reason string) autoscalingv2.HorizontalPodAutoscalerCondition {
		return autoscalingv2.HorizontalPodAutoscalerCondition{Type: kind, Status: status, Reason: reason, Message: "because"}
	}
	able := said(autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededGetScale")
	for what, c := range map[string]struct {
		hpa    *autoscalingv2.HorizontalPodAutoscaler
		want   metav1.ConditionStatus
		reason string
	}{
		"nothing yet":           {hpa(), metav1.ConditionUnknown, "Creating"},
		"it scales":             {hpa(able, said(autoscalingv2.ScalingActive, corev1.ConditionTrue, "ValidMetricFound")), metav1.ConditionTrue, "HPAReady"},
		"the app is asleep":     {hpa(able, said(autoscalingv2.ScalingActive, corev1.ConditionFalse, "ScalingDisabled")), metav1.ConditionTrue, "HPAReady"},
		"the metric is missing": {hpa(able, said(autoscalingv2.ScalingActive, corev1.ConditionFalse, "FailedGetExternalMetric")), metav1.ConditionFalse, "FailedGetExternalMetric"},
		"it may not scale":      {hpa(said(autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedGetScale")), metav1.ConditionFalse, "FailedGetScale"},
	} {
		if got := hpaCondition(c.hpa); got.status != c.want || got.reason != c.reason {
			t.Errorf("%s: the condition is %s because %s (%s), not %s because %s", what, got.status, got.reason, got.message, c.want, c.reason)
		}
	}
}

func TestTheConditionSaysWhoServesExternalMetricsInsteadAndWhatToDo(t *testing.T) {
	got := foreignMetrics(apiservice.Owner{Service: "keda/keda-metrics-apiserver"})
	for _, want := range []string{"keda/keda-metrics-apiserver", "spec.scaling.autoscaler to KEDA", "v1beta1.external.metrics.k8s.io"} {
		if got.status != metav1.ConditionFalse || !strings.Contains(got.message, want) {
			t.Errorf("%s does not say %q: %s", got.reason, want, got.message)
		}
	}
}

func TestAnHPAsVersionDoesNotChangeWithItsStatus(t *testing.T) {
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"}}
	app.Spec.Scaling.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](7)}}
	typed := hpaOf(app)
	typed.UID, typed.ResourceVersion = "u", "1"
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		t.Fatal(err)
	}
	before := versionOf(&unstructured.Unstructured{Object: content})
	typed.ResourceVersion, typed.Status.LastScaleTime = "2", ptr.To(metav1.NewTime(time.Unix(1, 0)))
	if after := versionOf(typed); after != before {
		t.Errorf("it went from %s to %s", before, after)
	}
	typed.Spec.MaxReplicas++
	if after := versionOf(typed); after == before {
		t.Error("a change of the spec does not show")
	}
}
