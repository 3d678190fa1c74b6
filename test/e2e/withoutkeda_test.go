//go:build e2e && withoutkeda

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// quick lets an HPA take replicas away as soon as they are not called for.
const quick = "behavior: {scaleDown: {stabilizationWindowSeconds: 0}, scaleUp: {stabilizationWindowSeconds: 0}}"

// hpa is an HPA as a user would write it, on the concurrency of an app.
const hpa = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: %[1]s
spec:
  scaleTargetRef: {apiVersion: %[2]s, kind: %[3]s, name: %[1]s}
  minReplicas: 1
  maxReplicas: 3
  ` + quick + `
  metrics:
  - type: External
    external:
      metric:
        name: http_concurrency
        selector: {matchLabels: {httpapp: %[1]s}}
      target: {type: AverageValue, averageValue: 2}
`

func (u user) readyReplicas(deployment string, least int) {
	u.Helper()
	u.eventually(later, fmt.Sprintf("%d ready replicas of %s", least, deployment), func() error {
		replicas, err := u.value("deployment/"+deployment, "{.status.readyReplicas}")
		if err != nil {
			return err
		}
		if n, _ := strconv.Atoi(replicas); n < least {
			return fmt.Errorf("%q ready replicas", replicas)
		}
		return nil
	})
}

func TestWithoutKEDAAnAppWakesGrowsAndSleeps(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("alone", container, "  scaling: {autoscaler: HPA, maxReplicas: 3, target: 2, window: 5s, cooldown: 5s, "+quick+"}"))
	u.routed("alone")
	if err := u.field("deployment/alone", "{.spec.replicas}", "0"); err != nil {
		t.Fatalf("a new app should cost nothing: %v", err)
	}
	if _, err := u.get("alone", "/"); err != nil {
		t.Fatalf("the first request should wake the app: %v", err)
	}
	u.waitReplicas("alone", 1, soon)

	stop := u.load("alone", 6, "/?delay=500ms")
	u.readyReplicas("alone", 3)
	u.eventually(soon, "a ready HPA", func() error {
		return u.field("httpapp/alone", `{.status.conditions[?(@.type=="ScalerReady")].reason}`, "HPAReady")
	})
	u.eventually(soon, "the HPA showing the number", func() error {
		value, err := u.value("hpa/alone", "{.status.currentMetrics[0].external.current.averageValue}")
		if err == nil && (value == "" || value == "0") {
			err = fmt.Errorf("it shows %q", value)
		}
		return err
	})
	stop()
	u.waitReplicas("alone", 0, later)
	u.eventually(soon, "an event that says so", func() error {
		if out := u.kubectl("get", "events", "--field-selector", "reason=Sleeping,involvedObject.name=alone"); !strings.Contains(out, "scaled to zero") {
			return fmt.Errorf("the events say\n%s", out)
		}
		return nil
	})
	u.routed("alone") // as one that sleeps
	if _, err := u.get("alone", "/"); err != nil {
		t.Fatalf("the app should wake again: %v", err)
	}
}

func TestWithoutKEDATheHPAIsMendedAndFollowsTheApp(t *testing.T) {
	u := newUser(t)
	scaling := func(patch string) {
		u.kubectl("patch", "httpapp", "kept", "--type=merge", "--patch", `{"spec":{"scaling":`+patch+`}}`)
	}
	gone := func() error {
		if _, err := u.try("", "get", "hpa", "kept"); err == nil || !strings.Contains(err.Error(), "NotFound") {
			return fmt.Errorf("it is still there: %v", err)
		}
		return nil
	}
	u.apply(manifest("kept", container, "  scaling: {autoscaler: HPA, maxReplicas: 3}"))
	u.routed("kept")
	u.kubectl("patch", "hpa", "kept", "--type=merge", "--patch", `{"spec":{"maxReplicas":9}}`)
	u.eventually(soon, "the HPA as the app says", func() error { return u.field("hpa/kept", "{.spec.maxReplicas}", "3") })
	scaling(`{"maxReplicas":4,"target":"7","metric":"requestRate"}`)
	u.eventually(soon, "the HPA as the app says", func() error {
		return u.field("hpa/kept", "{.spec.maxReplicas} {.spec.metrics[0].external.metric.name} {.spec.metrics[0].external.target.averageValue}", "4 http_request_rate 7")
	})
	scaling(`{"paused":true}`)
	u.eventually(soon, "no HPA of a paused app", gone)
	scaling(`{"paused":false}`)
	u.eventually(soon, "the HPA there again", func() error { return u.field("hpa/kept", "{.spec.minReplicas}", "1") })
	scaling(`{"minReplicas":1}`)
	u.eventually(soon, "an app that may not rest any more with a replica", func() error { return u.field("deployment/kept", "{.spec.replicas}", "1") })
	scaling(`{"autoscaler":"None"}`)
	u.eventually(soon, "no HPA of an app that wants none", gone)
}

// It scales the app's Deployment, or the app itself.
func TestWithoutKEDAAPlainHPAScalesByOurMetric(t *testing.T) {
	u := newUser(t)
	targets := map[string]string{"apps/v1": "Deployment", "apps.http.keda.sh/v1alpha1": "HTTPApp"}
	for version, kind := range targets {
		app := "plain-" + strings.ToLower(kind)
		u.apply(manifest(app, container, "  scaling: {autoscaler: None, minReplicas: 1, maxReplicas: 3, window: 5s}"))
		u.apply(fmt.Sprintf(hpa, app, version, kind))
	}
	var stops []func()
	for _, kind := range targets {
		app := "plain-" + strings.ToLower(kind)
		u.routed(app)
		u.readyReplicas(app, 1)
		stops = append(stops, u.load(app, 6, "/?delay=500ms"))
	}
	for _, kind := range targets {
		u.readyReplicas("plain-"+strings.ToLower(kind), 3)
	}
	for _, stop := range stops {
		stop()
	}
	for _, kind := range targets {
		u.waitReplicas("plain-"+strings.ToLower(kind), 1, later)
	}
}

func TestWithoutKEDAExternalMetricsAreThoseOfTheNamespacesApps(t *testing.T) {
	u := newUser(t)
	other := u.another()
	// Nothing wakes a paused app, so its requests go on waiting.
	const held = "  scaling: {autoscaler: None, paused: true}"
	u.apply(strings.Replace(manifest("held", container, held), "name: held", "name: held\n  labels: {tier: front}", 1))
	u.apply(manifest("quiet", container, held))
	other.apply(manifest("held", container, held))
	u.routed("held")
	stop := u.hold("held", 3, "/")

	is := func(u user, name, selector string, want ...string) func() error {
		return func() error {
			values, err := u.metrics(name, selector)
			if err != nil {
				return err
			}
			var got []string
			for _, v := range values {
				if v.MetricName != name || v.Timestamp == "" {
					return fmt.Errorf("a value of %s is %+v", name, v)
				}
				got = append(got, v.MetricLabels["httpapp"]+"="+v.Value)
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("%s of %q is %v, not %v", name, selector, got, want)
			}
			return nil
		}
	}
	u.eventually(soon, "three pending requests", is(u, "http_pending", "httpapp=held", "held=3"))
	for what, check := range map[string]func() error{
		"all apps":             is(u, "http_pending", "", "held=3", "quiet=0"),
		"a label of the app":   is(u, "http_pending", "tier=front", "held=3"),
		"a set":                is(u, "http_pending", "httpapp in (held,quiet),!tier", "quiet=0"),
		"nobody":               is(u, "http_pending", "httpapp=nobody"),
		"in flight":            is(u, "http_in_flight", "httpapp=held", "held=0"),
		"another namespace":    is(other, "http_pending", "", "held=0"),
		"at first the present": is(u, "http_concurrency", "httpapp=held", "held=3"),
	} {
		u.eventually(soon, what, check) // another server may be asked, which has heard of the requests later
	}
	u.eventually(soon, "the request rate", func() error {
		rate, err := u.metrics("http_request_rate", "httpapp=held")
		if err == nil && (len(rate) != 1 || rate[0].Value == "0" || rate[0].Window == nil || *rate[0].Window != 60) {
			err = fmt.Errorf("it is %+v", rate)
		}
		return err
	})
	stop()
	u.eventually(soon, "no pending request", is(u, "http_pending", "httpapp=held", "held=0"))

	_, err := u.metrics("http_latency", "")
	if err == nil || !strings.Contains(err.Error(), "NotFound") || !strings.Contains(err.Error(), "http_pending") {
		t.Errorf("a metric that does not exist: %v", err)
	}
	u.eventually(later, "the metrics in discovery", func() error {
		out, err := u.try("", "api-resources", "--api-group=external.metrics.k8s.io", "--no-headers")
		if err == nil && strings.Count(out, "ExternalMetricValueList") != 5 {
			err = fmt.Errorf("discovery has\n%s", out)
		}
		return err
	})
}

func TestWithoutKEDAExternalMetricsAreLeftToWhoeverServesThemAndTakenOver(t *testing.T) {
	u := onlyUser(t)
	cluster := user{T: t}
	const ours, model = "apiservice/v1beta1.external.metrics.k8s.io", "apiservice/v1alpha1.apps.http.keda.sh"
	is := func(jsonpath, want string) func() error {
		return func() error { return cluster.field(ours, jsonpath, want) }
	}
	trusted := func() error { // which changes
		bundle, err := cluster.try("", "get", model, "-o", "jsonpath={.spec.caBundle}")
		if err != nil {
			return err
		}
		return cluster.field(ours, "{.spec.service.name} {.spec.caBundle} {.spec.insecureSkipTLSVerify}", "kedahttp-apiserver "+bundle+" ")
	}
	u.eventually(soon, "our APIService", trusted)
	u.eventually(soon, "an APIService that goes with that of the apps", is("{.metadata.ownerReferences[*].name}", "v1alpha1.apps.http.keda.sh"))
	cluster.kubectl("patch", ours, "--type=merge", "--patch", `{"spec":{"caBundle":null,"insecureSkipTLSVerify":true}}`)
	u.eventually(soon, "the authority told again", trusted)

	u.apply(manifest("misled", container, "  scaling: {autoscaler: HPA}"))
	u.routed("misled")
	t.Cleanup(func() {
		cluster.kubectl("delete", ours)
		u.eventually(soon, "our APIService again", is("{.spec.service.name}", "kedahttp-apiserver"))
		cluster.kubectl("wait", "--for=condition=Available", ours, "--timeout=2m")
	})
	// As another adapter's manifests would.
	cluster.kubectl("patch", ours, "--type=merge", "--patch", `{"spec":{"service":{"namespace":"kube-system","name":"adapter"}}}`)
	u.eventually(soon, "the condition saying who serves external metrics", func() error {
		message, err := u.try("", "get", "httpapp", "misled", "-o", `jsonpath={.status.conditions[?(@.type=="ScalerReady")].message}`)
		if err == nil && (!strings.Contains(message, "kube-system/adapter") || !strings.Contains(message, "autoscaler to KEDA")) {
			err = fmt.Errorf("it says %q", message)
		}
		return err
	})
	u.eventually(soon, "an APIService that does not go with ours", is("{.spec.service.name} {.metadata.ownerReferences}", "adapter "))
	u.eventually(soon, "an event that says so", func() error {
		out, err := cluster.try("", "get", "events", "-n", "default", "--field-selector", "reason=ServedByAnother")
		if err == nil && !strings.Contains(out, "kube-system/adapter") {
			err = fmt.Errorf("the events are\n%s", out)
		}
		return err
	})
	cluster.kubectl("delete", ours)
	u.eventually(soon, "our APIService again", is("{.spec.service.name}", "kedahttp-apiserver"))
	u.routed("misled")
}

func TestWithoutKEDAAnAdoptedWorkloadSleepsWakesAndIsNotLeftAtZero(t *testing.T) {
	u := onlyUser(t)
	u.kubectl("create", "deployment", "lent", "--image=kedahttp/test-echo:dev", "--port=8080")
	u.kubectl("patch", "deployment", "lent", "--patch", `{"spec":{"template":{"spec":{"containers":[{"name":"test-echo","imagePullPolicy":"Never"}]}}}}`)
	u.apply(manifest("front", "  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: lent}", "  scaling: {autoscaler: HPA, cooldown: 3s}"))
	u.routed("front")
	u.waitReplicas("lent", 0, soon)
	if _, err := u.get("front", "/"); err != nil {
		t.Fatalf("an adopted workload should wake: %v", err)
	}
	// Whoever leads next was not there when it was lent.
	u.eventually(soon, "written down what is lent", func() error { return u.field("httpapp/front", "{.status.lentReplicas}", "1") })
	u.waitReplicas("lent", 0, soon)
	operator(t).kubectl("delete", "pod", u.leader(), "--wait=false")
	u.kubectl("delete", "httpapp", "front")
	u.waitReplicas("lent", 1, later)
}

func TestWithoutKEDAExternalMetricsCanBeSwitchedOff(t *testing.T) {
	u := onlyUser(t)
	system := user{T: t, namespace: "kedahttp-system"}
	const ours = "apiservice/v1beta1.external.metrics.k8s.io"
	rolledOut := func() {
		system.kubectl("rollout", "status", "deployment/kedahttp-apiserver", "--timeout=2m")
	}
	u.apply(manifest("dark", container, "  scaling: {autoscaler: HPA}"))
	u.routed("dark")
	args := system.kubectl("get", "deployment", "kedahttp-apiserver", "-o", "jsonpath={.spec.template.spec.containers[0].args}")
	set := func(args string) {
		system.kubectl("patch", "deployment", "kedahttp-apiserver", "--type=json", "--patch", `[{"op":"replace","path":"/spec/template/spec/containers/0/args","value":`+args+`}]`)
		rolledOut()
	}
	t.Cleanup(func() {
		set(args)
		u.eventually(soon, "our APIService again", func() error {
			return system.field(ours, `{.status.conditions[?(@.type=="Available")].status}`, "True")
		})
		u.routed("dark")
	})
	set(strings.TrimSuffix(args, "]") + `,"--external-metrics=false"]`)
	u.eventually(soon, "no APIService", func() error {
		if _, err := system.try("", "get", ours); err == nil || !strings.Contains(err.Error(), "NotFound") {
			return fmt.Errorf("it is still there: %v", err)
		}
		return nil
	})
	u.eventually(soon, "the reason in the app's conditions", func() error {
		return u.field("httpapp/dark", `{.status.conditions[?(@.type=="ScalerReady")].reason}`, "ExternalMetricsOff")
	})
}

func TestWithoutKEDAAnAppThatWantsItSaysSoAndIsWokenAllTheSame(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("wanting", container))
	u.eventually(soon, "the condition that says so", func() error {
		return u.field("httpapp/wanting", `{.status.conditions[?(@.type=="ScalerReady")].status} {.status.conditions[?(@.type=="ScalerReady")].reason}`, "False KEDANotInstalled")
	})
	if out := u.kubectl("get", "httpapp", "wanting", "--no-headers"); !strings.Contains(out, "KEDANotInstalled") {
		t.Errorf("the status is %s", out)
	}
	if _, err := u.get("wanting", "/"); err != nil {
		t.Errorf("a request wakes it: %v", err)
	}
}

func TestWithoutKEDAAnHPAScalesTheInterceptorsByTheRequestsOfAllApps(t *testing.T) {
	onlyUser(t).manyInterceptors("hpa/hpa.yaml", `averageValue: "1000"`, `averageValue: "4"`, func() {})
}

func TestWithoutKEDAThePageOfTheDocsIsTrue(t *testing.T) {
	beside(t)
	readPages(t, func(name string) bool { return name == "without-keda.md" })
}
