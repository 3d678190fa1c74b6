package sleep

import (
	"context"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// dueFor is how long it is tried to give a workload its replicas back; and how long whoever does not lead remembers that it is due: longer
// than it takes until somebody leads again.
const dueFor = 2 * time.Minute

// loan is a workload that was there before its app. When the app goes, it must not stay at zero: nobody would wake it any more.
type loan struct {
	namespace string
	ref       v1alpha1.WorkloadReference
	replicas  int32
}

// Loans are the workloads whose apps went, or let them go, lately. Every replica of the server keeps them, as the one that leads may go
// together with the app.
type Loans struct {
	clock clock.PassiveClock

	mu  sync.Mutex
	due map[loan]time.Time
}

// NewLoans makes Loans of the apps of an informer, which must not have been started.
func NewLoans(apps cache.SharedIndexInformer, clock clock.PassiveClock) (*Loans, error) {
	l := &Loans{clock: clock, due: map[loan]time.Time{}}
	_, err := apps.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: l.updated, DeleteFunc: l.deleted})
	return l, err
}

func (l *Loans) updated(before, now any) {
	old, ok := before.(*v1alpha1.HTTPApp)
	app, isApp := now.(*v1alpha1.HTTPApp)
	// If only its autoscaler is another now, that one sees to it.
	if ok && isApp && (app.UID != old.UID || workload.RefOf(app) != workload.RefOf(old)) {
		l.end(old)
	}
}

func (l *Loans) deleted(obj any) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	if app, ok := obj.(*v1alpha1.HTTPApp); ok {
		l.end(app)
	}
}

// end notes that an app's workload is no longer its.
func (l *Loans) end(app *v1alpha1.HTTPApp) {
	if !workload.IsLent(app) || app.Status.LentReplicas == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetOld()
	l.due[loan{app.Namespace, workload.RefOf(app), app.Status.LentReplicas}] = l.clock.Now()
}

func (l *Loans) forgetOld() {
	for loan, since := range l.due {
		if l.clock.Since(since) > dueFor {
			delete(l.due, loan)
		}
	}
}

func (l *Loans) all() []loan {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetOld()
	list := make([]loan, 0, len(l.due))
	for loan := range l.due {
		list = append(list, loan)
	}
	return list
}

func (l *Loans) returned(loan loan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.due, loan)
}

// giveBack scales the workloads up that were left at zero by apps that are gone.
func (s *Sleeper) giveBack(ctx context.Context) {
	for _, l := range s.Loans.all() {
		scale, err := s.Scales.Get(ctx, l.namespace, l.ref)
		if err == nil && scale.Spec.Replicas == 0 {
			scale = &autoscalingv1.Scale{
				ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: l.ref.Name, UID: scale.UID, ResourceVersion: scale.ResourceVersion},
				Spec:       autoscalingv1.ScaleSpec{Replicas: l.replicas},
			}
			_, err = s.Scales.Update(ctx, l.namespace, l.ref, scale, metav1.UpdateOptions{FieldManager: workload.FieldManager})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			if !apierrors.IsConflict(err) && ctx.Err() == nil {
				klog.ErrorS(err, "A workload is at zero replicas after its app is gone, and is tried again", "workload", klog.KRef(l.namespace, l.ref.Name), "kind", l.ref.Kind)
			}
			continue
		}
		s.Loans.returned(l)
	}
}

func nameOf(app *v1alpha1.HTTPApp) types.NamespacedName {
	return types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
}
