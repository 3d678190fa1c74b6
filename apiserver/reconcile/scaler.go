package reconcile

import (
	"context"
	"fmt"
	"math"
	"strings"

	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

var scaledObjects = kedav1alpha1.SchemeGroupVersion.WithResource("scaledobjects")

var paused = yes(v1alpha1.ConditionScalerReady, "Paused", "spec.scaling.paused is true: nothing changes the replicas by itself")

var parked = yes(v1alpha1.ConditionScalerReady, "NotScaled", "kubectl scale sets the replicas; requests do not even wake the app from zero")

// reconcileScaler makes the autoscaler that the app wants, and takes away the one that it does not want any more.
func (r *Reconciler) reconcileScaler(ctx context.Context, app *v1alpha1.HTTPApp) (condition, error) {
	wanted := app.Spec.Scaling.Autoscaler
	rival := r.rivalOf(app)
	if wanted != v1alpha1.AutoscalerHPA || rival != nil {
		if err := r.removeMade(ctx, app, hpas, r.hpas.GetStore()); err != nil {
			return no(v1alpha1.ConditionScalerReady, "RemoveFailed", err.Error()), err
		}
	}
	if wanted == v1alpha1.AutoscalerHPA || wanted == v1alpha1.AutoscalerNone || rival != nil {
		if err := r.removeMade(ctx, app, scaledObjects, r.scaledObjects.GetStore()); err != nil {
			return no(v1alpha1.ConditionScalerReady, "RemoveFailed", err.Error()), err
		}
	}
	if rival != nil {
		return rivalCondition(app, *rival), nil
	}
	switch wanted {
	case v1alpha1.AutoscalerHPA:
		return r.reconcileHPA(ctx, app)
	case v1alpha1.AutoscalerNone:
		if app.Spec.Scaling.Activation == v1alpha1.ActivationNever {
			return parked, nil
		}
		return yes(v1alpha1.ConditionScalerReady, "NotScaled", "kubectl scale sets the replicas; requests only wake the app from zero"), nil
	default:
		return r.reconcileScaledObject(ctx, app)
	}
}

// reconcileScaledObject makes the ScaledObject, whose target is the workload itself, so that KEDA scales on while this API
// server is away.
func (r *Reconciler) reconcileScaledObject(ctx context.Context, app *v1alpha1.HTTPApp) (condition, error) {
	const kind = v1alpha1.ConditionScalerReady
	if !r.keda.Load() {
		return no(kind, "KEDANotInstalled", "the cluster does not serve keda.sh/v1alpha1: install KEDA, or set spec.scaling.autoscaler to HPA or None"), nil
	}
	obj, there, err := r.scaledObjects.GetStore().GetByKey(nameOf(app).String())
	if err != nil {
		return notYet(kind, "Creating", "the ScaledObject is being made"), err
	}
	live, _ := obj.(*unstructured.Unstructured)
	if err := r.apply(ctx, app, scaledObjects, r.scaledObject(app, live), r.scaledObjects.GetStore()); err != nil {
		return no(kind, reasonOf(err), err.Error()), retry(err)
	}
	if !there {
		return notYet(kind, "Creating", "the ScaledObject is being made"), nil
	}
	if app.Spec.Scaling.Paused {
		return paused, nil
	}
	return scaledObjectCondition(live), nil
}

// scaledObject is what the app speaks of in its ScaledObject. live is the one that is there, if there is one: what others set in it is left
// to them where the app says nothing of it.
func (r *Reconciler) scaledObject(app *v1alpha1.HTTPApp, live *unstructured.Unstructured) *kedav1alpha1.ScaledObject {
	scaling := app.Spec.Scaling
	ref := workload.RefOf(app)
	object := &kedav1alpha1.ScaledObject{
		TypeMeta:   metav1.TypeMeta{APIVersion: kedav1alpha1.SchemeGroupVersion.String(), Kind: "ScaledObject"},
		ObjectMeta: made(app),
		Spec: kedav1alpha1.ScaledObjectSpec{
			ScaleTargetRef:  &kedav1alpha1.ScaleTarget{APIVersion: ref.APIVersion, Kind: ref.Kind, Name: ref.Name},
			MinReplicaCount: scaling.MinReplicas,
			MaxReplicaCount: scaling.MaxReplicas,
			Triggers: []kedav1alpha1.ScaleTriggers{{
				Type:       "external-push",
				MetricType: autoscalingv2.AverageValueMetricType,
				Metadata: map[string]string{
					"scalerAddress": r.ScalerAddress,
					"httpApp":       app.Name,
					"namespace":     app.Namespace,
				},
			}},
		},
	}
	poll(app, &object.Spec, live)
	if r.ScalerAuthentication != "" {
		trigger := &object.Spec.Triggers[0]
		trigger.Metadata["enableTLS"] = "true"
		trigger.AuthenticationRef = &kedav1alpha1.AuthenticationRef{Kind: "ClusterTriggerAuthentication", Name: r.ScalerAuthentication}
	}
	if scaling.Cooldown != nil {
		cooldown := int32(math.Ceil(scaling.Cooldown.Seconds()))
		object.Spec.CooldownPeriod = &cooldown
		// Until KEDA has seen a request it counts from here: else a workload that serves and is adopted would be at zero at
		// KEDA's first look.
		object.Spec.InitialCooldownPeriod = &cooldown
	}
	object.Spec.Advanced = &kedav1alpha1.AdvancedConfig{
		// What was adopted is handed back with the replicas that it had: nobody would wake it from zero any more.
		RestoreToOriginalReplicaCount: app.Spec.WorkloadRef != nil,
	}
	if scaling.Behavior != nil || live == nil || !othersSet(live, scaleDown) {
		object.Spec.Advanced.HorizontalPodAutoscalerConfig = &kedav1alpha1.HorizontalPodAutoscalerConfig{Behavior: behaviorOf(app)}
	}
	if scaling.Paused {
		object.Annotations = map[string]string{"autoscaling.keda.sh/paused": "true"}
	}
	return object
}

// lostRace is part of what KEDA says when the app was woken by this server while KEDA was about to: it is awake, and KEDA says
// so a moment later.
const lostRace = "the object has been modified"

// scaledObjectCondition passes on what KEDA says of the ScaledObject.
func scaledObjectCondition(object *unstructured.Unstructured) condition {
	const kind = v1alpha1.ConditionScalerReady
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, entry := range conditions {
		c, ok := entry.(map[string]any)
		if !ok || c["type"] != "Ready" {
			continue
		}
		reason, message := fmt.Sprint(c["reason"]), fmt.Sprint(c["message"])
		switch c["status"] {
		case "True":
			return yes(kind, "ScaledObjectReady", "KEDA scales the app")
		case "False":
			if strings.Contains(message, lostRace) {
				return yes(kind, "ScaledObjectReady", "KEDA scales the app")
			}
			return no(kind, reason, "KEDA says of the ScaledObject: "+message)
		}
	}
	return notYet(kind, "Creating", "KEDA has not looked at the ScaledObject yet")
}
