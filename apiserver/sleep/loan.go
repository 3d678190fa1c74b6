package sleep

import (
	"context"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// loan is a workload that was there before its app, as it was last seen with replicas. When the app goes, it must not stay at
// zero: nobody would wake it any more.
type loan struct {
	app      types.UID
	ref      v1alpha1.WorkloadReference
	replicas int32
}

// borrow notes how many replicas an adopted workload has.
func (s *Sleeper) borrow(app *v1alpha1.HTTPApp, replicas int32) {
	if app.Spec.WorkloadRef != nil && replicas > 0 {
		s.loans[nameOf(app)] = loan{app.UID, *app.Spec.WorkloadRef, replicas}
	}
}

// giveBack scales the workloads up that were left at zero by apps that are gone.
func (s *Sleeper) giveBack(ctx context.Context) {
	for name, l := range s.loans {
		if obj, there, err := s.Apps.GetStore().GetByKey(name.String()); err == nil && there {
			app, ok := obj.(*v1alpha1.HTTPApp)
			if ok && app.UID == l.app && workload.RefOf(app) == l.ref {
				if app.Spec.Scaling.Autoscaler != v1alpha1.AutoscalerHPA {
					delete(s.loans, name) // whoever scales it now sees to it
				}
				continue
			}
		}
		scale, err := s.Scales.Get(ctx, name.Namespace, l.ref)
		if err == nil && scale.Spec.Replicas == 0 {
			scale = &autoscalingv1.Scale{
				ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: l.ref.Name, UID: scale.UID, ResourceVersion: scale.ResourceVersion},
				Spec:       autoscalingv1.ScaleSpec{Replicas: l.replicas},
			}
			_, err = s.Scales.Update(ctx, name.Namespace, l.ref, scale, metav1.UpdateOptions{FieldManager: workload.FieldManager})
		}
		if apierrors.IsConflict(err) || ctx.Err() != nil {
			continue // at the next look
		}
		if err != nil && !apierrors.IsNotFound(err) {
			klog.ErrorS(err, "A workload stays at zero replicas after its app is gone", "workload", klog.KRef(name.Namespace, l.ref.Name), "kind", l.ref.Kind)
		}
		delete(s.loans, name)
	}
}

func nameOf(app *v1alpha1.HTTPApp) types.NamespacedName {
	return types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
}
