package reconcile

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func TestAnAppIsReadyWhenAllItsPartsAre(t *testing.T) {
	routes, work, scaler := v1alpha1.ConditionRoutesAccepted, v1alpha1.ConditionWorkloadReady, v1alpha1.ConditionScalerReady
	for name, c := range map[string]struct {
		parts  []condition
		status metav1.ConditionStatus
		reason string
	}{
		"all well":               {[]condition{yes(routes, "A", ""), yes(work, "B", ""), yes(scaler, "C", "")}, metav1.ConditionTrue, "Ready"},
		"one not yet":            {[]condition{yes(routes, "A", ""), yes(work, "B", ""), notYet(scaler, "C", "")}, metav1.ConditionUnknown, "C"},
		"one not":                {[]condition{yes(routes, "A", ""), no(work, "B", ""), yes(scaler, "C", "")}, metav1.ConditionFalse, "B"},
		"one not, one not yet":   {[]condition{notYet(routes, "A", ""), yes(work, "B", ""), no(scaler, "C", "")}, metav1.ConditionFalse, "C"},
		"of several, the first":  {[]condition{no(routes, "A", ""), no(work, "B", ""), notYet(scaler, "C", "")}, metav1.ConditionFalse, "A"},
		"none not, several yet ": {[]condition{notYet(routes, "A", ""), notYet(work, "B", ""), yes(scaler, "C", "")}, metav1.ConditionUnknown, "A"},
	} {
		t.Run(name, func(t *testing.T) {
			var status v1alpha1.HTTPAppStatus
			setConditions(&status, 7, c.parts...)
			ready := find(status.Conditions, v1alpha1.ConditionReady)
			if ready.Status != c.status || ready.Reason != c.reason || ready.ObservedGeneration != 7 {
				t.Errorf("Ready is %s because %s, not %s because %s", ready.Status, ready.Reason, c.status, c.reason)
			}
			if len(status.Conditions) != len(c.parts)+1 {
				t.Errorf("there are %d conditions", len(status.Conditions))
			}
		})
	}
}

func TestOnlyOfAnAppThatRequestsWakeIsItSaid(t *testing.T) {
	var status v1alpha1.HTTPAppStatus
	for _, scaler := range []condition{paused, parked, yes(v1alpha1.ConditionScalerReady, "C", "")} {
		setConditions(&status, 7, yes(v1alpha1.ConditionWorkloadReady, "B", ""), scaler)
		message := find(status.Conditions, v1alpha1.ConditionReady).Message
		if wakes := strings.Contains(message, "after waking it"); wakes == (scaler == paused || scaler == parked) {
			t.Errorf("when its scaler is %s, it says: %s", scaler.reason, message)
		}
	}
}

func TestAPodThatOnlyTakesItsTimeIsNoTrouble(t *testing.T) {
	waiting := func(reason string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "because"}},
		}}}
	}
	for reason, trouble := range map[string]bool{"ContainerCreating": false, "PodInitializing": false, "ImagePullBackOff": true, "CrashLoopBackOff": true} {
		if got, _ := troubleOf(&corev1.Pod{Status: waiting(reason)}, time.Now()); (got != "") != trouble {
			t.Errorf("%s is told as %q", reason, got)
		}
	}
	unschedulable := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "no node"},
	}}}
	if got, _ := troubleOf(unschedulable, time.Now()); got != corev1.PodReasonUnschedulable {
		t.Errorf("a pod that no node has room for is told as %q", got)
	}
}

func TestWhatKEDASaysIsPassedOnUnlessItOnlyLostARace(t *testing.T) {
	said := func(status, reason, message string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": []any{
			map[string]any{"type": "Active", "status": "False"},
			map[string]any{"type": "Ready", "status": status, "reason": reason, "message": message},
		}}}}
	}
	for name, c := range map[string]struct {
		object *unstructured.Unstructured
		want   metav1.ConditionStatus
	}{
		"nothing yet": {&unstructured.Unstructured{Object: map[string]any{}}, metav1.ConditionUnknown},
		"ready":       {said("True", "ScaledObjectReady", "fine"), metav1.ConditionTrue},
		"not ready":   {said("False", "TriggerError", "no scaler"), metav1.ConditionFalse},
		"a lost race": {said("False", "ErrorScalingTarget", "Operation cannot be fulfilled: the object has been modified; please apply"), metav1.ConditionTrue},
	} {
		if got := scaledObjectCondition(c.object); got.status != c.want {
			t.Errorf("%s: the condition is %s (%s), not %s", name, got.status, got.message, c.want)
		}
	}
}

func TestTheURLIsThatOfTheFirstRouteToPodsAsItIsReachedFromOutside(t *testing.T) {
	app := &v1alpha1.HTTPApp{Spec: v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{
		{Hosts: []string{"health.example.com"}, Static: &v1alpha1.StaticResponse{}},
		{Hosts: []string{"shop.example.com", "other.example.com"}, PathPrefix: "/api"}, {Hosts: []string{"late.example.com"}},
	}}}
	for port, want := range map[int]string{0: "http://shop.example.com/api", 80: "http://shop.example.com/api", 8080: "http://shop.example.com:8080/api"} {
		r := &Reconciler{Config: Config{PublicPort: port}}
		if got := r.url(app, false); got != want {
			t.Errorf("with port %d it is %s, not %s", port, got, want)
		}
	}
}

func TestOnlyReplicasThatAreAppliedHereAreHandedOver(t *testing.T) {
	entry := func(manager string, operation metav1.ManagedFieldsOperationType, fields string) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{Manager: manager, Operation: operation, FieldsV1: metav1.NewFieldsV1(fields)}}
	}
	const replicas, template = `{"f:spec":{"f:replicas":{},"f:template":{}}}`, `{"f:spec":{"f:template":{}}}`
	for name, c := range map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    bool
	}{
		"applied here":          {entry("kedahttp", metav1.ManagedFieldsOperationApply, replicas), true},
		"not applied":           {entry("kedahttp", metav1.ManagedFieldsOperationApply, template), false},
		"scaled here":           {entry("kedahttp", metav1.ManagedFieldsOperationUpdate, replicas), false},
		"applied by somebody":   {entry("kubectl", metav1.ManagedFieldsOperationApply, replicas), false},
		"handed over long ago":  {entry(replicasManager, metav1.ManagedFieldsOperationApply, replicas), false},
		"nothing that is known": {nil, false},
	} {
		if got := appliesReplicas(c.entries); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
