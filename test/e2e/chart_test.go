//go:build e2e && chart

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// helm runs helm for the release.
func (u user) helm(args ...string) {
	u.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), later)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join("..", "..", "bin", "tools", "helm"), append(args, "--namespace", systemNamespace, "--wait", "--timeout", "90s")...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		u.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
}

// traced awaits the spans of a request and of a call to the API, and in that what it asked of the cluster's API.
func (u user) traced(c *collector, app string) {
	u.Helper()
	u.eventually(soon, "spans of requests and of calls to the API", func() error {
		u.kubectl("get", "httpapp", app)
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.spans[app]) == 0 {
			return errors.New("none of requests")
		}
		asked := map[string]bool{}
		for _, s := range c.spans[""] {
			if strings.Contains(fmt.Sprint(s.Attributes), "/httpapprecords/"+app) {
				asked[string(s.TraceId)] = true
			}
		}
		for _, s := range c.spans[""] {
			if strings.Contains(fmt.Sprint(s.Attributes), appPath(u.namespace, app)) && asked[string(s.TraceId)] {
				return nil
			}
		}
		return fmt.Errorf("%d of the API, and %d that asked the cluster's, and no two of one call", len(c.spans[""]), len(asked))
	})
}

// evicted takes a pod away as a node that is drained does, and the next one only when there is another.
func (u user) evicted(deployment string) {
	u.Helper()
	evict := func(pod string) error {
		_, err := u.try(fmt.Sprintf(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": %q, "namespace": %q}}`, pod, systemNamespace),
			"create", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/eviction", systemNamespace, pod), "-f", "-")
		return err
	}
	pods := u.running("app.kubernetes.io/name=" + deployment)
	if len(pods) < 3 {
		u.Fatalf("%s has %d pods", deployment, len(pods))
	}
	u.eventually(soon, "a pod of "+deployment+" may go", func() error { return evict(pods[0].Name) })
	if err := evict(pods[1].Name); err == nil || !strings.Contains(err.Error(), "disruption budget") {
		u.Errorf("of %s another pod goes before the first is replaced: %v", deployment, err)
	}
	operator(u.T).kubectl("rollout", "status", "deployment/"+deployment, "--timeout=2m")
	u.eventually(later, "the next pod of "+deployment+" may go", func() error { return evict(pods[1].Name) })
}

func TestChartIsInstalledUpgradedRolledBackAndRemoved(t *testing.T) {
	u := onlyUser(t)
	everybody := user{T: t}
	_, port, err := net.SplitHostPort(environment.interceptor)
	if err != nil {
		t.Fatal(err)
	}
	values := strings.Join([]string{
		"domain=localhost", "publicPort=" + port, "publicTLSPort=0", "image.pullPolicy=Never", "scaler.enabled=false",
		"interceptor.service.type=NodePort", "interceptor.service.nodePorts.http=30080",
		"networkPolicies.enabled=true", "networkPolicies.metricsFrom[0].namespaceSelector.matchLabels.team=monitoring",
	}, ",")
	const chart = "../../artifacts/chart"
	everybody.kubectl("create", "namespace", systemNamespace)
	everybody.kubectl("label", "namespace", systemNamespace, "pod-security.kubernetes.io/enforce=restricted")
	u.helm("install", "kedahttp", chart, "--set", values)
	for _, name := range []string{"hello", "cold"} {
		u.apply(`apiVersion: apps.http.keda.sh/v1alpha1
kind: HTTPApp
metadata: {name: ` + name + `}
spec:
  template:
    metadata: {labels: {of: ` + name + `}}
    spec:
      containers:
        - {name: app, image: "kedahttp/test-echo:dev", imagePullPolicy: Never, ports: [{containerPort: 8080}], readinessProbe: {httpGet: {path: /healthz, port: 8080}}}
  scaling: {autoscaler: HPA}
`)
		u.routed(name)
		if _, err := u.get(name, "/"); err != nil {
			t.Fatal("the first request: ", err)
		}
	}

	// On connections that stay and on new ones, for pods that are there and for those that have to come, by calls to the API as well.
	all := u.plain("hello")
	fresh := u.protocol(func(t *http.Transport) { t.DisableKeepAlives = true })
	all[lasting+"sleep and a cold start"] = func(ctx context.Context) error {
		for _, command := range [][]string{{"scale", "httpapp/cold", "--replicas=0"}, {"wait", "--for=delete", "pods", "-l", "of=cold", "--timeout=60s"}} {
			if _, err := u.try("", command...); err != nil {
				return err
			}
		}
		return u.ask(ctx, fresh, "cold", "/", nil)
	}
	spans := u.collect()
	l := u.traffic(all)
	// To what is for large clusters, in the room that there is.
	u.helm("upgrade", "kedahttp", chart, "--values", chart+"/values-large.yaml", "--set", values, "--set", "tracing.endpoint="+spans.address+",tracing.samplingRatePerMillion=1000000",
		"--set", "apiserver.resources.requests.cpu=10m,apiserver.resources.requests.memory=50Mi,interceptor.resources.requests.cpu=10m,interceptor.resources.requests.memory=50Mi")
	u.traced(spans, "hello")
	u.evicted("kedahttp-interceptor")
	u.evicted("kedahttp-apiserver")
	u.helm("rollback", "kedahttp", "1")
	l.check(u, all)

	// Apps are not removed unasked.
	u.helm("uninstall", "kedahttp")
	u.waitReplicas("hello", 1, soon)
	if services := everybody.kubectl("get", "apiservices", "-o", "name"); strings.Contains(services, "v1alpha1.apps.http.keda.sh") {
		t.Errorf("APIServices that nobody answers for: %s", services)
	}
	u.eventually(soon, "nobody serves the external metrics", func() error {
		if services := everybody.kubectl("get", "apiservices", "-o", "name"); strings.Contains(services, "external.metrics") {
			return fmt.Errorf("APIServices: %s", services)
		}
		return nil
	})
	u.another() // its namespace is made now, and deleted at the end
	u.helm("install", "kedahttp", chart, "--set", values, "--set", "scaler.enabled=true")
	u.routed("hello")
	if _, err := u.get("hello", "/"); err != nil {
		t.Error("after it was installed again: ", err)
	}
	u.strangersAreKeptOut("hello")

	u.kubectl("delete", "httpapp", "hello", "cold", "--timeout=60s")
	u.helm("uninstall", "kedahttp")
	everybody.kubectl("delete", "crd", "httpapprecords.storage.apps.http.keda.sh", "--timeout=60s")
	everybody.kubectl("delete", "namespace", systemNamespace, "--timeout=90s")
	u.eventually(soon, "nothing of it is left in the cluster", func() error {
		left := everybody.kubectl("get", "clusterroles,clusterrolebindings,apiservices,crds,priorityclasses,validatingwebhookconfigurations,mutatingwebhookconfigurations", "-o", "name") +
			everybody.kubectl("get", "roles,rolebindings,leases,secrets,configmaps", "--all-namespaces", "-o", "name")
		var ours []string
		for line := range strings.Lines(left) {
			if strings.Contains(line, "kedahttp") || strings.Contains(line, "http.keda.sh") {
				ours = append(ours, strings.TrimSpace(line))
			}
		}
		if len(ours) > 0 {
			return fmt.Errorf("%v", ours)
		}
		return nil
	})
}
