//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A request for an app that cannot start is told so: as soon as that is certain, and when its wait is over where it may mend itself
// at any moment. kubectl get tells the reason as the app's status, and its condition what to do.
func TestARequestForAnAppThatCannotStartIsToldWhy(t *testing.T) {
	u := newUser(t)
	limited := u.another()
	limited.kubectl("create", "quota", "none", "--hard=pods=0")
	const image = "kedahttp/test-echo:dev"
	of := func(container string) string {
		return "  template: {spec: {terminationGracePeriodSeconds: 1, containers: [{name: app, imagePullPolicy: Never, ports: [{name: web, containerPort: 8080}], " + container + "}]}}"
	}
	tests := map[string]func(*testing.T){}
	for name, c := range map[string]struct {
		user user
		spec string
		// wait is how long a request may wait; none at all is too long for a test, so that it must be told sooner.
		wait, reason, condition string
	}{
		"absent":        {u, of("image: kedahttp/there-is-none:dev"), "1h", "ErrImageNeverPull", "there-is-none"},
		"misspelt":      {u, of("image: NoSuch:Image:Name"), "1h", "InvalidImageName", "NoSuch"},
		"unconfigured":  {u, of("image: "+image+", envFrom: [{configMapRef: {name: there-is-none}}]") + "\n  scaling: {autoscaler: None}", "1h", "CreateContainerConfigError", "there-is-none"},
		"over-quota":    {limited, of("image: " + image), "1h", "FailedCreate", "exceeded quota: none"},
		"unpullable":    {u, strings.Replace(of("image: 127.0.0.1:1/there-is-none:dev"), "Never", "Always", 1), "30s", "ImagePullBackOff", "cannot be pulled"},
		"crashing":      {u, of("image: " + image + ", env: [{name: LISTEN_AFTER, value: never}]"), "30s", "CrashLoopBackOff", "kubectl logs --previous"},
		"unschedulable": {u, of("image: " + image + ", resources: {requests: {cpu: 1000}}"), "10s", "Unschedulable", "Insufficient cpu"},
		"deaf":          {u, of("image: " + image + ", readinessProbe: {tcpSocket: {port: 1}}"), "90s", "ProbeFailing", "readiness probe"},
	} {
		tests[name] = func(t *testing.T) {
			u := c.user
			u.T = t
			u.apply(manifest(name, c.spec, "  queue: {maxWait: "+c.wait+"}"))
			u.routed(name)
			req, err := http.NewRequest(http.MethodGet, "http://"+u.host(name)+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", "application/json")
			began := time.Now()
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var said struct{ Reason, Message string }
			if err := json.NewDecoder(res.Body).Decode(&said); err != nil {
				t.Fatal(err)
			}
			t.Logf("after %v: %s: %+v", time.Since(began).Round(10*time.Millisecond), res.Status, said)
			if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
				t.Errorf("%s with %v", res.Status, res.Header)
			}
			if !strings.Contains(said.Message, c.reason) || !strings.Contains(said.Message, "kubectl http status -n "+u.namespace+" "+name) {
				t.Errorf("the request is told %q", said.Message)
			}
			if c.wait == "1h" && said.Reason != "app_failing" {
				t.Errorf("what is certain is told as %q", said.Reason)
			}
			u.eventually(later, "the reason as the status", func() error {
				out, err := u.try("", "get", "httpapp", name, "--no-headers")
				if err == nil && !strings.Contains(out, c.reason) {
					err = fmt.Errorf("it is %q", out)
				}
				return err
			})
			message := u.kubectl("get", "httpapp", name, "-o", `jsonpath={.status.conditions[?(@.type=="WorkloadReady")].message}`)
			if !strings.Contains(message, c.condition) {
				t.Errorf("the condition does not speak of %q: %s", c.condition, message)
			}
			if out, err := u.try("", "http", "status", name); err == nil {
				t.Errorf("status does not end with an error: %s", out)
			}
		}
	}
	together(t, tests)
}

// KEDA looks at a ScaledObject itself, and does nothing with one that it refuses.
func TestAnAppTellsWhyKEDARefusesItsScaledObject(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("refused", container))
	u.routed("refused")
	idle := func(replicas string) {
		u.kubectl("patch", "scaledobject", "refused", "--type=merge", "--patch", `{"spec":{"idleReplicaCount":`+replicas+`}}`)
	}
	idle("7") // by hand, and more than the least that there may be
	u.eventually(later, "KEDA's words in the condition", func() error {
		message, err := u.try("", "get", "httpapp", "refused", "-o", `jsonpath={.status.conditions[?(@.type=="ScalerReady")].message}`)
		if err == nil && !strings.Contains(message, "KEDA says") {
			err = fmt.Errorf("it says %q", message)
		}
		return err
	})
	reason := u.kubectl("get", "httpapp", "refused", "-o", `jsonpath={.status.conditions[?(@.type=="ScalerReady")].reason}`)
	if out := u.kubectl("get", "httpapp", "refused", "--no-headers"); !strings.Contains(out, reason) {
		t.Errorf("the status is not %s: %s", reason, out)
	}
	if _, err := u.get("refused", "/"); err != nil {
		t.Errorf("it is woken by us all the same: %v", err)
	}
	idle("null")
	u.routed("refused")
}
