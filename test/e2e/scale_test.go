//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A plain HPA and a ScaledObject of the user's own can have an app as their target, as they can have a Deployment.
func TestAnHPAOfTheUsersOwnScalesAnApp(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("target", container, "  scaling: {autoscaler: None, minReplicas: 1, maxReplicas: 4}"))
	u.routed("target")
	u.kubectl("autoscale", "httpapp/target", "--min=2", "--max=3", "--cpu=80%")
	u.waitReplicas("target", 2, later)
	// From here on it looks for metrics, which begins with the pods that the scale selects.
	u.eventually(later, "the HPA looking at the pods", func() error {
		reason, err := u.try("", "get", "hpa", "target", "-o", `jsonpath={.status.conditions[?(@.type=="ScalingActive")].reason}`)
		if err != nil {
			return err
		}
		if reason == "" {
			return fmt.Errorf("it says nothing yet")
		}
		if strings.Contains(reason, "Selector") {
			u.Errorf("its selector does not fit: %s", reason)
		}
		return u.field("hpa/target", `{.spec.scaleTargetRef.kind} {.status.currentReplicas} {.status.conditions[?(@.type=="AbleToScale")].status}`, "HTTPApp 2 True")
	})
	u.eventually(soon, "an app that is ready, scaled by another", func() error {
		return u.field("httpapp/target", `{.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="ScalerReady")].reason}`, "True ScaledByAnother")
	})
}

func TestAScaledObjectOfTheUsersOwnScalesAnApp(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("target", container, "  scaling: {autoscaler: None, maxReplicas: 3, target: 2}"))
	u.routed("target")
	u.apply(`apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: users-own
spec:
  scaleTargetRef: {apiVersion: apps.http.keda.sh/v1alpha1, kind: HTTPApp, name: target}
  minReplicaCount: 0
  maxReplicaCount: 3
  pollingInterval: 2
  cooldownPeriod: 5
  initialCooldownPeriod: 5
  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 0}}}}
  triggers:
  - type: external-push
    metadata: {scalerAddress: "kedahttp-scaler.kedahttp-system.svc:9090", httpApp: target}
`)
	u.kubectl("wait", "--for=condition=Ready", "scaledobject/users-own", "--timeout=2m")
	stop := u.load("target", 8, "/?delay=500ms")
	u.waitReplicas("target", 3, later)
	// What KEDA and its HPA wrote came by way of the app's scale.
	if err := u.field("hpa/keda-hpa-users-own", `{.spec.scaleTargetRef.kind}/{.spec.scaleTargetRef.name}`, "HTTPApp/target"); err != nil {
		t.Error(err)
	}
	u.eventually(later, "the HPA with the number of the scaler", func() error {
		return u.field("hpa/keda-hpa-users-own", `{.status.conditions[?(@.type=="ScalingActive")].reason}`, "ValidMetricFound")
	})
	stop()
	u.waitReplicas("target", 0, later)
	u.kubectl("wait", "--for=condition=ScalerReady", "httpapp/target", "--timeout=2m")
}

// What scale writes is managed by itself, so that what the app's changes apply to the Deployment leaves it alone.
func TestWhatScaleWroteStaysWhenTheAppChanges(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("kept", container, "  scaling: {autoscaler: None, maxReplicas: 3}"))
	u.routed("kept")
	operations := `{range .metadata.managedFields[?(@.subresource=="scale")]}{.operation}{end}`
	u.kubectl("scale", "httpapp/kept", "--replicas=2")
	if got := u.kubectl("get", "deployment", "kept", "--show-managed-fields", "-o", "jsonpath="+operations); got != "Update" {
		t.Errorf("the Deployment's scale is written by the operations %q", got)
	}
	u.kubectl("patch", "httpapp", "kept", "--type=json", "--patch", `[{"op":"add","path":"/spec/template/spec/containers/0/env","value":[{"name":"A","value":"1"}]}]`)
	u.eventually(soon, "the Deployment as the app says", func() error {
		return u.field("deployment/kept", "{.spec.template.spec.containers[0].env[0].value} {.spec.replicas}", "1 2")
	})
	if got := u.kubectl("get", "deployment", "kept", "--show-managed-fields", "-o", "jsonpath="+operations); got != "Update" {
		t.Errorf("after a change of the app the Deployment's scale is written by the operations %q", got)
	}

	for flags, bound := range map[string]string{"--replicas=4": "maxReplicas of the app, which is 3", "--replicas=-1": "replicas"} {
		_, err := u.try("", "scale", "httpapp/kept", flags)
		u.refused(err, bound)
	}
	version := u.kubectl("get", "httpapp", "kept", "--subresource=scale", "-o", "jsonpath={.metadata.resourceVersion}")
	u.kubectl("scale", "httpapp/kept", "--replicas=1")
	_, err := u.try("", "scale", "httpapp/kept", "--replicas=0", "--resource-version="+version)
	u.refused(err, "resource")
	if err := u.field("deployment/kept", "{.spec.replicas}", "1"); err != nil {
		t.Error(err)
	}
}

// Nothing but its cooldown lets an app sleep that somebody woke without a request. The autoscaler, to which it has been idle for long, is to leave it.
func TestAnAppThatWasWokenByHandStaysForItsCooldown(t *testing.T) {
	const cooldown = 8 * time.Second
	u := newUser(t)
	u.apply(manifest("woken", container, "  scaling: {cooldown: 8s, pollingInterval: 2s}"))
	u.routed("woken")
	u.wake("woken")
	u.waitReplicas("woken", 0, later)
	u.plugin("wake", "woken")
	u.waitReplicas("woken", 0, later)
	var woken, slept time.Time
	u.eventually(soon, "its last sleep in its status", func() (err error) {
		told := u.kubectl("get", "httpapp", "woken", "-o", "jsonpath={.status.lastScaleFromZeroTime} {.status.lastScaleToZeroTime}")
		from, to, _ := strings.Cut(told, " ")
		if woken, err = time.Parse(time.RFC3339, from); err != nil {
			return err
		}
		if slept, err = time.Parse(time.RFC3339, to); err == nil && slept.Before(woken) {
			err = fmt.Errorf("it says %s", told)
		}
		return err
	})
	// KEDA counts in whole seconds.
	if awake := slept.Sub(woken); awake < cooldown-time.Second {
		t.Errorf("it was let sleep after %s", awake)
	}
}
