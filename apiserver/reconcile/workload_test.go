package reconcile

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// status makes the part of a Deployment's status that is looked at: whether the controller has seen the latest spec, and how
// many pods there are, of the latest template, and ready.
func status(seen bool, replicas, updated, ready int32) appsv1.DeploymentStatus {
	s := appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: replicas, UpdatedReplicas: updated, ReadyReplicas: ready}
	if seen {
		s.ObservedGeneration = 2
	}
	return s
}

func podThat(s corev1.ContainerStatus) []*corev1.Pod {
	s.Name = "app"
	return []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{s}}}}
}

func waitingFor(reason, message string) []*corev1.Pod {
	return podThat(corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}})
}

func TestPodsOfANewSpecHaveToComeUpAndWokenOnesAreTrusted(t *testing.T) {
	const yes, no, open = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	before := func(status metav1.ConditionStatus, generation int64) *metav1.Condition {
		return &metav1.Condition{Status: status, ObservedGeneration: generation}
	}
	now := time.Unix(1000, 0)
	running := func(since time.Duration, started *bool) []*corev1.Pod {
		return podThat(corev1.ContainerStatus{Started: started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-since))}}})
	}
	crashed := podThat(corev1.ContainerStatus{RestartCount: 5, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}})
	for name, c := range map[string]struct {
		wanted int32
		status appsv1.DeploymentStatus
		behind bool
		pods   []*corev1.Pod
		before *metav1.Condition
		want   metav1.ConditionStatus
		reason string
	}{
		"at zero":                                {0, status(false, 0, 0, 0), false, nil, nil, yes, "ScaledToZero"},
		"woken, not ready yet":                   {1, status(true, 1, 1, 0), false, nil, before(yes, 5), yes, "Starting"},
		"new and not ready yet":                  {1, status(true, 1, 1, 0), false, nil, nil, open, "Starting"},
		"changed and not ready yet":              {1, status(true, 1, 1, 0), false, nil, before(yes, 4), open, "Starting"},
		"the change is not seen yet":             {1, status(false, 1, 1, 1), false, nil, before(yes, 4), open, "RollingOut"},
		"the change is not known here yet":       {1, status(true, 1, 1, 1), true, nil, before(yes, 4), open, "RollingOut"},
		"the change is being rolled out":         {1, status(true, 2, 1, 1), false, nil, before(yes, 4), open, "RollingOut"},
		"the change cannot be rolled out":        {1, status(true, 2, 1, 1), false, waitingFor("ImagePullBackOff", ""), before(yes, 4), no, "ImagePullBackOff"},
		"the change is rolled out":               {1, status(true, 1, 1, 1), false, nil, before(open, 5), yes, "Available"},
		"growing":                                {3, status(true, 3, 3, 1), false, nil, before(yes, 5), yes, "Available"},
		"growing, one pod fits nowhere":          {3, status(true, 3, 3, 1), false, waitingFor("CreateContainerError", ""), before(yes, 5), yes, "Available"},
		"woken, and crashes":                     {1, status(true, 1, 1, 0), false, waitingFor("CrashLoopBackOff", ""), before(yes, 5), no, "CrashLoopBackOff"},
		"crashes, and runs between two of them":  {1, status(true, 1, 1, 0), false, crashed, before(no, 5), no, "CrashLoopBackOff"},
		"runs and is not ready yet":              {1, status(true, 1, 1, 0), false, running(59*time.Second, nil), before(yes, 5), yes, "Starting"},
		"runs for long and is not ready":         {1, status(true, 1, 1, 0), false, running(time.Minute, nil), before(yes, 5), no, "ProbeFailing"},
		"of many, one runs and is not ready":     {3, status(true, 3, 3, 2), false, running(time.Hour, nil), before(yes, 5), yes, "Available"},
		"an earlier failure, of the spec before": {1, status(false, 1, 1, 0), false, waitingFor("ErrImagePull", ""), before(no, 4), open, "Starting"},
	} {
		t.Run(name, func(t *testing.T) {
			app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Generation: 5}}
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Spec: appsv1.DeploymentSpec{Replicas: &c.wanted}, Status: c.status}
			if got := podsCondition(app, d, !c.behind, c.pods, now, c.before); got.status != c.want || got.reason != c.reason {
				t.Errorf("%s because %s (%s), not %s because %s", got.status, got.reason, got.message, c.want, c.reason)
			}
		})
	}
}

func TestAProbeThatDoesNotSucceedIsNamed(t *testing.T) {
	now := time.Unix(1000, 0)
	for want, started := range map[string]*bool{"readiness probe": ptr.To(true), "startup probe": ptr.To(false)} {
		pod := podThat(corev1.ContainerStatus{Started: started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Unix(0, 0))}}})[0]
		reason, message := troubleOf(pod, now)
		if reason != "ProbeFailing" || !strings.Contains(message, "container app of pod p has run since 1970-01-01T00:00:00Z and its "+want) {
			t.Errorf("%s: %s", reason, message)
		}
	}
}

func TestAnImageThatCannotBePulledIsToldInOneWay(t *testing.T) {
	r1, m1 := troubleOf(waitingFor("ErrImagePull", "manifest unknown")[0], time.Now())
	r2, m2 := troubleOf(waitingFor("ImagePullBackOff", "Back-off pulling image")[0], time.Now())
	if r1 != r2 || m1 != m2 {
		t.Errorf("%s: %s, and then %s: %s", r1, m1, r2, m2)
	}
}

func TestAnAdoptedWorkloadIsNotPutToSleepAtOnceAndGoesBackAsItWas(t *testing.T) {
	r := &Reconciler{}
	app := &v1alpha1.HTTPApp{}
	app.Spec.Scaling.Cooldown = &metav1.Duration{Duration: 90500 * time.Millisecond}
	app.Spec.WorkloadRef = &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "d"}
	spec := r.scaledObject(app, nil).Spec
	if got := ptr.Deref(spec.InitialCooldownPeriod, 0); got != 91 {
		t.Errorf("it may be at zero after %d s", got)
	}
	if spec.Advanced == nil || !spec.Advanced.RestoreToOriginalReplicaCount {
		t.Error("it stays at zero when the app is deleted")
	}
	app.Spec.WorkloadRef = nil
	if app.Spec.Template = (&corev1.PodTemplateSpec{}); r.scaledObject(app, nil).Spec.Advanced.RestoreToOriginalReplicaCount {
		t.Error("a workload that was made for the app has nothing to go back to")
	}
}
