package reconcile

import (
	"context"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/externalmetrics"
	"github.com/kedahttp/kedahttp/apiserver/server/apiservice"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

var hpas = autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers")

// Metrics knows who serves external.metrics.k8s.io, which a HPA takes its numbers from: an apiservice.Claim.
type Metrics interface {
	Owner() (owner apiservice.Owner, known bool)
	Changed() <-chan struct{}
}

// followMetrics looks at the apps that an HPA scales again when somebody else comes to serve external metrics.
func (r *Reconciler) followMetrics(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.Metrics.Changed():
			for _, obj := range r.Apps.GetStore().List() {
				if app, ok := obj.(*v1alpha1.HTTPApp); ok && app.Spec.Scaling.Autoscaler == v1alpha1.AutoscalerHPA {
					r.enqueue(nameOf(app))
				}
			}
		}
	}
}

// reconcileHPA makes the HorizontalPodAutoscaler, which scales between one replica and many: it cannot do more. There is none
// while the app is paused, as HPAs know no pause.
func (r *Reconciler) reconcileHPA(ctx context.Context, app *v1alpha1.HTTPApp) (condition, error) {
	const kind = v1alpha1.ConditionScalerReady
	if app.Spec.Scaling.Paused {
		return paused, r.removeMade(ctx, app, hpas, r.hpas.GetStore())
	}
	if err := r.apply(ctx, app, hpas, hpaOf(app), r.hpas.GetStore()); err != nil {
		return no(kind, reasonOf(err), err.Error()), retry(err)
	}
	if owner, known := r.Metrics.Owner(); known && !owner.Ours {
		return foreignMetrics(owner), nil
	}
	obj, there, err := r.hpas.GetStore().GetByKey(nameOf(app).String())
	if err != nil || !there {
		return notYet(kind, "Creating", "the HorizontalPodAutoscaler is being made"), err
	}
	return hpaCondition(obj.(*autoscalingv2.HorizontalPodAutoscaler)), nil
}

func hpaOf(app *v1alpha1.HTTPApp) *autoscalingv2.HorizontalPodAutoscaler {
	ref := workload.RefOf(app)
	least, most := demand.Bounds(app)
	metric := externalmetrics.Concurrency
	if app.Spec.Scaling.Metric == v1alpha1.MetricRequestRate {
		metric = externalmetrics.RequestRate
	}
	target := resource.NewQuantity(v1alpha1.DefaultTarget, resource.DecimalSI)
	if t := app.Spec.Scaling.Target; t != nil && t.Sign() > 0 {
		target = ptr.To(t.DeepCopy())
	}
	return &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: autoscalingv2.SchemeGroupVersion.String(), Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: made(app),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: ref.APIVersion, Kind: ref.Kind, Name: ref.Name},
			MinReplicas:    ptr.To(max(1, least)),
			MaxReplicas:    max(1, most),
			Behavior:       behaviorOf(app),
			Metrics: []autoscalingv2.MetricSpec{{
				Type: autoscalingv2.ExternalMetricSourceType,
				External: &autoscalingv2.ExternalMetricSource{
					Metric: autoscalingv2.MetricIdentifier{
						Name:     metric,
						Selector: &metav1.LabelSelector{MatchLabels: map[string]string{externalmetrics.AppLabel: app.Name}},
					},
					Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: target},
				},
			}},
		},
	}
}

// foreignMetrics says that the HPA asks somebody who does not know the app.
func foreignMetrics(owner apiservice.Owner) condition {
	const kind = v1alpha1.ConditionScalerReady
	group := externalmetrics.GroupVersion
	if owner.Service == "" {
		return no(kind, "ExternalMetricsOff", fmt.Sprintf(
			"the API server was started with --external-metrics=false, so that nobody serves %s to the HPA: set spec.scaling.autoscaler to KEDA or None, or start it without that flag", group))
	}
	return no(kind, "ExternalMetricsForeign", fmt.Sprintf(
		"%s is served by %s, which does not know the app: set spec.scaling.autoscaler to KEDA, or delete the APIService %s.%s and what serves it",
		group, owner.Service, group.Version, group.Group))
}

// hpaCondition passes on what the HPA controller says.
func hpaCondition(hpa *autoscalingv2.HorizontalPodAutoscaler) condition {
	const kind = v1alpha1.ConditionScalerReady
	active := notYet(kind, "Creating", "the HPA controller has not looked at the HorizontalPodAutoscaler yet")
	for _, c := range hpa.Status.Conditions {
		switch {
		case c.Type == autoscalingv2.AbleToScale && c.Status == corev1.ConditionFalse:
			return no(kind, c.Reason, "the HPA controller says of the HorizontalPodAutoscaler: "+c.Message)
		case c.Type != autoscalingv2.ScalingActive:
		case c.Status == corev1.ConditionTrue:
			active = yes(kind, "HPAReady", "a HorizontalPodAutoscaler scales the app")
		// It looks away while there is no replica.
		case c.Reason == "ScalingDisabled":
			active = yes(kind, "HPAReady", "a HorizontalPodAutoscaler scales the app from one replica upwards")
		case c.Status == corev1.ConditionFalse:
			active = no(kind, c.Reason, "the HPA controller says of the HorizontalPodAutoscaler: "+c.Message)
		}
	}
	return active
}
