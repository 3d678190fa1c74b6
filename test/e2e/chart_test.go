//go:build e2e && chart

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
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
	}, ",")
	const chart = "../../artifacts/chart"
	everybody.kubectl("create", "namespace", systemNamespace)
	everybody.kubectl("label", "namespace", systemNamespace, "pod-security.kubernetes.io/enforce=restricted")
	u.helm("install", "kedahttp", chart, "--set", values)
	u.apply(`apiVersion: apps.http.keda.sh/v1alpha1
kind: HTTPApp
metadata: {name: hello}
spec:
  template:
    spec:
      containers:
        - {name: hello, image: "kedahttp/test-echo:dev", imagePullPolicy: Never, ports: [{containerPort: 8080}], readinessProbe: {httpGet: {path: /healthz, port: 8080}}}
  scaling: {autoscaler: HPA}
`)
	u.routed("hello")
	if _, err := u.get("hello", "/"); err != nil {
		t.Fatal("the first request: ", err)
	}

	all := u.plain("hello")
	l := u.traffic(all)
	before := everybody.kubectl("get", "pods", "-n", systemNamespace, "-o", "name")
	u.helm("upgrade", "kedahttp", chart, "--set", values, "--set", "interceptor.extraArgs={--v=1},apiserver.extraArgs={--v=1}")
	after := everybody.kubectl("get", "pods", "-n", systemNamespace, "-o", "name")
	if strings.TrimSpace(before) == strings.TrimSpace(after) {
		t.Error("the upgrade changed no pod")
	}
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
	u.helm("install", "kedahttp", chart, "--set", values)
	u.routed("hello")
	if _, err := u.get("hello", "/"); err != nil {
		t.Error("after it was installed again: ", err)
	}

	u.kubectl("delete", "httpapp", "hello", "--timeout=60s")
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
