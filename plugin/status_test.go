package plugin

import (
	"bytes"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func TestAnAppIsDescribedByOneWordAndTheReason(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: "Because", Message: "it is so"}
	}
	ready := []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionTrue)}
	for name, c := range map[string]struct {
		status v1alpha1.HTTPAppStatus
		want   state
	}{
		"nothing seen yet":      {v1alpha1.HTTPAppStatus{}, starting},
		"a part fails":          {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: []metav1.Condition{condition(v1alpha1.ConditionScalerReady, metav1.ConditionFalse)}}, failing},
		"a part is not known":   {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: []metav1.Condition{condition(v1alpha1.ConditionScalerReady, metav1.ConditionUnknown)}}, starting},
		"no replica":            {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: ready}, idle},
		"requests, no replica":  {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: ready, Traffic: &v1alpha1.Traffic{Pending: 2}}, waking},
		"a replica that starts": {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: ready, Replicas: 1}, waking},
		"paused":                {v1alpha1.HTTPAppStatus{ObservedGeneration: 2, Conditions: ready}, paused},
		"a ready replica":       {v1alpha1.HTTPAppStatus{ObservedGeneration: 1, Conditions: ready, Replicas: 2, ReadyReplicas: 1}, serving},
	} {
		t.Run(name, func(t *testing.T) {
			app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Generation: 1}, Status: c.status}
			app.Spec.Scaling.Paused = name == "paused"
			if got, why := stateOf(app); got != c.want || why == "" {
				t.Errorf("it is %s (%s), not %s", got, why, c.want)
			}
		})
	}
}

func TestStatusSaysAllThatIsKnown(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) metav1.MicroTime { return metav1.NewMicroTime(now.Add(-d)) }
	app := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Name: "hello", Namespace: "shop", Generation: 1},
		Spec:       v1alpha1.HTTPAppSpec{Scaling: v1alpha1.Scaling{MinReplicas: ptr.To[int32](0), MaxReplicas: ptr.To[int32](5)}},
		Status: v1alpha1.HTTPAppStatus{
			ObservedGeneration: 1, URL: "http://hello.shop.example.com", Replicas: 2, ReadyReplicas: 1,
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready", Message: "requests are answered"}},
			Traffic: &v1alpha1.Traffic{
				Pending: 1, InFlight: 2, Concurrency: apiresource.MustParse("2500m"), RequestRate: apiresource.MustParse("7"), ColdStarts: 3,
				LastRequestTime: ptr.To(ago(2 * time.Second)),
				LastColdStart: &v1alpha1.CompleteColdStart{Time: ago(time.Minute), Total: metav1.Duration{Duration: 612 * time.Millisecond}, Stages: []v1alpha1.ColdStartStage{
					{Name: "address", After: metav1.Duration{Duration: 401 * time.Millisecond}}, {Name: "probe", After: metav1.Duration{Duration: 596 * time.Millisecond}},
				}},
				Interceptors: v1alpha1.Interceptors{Reporting: 1, Expected: 2},
			},
		},
	}
	events := []corev1.Event{{Reason: "Waking", Message: "scaled to 1", LastTimestamp: metav1.NewTime(now.Add(-time.Minute))}}
	var out bytes.Buffer
	if err := describe(&out, app, []string{"The last lines of container app of pod hello-1:", "  panic: no"}, events, now, palette{}); err != nil {
		t.Fatal(err)
	}
	const want = `shop/hello       serving: 1 of 2 replicas are ready
URL              http://hello.shop.example.com
Replicas         1 ready of 2, between 0 and 5
Requests         1 pending, 2 in flight, 7/s, 2.5 at a time on average (at least: only 1 of 2 interceptors report)
Last request     2s ago; 3 cold starts
Last cold start  60s ago, in 612ms: address 401ms, probe 596ms
Ready            True  Ready: requests are answered

The last lines of container app of pod hello-1:
  panic: no

Events
60s ago  Waking  scaled to 1
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}
