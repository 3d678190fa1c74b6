//go:build e2e

package e2e

import (
	"fmt"
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
	u.kubectl("wait", "--for=condition=Ready", "scaledobject/own", "--timeout=60s")
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
	if err := u.field("httpapp/own", `{.status.conditions[?(@.type=="Ready")].status}`, "True"); err != nil {
		t.Error(err)
	}
	if _, err := u.try("", "get", "scaledobject", "own", "-o", "name"); err != nil {
		t.Errorf("the user's ScaledObject is gone: %v", err)
	}
}

// An open WebSocket on which nothing is said is a request in flight: the app stays, however short its cooldown.
func TestAnOpenWebSocketKeepsTheAppAwake(t *testing.T) {
	u := newUser(t)
	u.deploy("chat", "--idle", "1s")
	c, err := u.dialChat(t.Context(), "chat")
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
	u.waitReplicas(other, 1, later)
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
		u.kubectl("rollout", "status", "deployment/going", "--timeout=1m")
		u.kubectl("scale", "deployment/going", "--replicas=0")
	}
	u.waitReplicas("going", 1, soon)
	stop()
}
