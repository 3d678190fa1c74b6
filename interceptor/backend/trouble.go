package backend

import (
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// ErrFailing says that the app has no ready pod and will have none as it is: to wait for one is of no use.
var ErrFailing = errors.New("the app cannot start")

// ErrAsleep says that the app has no pod, and that requests are not to wake it.
var ErrAsleep = errors.New("the app is not woken by requests")

// Trouble is why an app's pods do not start.
type Trouble struct {
	// Reason is that of the app's condition WorkloadReady. It tells less than the condition's message, which is not for strangers.
	Reason string
	// Certain says that waiting does not mend it.
	Certain bool
}

// certain are the reasons that only a change of the app, or of what it refers to, does away with. An image that cannot be pulled and
// a container that crashes are not among them: the registry, or what the app needs at its start, can be back in a moment.
var certain = []string{"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "FailedCreate"}

// troubleOf reads an app's status, in which the API server says how its pods fare.
func troubleOf(app *v1alpha1.HTTPApp) *Trouble {
	c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionWorkloadReady)
	if c == nil || c.Status != metav1.ConditionFalse || c.ObservedGeneration != app.Generation {
		return nil
	}
	return &Trouble{Reason: c.Reason, Certain: slices.Contains(certain, c.Reason)}
}

// Trouble returns why the app's pods do not start, nil when nothing is known to keep them from it.
func (b *Backend) Trouble() *Trouble { return b.trouble.Load() }

// look takes in what the app's status says.
func (b *Backend) look(app *v1alpha1.HTTPApp) {
	b.trouble.Store(troubleOf(app))
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionWorkloadReady); c != nil {
		asleep := c.Reason == v1alpha1.ReasonScaledToZero
		b.starter.Hear(asleep, ptr.Deref(app.Status.LastScaleFromZeroTime, metav1.MicroTime{}).Time)
		b.off.Store(asleep && app.Spec.Scaling.Activation == v1alpha1.ActivationNever)
	}
	b.judge()
}

// judge lets requests wait for a pod, or tells them that they would do so for nothing.
func (b *Backend) judge() {
	b.judging.Lock()
	defer b.judging.Unlock()
	t, none := b.Trouble(), b.Pods.Ready() == 0
	switch {
	case none && b.off.Load():
		b.Line.Refuse(ErrAsleep)
	case none && t != nil && t.Certain:
		b.Line.Refuse(ErrFailing)
	default:
		b.Line.Refuse(nil)
	}
}
