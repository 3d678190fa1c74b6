//go:build e2e

package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// Somebody who switches an app off by hand does not want it on again because a crawler asks for it.
func TestAnAppThatRequestsDoNotWakeStaysAsleep(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("parked", container, "  scaling: {autoscaler: None, activation: Never}"))
	u.routed("parked")
	u.kubectl("wait", "--for=jsonpath={.status.conditions[?(@.type==\"WorkloadReady\")].reason}=ScaledToZero", "httpapp/parked", "--timeout=2m")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+u.host("parked")+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "requests do not wake it") {
		t.Errorf("it answers with %s: %s (%v)", res.Status, body, err)
	}
	if err := u.field("deployment/parked", "{.spec.replicas}", "0"); err != nil {
		t.Error(err)
	}
	u.kubectl("scale", "httpapp/parked", "--replicas=1")
	u.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "httpapp/parked", "--timeout=2m")
	if _, err := u.get("parked", "/"); err != nil {
		t.Error(err)
	}
}
