//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// ownScaledObject is one that a user brings for an app: with a time of the day in which there are two replicas in any case.
const ownScaledObject = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: own
spec:
  scaleTargetRef: {name: own}
  minReplicaCount: 0
  maxReplicaCount: 4
  pollingInterval: 2
  cooldownPeriod: 3
  initialCooldownPeriod: 3
  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 0}}}}
  triggers:
  - type: external-push
    metadata: {scalerAddress: "kedahttp-scaler.kedahttp-system.svc:9090", httpApp: own, activeFor: 3s}
  - type: external-push
    metadata: {scalerAddress: "kedahttp-scaler.kedahttp-system.svc:9090", httpApp: own, activeFor: 3s, metric: requestRate, target: "50"}
  - type: cron
    metadata: {timezone: UTC, start: %q, end: %q, desiredReplicas: "2"}
`

func TestAScaledObjectOfTheUsersOwnWithOtherTriggersScalesAnApp(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("own", container, "  scaling: {autoscaler: None, maxReplicas: 4, target: 2}"))
	u.routed("own")
	// A time of the day that is long gone, or far ahead.
	clock := func(in time.Duration) string {
		at := time.Now().UTC().Add(in)
		return fmt.Sprintf("%d %d * * *", at.Minute(), at.Hour())
	}
	u.apply(fmt.Sprintf(ownScaledObject, clock(10*time.Hour), clock(11*time.Hour)))
	u.kubectl("wait", "--for=condition=Ready", "scaledobject/own", "--timeout=2m")
	u.waitReplicas("own", 0, later)

	if _, err := u.get("own", "/"); err != nil {
		t.Fatalf("a request should wake it: %v", err)
	}
	u.waitReplicas("own", 0, later)
	stop := u.load("own", 6, "/?delay=500ms")
	u.eventually(later, "as many replicas as the requests call for", func() error {
		return u.field("hpa/keda-hpa-own", "{.status.desiredReplicas}", "3")
	})
	stop()
	u.waitReplicas("own", 0, later)

	u.apply(fmt.Sprintf(ownScaledObject, clock(-time.Hour), clock(10*time.Hour)))
	u.waitReplicas("own", 2, later)
	u.routed("own")
	if _, err := u.try("", "get", "scaledobject", "own", "-o", "name"); err != nil {
		t.Errorf("the user's ScaledObject is gone: %v", err)
	}
}

// theirs scales a Deployment by the time of the day.
const theirs = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: theirs
spec:
  scaleTargetRef: {name: lent}
  minReplicaCount: 1
  maxReplicaCount: 2
  triggers:
  - type: cron
    metadata: {timezone: UTC, start: 0 8 * * *, end: 0 9 * * *, desiredReplicas: "2"}
`

// Two ScaledObjects of one workload would fight, so that of the user's own goes first, and the app says so.
func TestAnAppYieldsToAScaledObjectThatTheUserMadeForItsWorkload(t *testing.T) {
	u := newUser(t)
	u.kubectl("create", "deployment", "lent", "--image=kedahttp/test-echo:dev", "--port=8080")
	u.kubectl("patch", "deployment", "lent", "--patch", `{"spec":{"template":{"spec":{"containers":[{"name":"test-echo","imagePullPolicy":"Never"}]}}}}`)
	u.apply(theirs)
	u.kubectl("wait", "--for=condition=Ready", "scaledobject/theirs", "--timeout=2m")
	u.apply(manifest("front", "  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: lent}"))
	const scaler = `{.status.conditions[?(@.type=="ScalerReady")].status} {.status.conditions[?(@.type=="ScalerReady")].reason}`
	u.eventually(soon, "the condition that says so", func() error { return u.field("httpapp/front", scaler, "False ScaledByAnother") })
	message := u.kubectl("get", "httpapp", "front", "-o", `jsonpath={.status.conditions[?(@.type=="ScalerReady")].message}`)
	for _, part := range []string{"ScaledObject theirs", "Deployment lent", "autoscaler to None"} {
		if !strings.Contains(message, part) {
			t.Errorf("the condition does not say %q: %s", part, message)
		}
	}
	if out := u.kubectl("get", "scaledobjects", "-o", "name"); strings.TrimSpace(out) != "scaledobject.keda.sh/theirs" {
		t.Errorf("the ScaledObjects are\n%s", out)
	}
	if _, err := u.get("front", "/"); err != nil {
		t.Errorf("its requests are served all the same: %v", err)
	}

	u.kubectl("patch", "httpapp", "front", "--type=merge", "--patch", `{"spec":{"scaling":{"autoscaler":"None"}}}`)
	u.eventually(soon, "an app that is content with it", func() error { return u.field("httpapp/front", scaler, "True ScaledByAnother") })
	u.kubectl("patch", "httpapp", "front", "--type=merge", "--patch", `{"spec":{"scaling":{"autoscaler":"KEDA"}}}`)
	u.kubectl("delete", "scaledobject", "theirs")
	u.eventually(soon, "one made for the app once there is no other", func() error { return u.field("httpapp/front", scaler, "True ScaledObjectReady") })
	// KEDA's admission webhook, where there is one, refuses a second; the app yields to it otherwise.
	if _, err := u.try(theirs, "apply", "-f", "-"); err != nil {
		u.refused(err, "already managed")
		return
	}
	u.eventually(soon, "the app that yields", func() error { return u.field("httpapp/front", scaler, "False ScaledByAnother") })
	u.eventually(soon, "only the user's", func() error {
		out, err := u.try("", "get", "scaledobjects", "-o", "name")
		if err == nil && strings.TrimSpace(out) != "scaledobject.keda.sh/theirs" {
			err = fmt.Errorf("the ScaledObjects are\n%s", out)
		}
		return err
	})
}

// The same with a plain HPA, with which ours or KEDA's would fight.
func TestAnAppYieldsToAnHPAThatTheUserMadeForItsWorkload(t *testing.T) {
	u := newUser(t)
	u.kubectl("create", "deployment", "lent", "--image=kedahttp/test-echo:dev", "--port=8080")
	u.kubectl("patch", "deployment", "lent", "--patch", `{"spec":{"template":{"spec":{"containers":[{"name":"test-echo","imagePullPolicy":"Never"}]}}}}`)
	u.apply(manifest("front", "  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: lent}"))
	const scaler = `{.status.conditions[?(@.type=="ScalerReady")].status} {.status.conditions[?(@.type=="ScalerReady")].reason}`
	u.eventually(later, "a ScaledObject made for the app", func() error { return u.field("httpapp/front", scaler, "True ScaledObjectReady") })

	u.kubectl("autoscale", "deployment/lent", "--name=theirs", "--min=1", "--max=2", "--cpu=80%")
	u.eventually(soon, "the condition that says so", func() error { return u.field("httpapp/front", scaler, "False ScaledByAnother") })
	message := u.kubectl("get", "httpapp", "front", "-o", `jsonpath={.status.conditions[?(@.type=="ScalerReady")].message}`)
	for _, part := range []string{"HorizontalPodAutoscaler theirs", "Deployment lent", "autoscaler to None"} {
		if !strings.Contains(message, part) {
			t.Errorf("the condition does not say %q: %s", part, message)
		}
	}
	u.eventually(soon, "only the user's", func() error {
		out, err := u.try("", "get", "scaledobjects,hpa", "-o", "name")
		if err == nil && strings.TrimSpace(out) != "horizontalpodautoscaler.autoscaling/theirs" {
			err = fmt.Errorf("there are\n%s", out)
		}
		return err
	})
	if _, err := u.get("front", "/"); err != nil {
		t.Errorf("its requests are served all the same: %v", err)
	}
	u.kubectl("patch", "httpapp", "front", "--type=merge", "--patch", `{"spec":{"scaling":{"autoscaler":"None"}}}`)
	u.eventually(soon, "an app that is content with it", func() error { return u.field("httpapp/front", scaler, "True ScaledByAnother") })
	u.kubectl("patch", "httpapp", "front", "--type=merge", "--patch", `{"spec":{"scaling":{"autoscaler":"KEDA"}}}`)
	u.kubectl("delete", "hpa", "theirs")
	u.eventually(later, "one made for the app once there is no other", func() error { return u.field("httpapp/front", scaler, "True ScaledObjectReady") })
}

// An open WebSocket on which nothing is said is a request in flight: the app stays, however short its cooldown.
func TestAnOpenWebSocketKeepsTheAppAwake(t *testing.T) {
	u := newUser(t)
	u.deploy("chat", "--idle", "1s")
	c, _, err := u.dialChat(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other := "quiet"
	u.deploy(other, "--idle", "1s")
	if _, err := u.get(other, "/"); err != nil {
		t.Fatal(err)
	}
	// As long as another takes to go to sleep, which was asked later.
	u.waitReplicas(other, 0, later)
	if err := u.field("deployment/chat", "{.spec.replicas}", "1"); err != nil {
		t.Errorf("with an open WebSocket: %v", err)
	}
	if err := say(c, "still there"); err != nil {
		t.Errorf("the WebSocket: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	u.waitReplicas("chat", 0, later)
}

// While the last pod goes, requests are answered by it or wake the app, and never fail.
func TestRequestsWhileTheLastPodGoesAreServed(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("going", container, "  scaling: {autoscaler: None, maxReplicas: 2}"))
	u.routed("going")
	stop := u.load("going", 4, "/?delay=20ms")
	for range 3 {
		u.waitReplicas("going", 1, soon)
		u.kubectl("rollout", "status", "deployment/going", "--timeout=2m")
		u.kubectl("scale", "deployment/going", "--replicas=0")
	}
	u.waitReplicas("going", 1, soon)
	stop()
}

// An app that is put to sleep sleeps until somebody needs it: the requests of a moment ago are no reason for KEDA to wake it.
func TestAnAppThatIsPutToSleepRightAfterARequestSleepsUntilTheNext(t *testing.T) {
	u := newUser(t)
	u.deploy("asked", "--idle", "1h")
	u.deploy("other", "--idle", "1s")
	slept := func() string {
		return u.kubectl("get", "httpapp", "asked", "-o", "jsonpath={.status.lastScaleToZeroTime}")
	}
	// KEDA may ask in the very moment in which the pod goes, and wake it for the request before; then it is done again.
	for range 3 {
		before := slept()
		if _, err := u.get("asked", "/"); err != nil {
			t.Fatal(err)
		}
		u.plugin("sleep", "asked")
		u.eventually(soon, "a sleep that is known", func() error {
			if slept() == before {
				return errors.New("its status does not tell of it")
			}
			return nil
		})
		if u.field("deployment/asked", "{.spec.replicas}", "0") == nil {
			break
		}
	}
	sleeping := u.kubectl("get", "deployment", "asked", "-o", "jsonpath={.metadata.generation}") + " 0"
	// Until KEDA has found another one idle, which was asked later, it has asked for this one twice.
	if _, err := u.get("other", "/"); err != nil {
		t.Fatal(err)
	}
	u.waitReplicas("other", 0, later)
	if err := u.field("deployment/asked", "{.metadata.generation} {.spec.replicas}", sleeping); err != nil {
		t.Errorf("it was woken by nobody: %v", err)
	}
	if _, err := u.get("asked", "/"); err != nil {
		t.Errorf("the next request should wake it: %v", err)
	}
	u.waitReplicas("asked", 1, soon)
}
