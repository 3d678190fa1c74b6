//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sleepy makes an app of the echo image that listens only some time after its start, with the given readiness probe.
func (u user) sleepy(app, readiness string) {
	u.Helper()
	u.apply(`
apiVersion: apps.http.keda.sh/v1alpha1
kind: HTTPApp
metadata:
  name: ` + app + `
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: kedahttp/test-echo:dev
          imagePullPolicy: Never
          env: [{name: LISTEN_AFTER, value: 3s}]
          ports: [{name: web, containerPort: 8080}]
          readinessProbe: ` + readiness + `
`)
	u.routed(app)
}

// wake sends a request to an app at zero and returns the stages of its cold start, in seconds.
func (u user) wake(app string) map[string]float64 {
	u.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+u.host(app)+"/", nil)
	if err != nil {
		u.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		u.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		u.Fatalf("the first request was answered with %s", resp.Status)
	}
	header := resp.Header.Get("X-KedaHTTP-Cold-Start")
	u.Logf("%s: %s", app, header)
	stages := map[string]float64{}
	for _, stage := range strings.Split(header, ", ") {
		name, after, _ := strings.Cut(stage, "=")
		if stages[name], err = strconv.ParseFloat(after, 64); err != nil {
			u.Fatalf("%q is not how cold starts are told: %v", header, err)
		}
	}
	return stages
}

// readyAt is when the kubelet said that the app's pod was ready.
func (u user) readyAt(app string) time.Time {
	u.Helper()
	var said string
	u.eventually(later, "a ready pod of "+app, func() (err error) {
		said, err = u.try("", "get", "pods", "-o", `jsonpath={range .items[?(@.status.phase=="Running")]}{.metadata.name}{" "}{.status.conditions[?(@.type=="Ready")].lastTransitionTime}{" "}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
		if err != nil {
			return err
		}
		for _, line := range strings.Split(said, "\n") {
			if f := strings.Fields(line); len(f) == 3 && strings.HasPrefix(f[0], app+"-") && f[2] == "True" {
				said = f[1]
				return nil
			}
		}
		return errNotReady(said)
	})
	at, err := time.Parse(time.RFC3339, said)
	if err != nil {
		u.Fatal(err)
	}
	return at
}

type errNotReady string

func (e errNotReady) Error() string { return "the pods are " + string(e) }

// The kubelet's first probes come while the app does not listen yet, at its start and when its status changes; the next ten seconds later.
func TestAnAppAnswersBeforeTheKubeletFindsItReady(t *testing.T) {
	u := newUser(t)
	answered := map[string]time.Time{}
	for app, readiness := range map[string]string{
		"http": `{periodSeconds: 10, httpGet: {port: web, path: /healthz, httpHeaders: [{name: Host, value: health.local}]}}`,
		"tcp":  `{periodSeconds: 10, tcpSocket: {port: 8080}}`,
	} {
		u.sleepy(app, readiness)
		stages := u.wake(app)
		answered[app] = time.Now()
		for _, stage := range []string{"decided", "created", "scheduled", "address", "probe", "first-byte"} {
			if _, ok := stages[stage]; !ok {
				t.Errorf("%s: the header does not tell of %s", app, stage)
			}
		}
		if stages["probe"] < stages["address"] || stages["first-byte"] < stages["probe"] || stages["total"] != stages["first-byte"] {
			t.Errorf("%s: the stages are out of order: %v", app, stages)
		}
		u.eventually(soon, "the cold start of "+app+" in its status", func() error {
			told, err := u.value("httpapp/"+app, `{range .status.traffic.lastColdStart.stages[*]}{.name}={.after} {end}`)
			if err != nil {
				return err
			}
			for _, stage := range strings.Fields(told) {
				name, after, _ := strings.Cut(stage, "=")
				d, err := time.ParseDuration(after)
				if err != nil || math.Abs(d.Seconds()-stages[name]) > 0.0011 {
					return fmt.Errorf("it says %q of stages that were %v", told, stages)
				}
			}
			if len(strings.Fields(told)) != len(stages)-1 {
				return fmt.Errorf("it says %q of stages that were %v", told, stages)
			}
			return nil
		})
	}
	for app, at := range answered {
		// The kubelet's time is in whole seconds, rounded down.
		if ready := u.readyAt(app); !ready.After(at) {
			t.Errorf("%s answered at %v, not before its pod was ready at %v", app, at, ready)
		}
		if _, err := u.get(app, "/"); err != nil {
			t.Error(err)
		}
	}
}

func TestAnAppWhoseReadinessIsACommandIsWaitedFor(t *testing.T) {
	u := newUser(t)
	u.sleepy("command", `{periodSeconds: 1, exec: {command: [/echo, check]}}`)
	stages := u.wake("command")
	if _, ok := stages["ready"]; !ok {
		t.Errorf("nobody but the kubelet can tell whether it is ready, but the stages are %v", stages)
	}
	if ready := u.readyAt("command"); ready.After(time.Now()) {
		t.Errorf("it answered before its pod was ready at %v", ready)
	}
}

func TestAnAppWithoutAReadinessProbeAnswersWhenItListens(t *testing.T) {
	u := newUser(t)
	u.sleepy("none", `null`)
	stages := u.wake("none")
	if stages["first-byte"] < 3 {
		t.Errorf("it answered before it listened: %v", stages)
	}
}

// The Service says how its pods speak, and nobody hears of that before there is one.
func TestTheFirstRequestIsSentAsTheServiceSays(t *testing.T) {
	u := newUser(t)
	u.apply(`
apiVersion: v1
kind: Service
metadata:
  name: own
spec:
  selector:
    apps.http.keda.sh/httpapp: told
  ports: [{name: web, port: 80, targetPort: web, appProtocol: kubernetes.io/h2c}]
---
` + manifest("told", container, "  serviceName: own"))
	u.routed("told")
	for _, which := range []string{"first", "second"} {
		got, err := u.get("told", "/")
		if err != nil {
			t.Fatal(err)
		}
		if got.Proto != "HTTP/2.0" {
			t.Errorf("the %s request was sent by %s", which, got.Proto)
		}
	}
}
