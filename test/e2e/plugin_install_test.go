//go:build e2e

package e2e

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Everything goes, in an order that leaves nobody hanging, and comes again by the plugin alone.
func TestThePluginRemovesAndInstallsEverything(t *testing.T) {
	u := onlyUser(t)
	overlay := localOverlay(t)
	u.deploy("last")
	u.kubectl("create", "deployment", "adopted", "--image=kedahttp/test-echo:dev", "--replicas=0")
	u.plugin("deploy", "adopted", "--from", "deployment/adopted", "--port", "8080")

	u.says(u.fails(1, "import", "ksvc/none"), "the cluster does not know the kind Service.serving.knative.dev", "import -f FILE")
	u.says(u.fails(1, "uninstall", "-k", overlay), "there are ")
	u.says(u.plugin("uninstall", "-k", overlay, "--yes"), "apiservice.apiregistration.k8s.io/v1alpha1.apps.http.keda.sh deleted", "namespace/kedahttp-system deleted")
	u.kubectl("get", "deployment", "adopted")
	if out := u.kubectl("get", "deployments,scaledobjects", "-o", "name"); strings.Contains(out, "last") || strings.Contains(out, "scaledobject") {
		t.Errorf("what was made for apps is left:\n%s", out)
	}
	u.says(u.fails(1, "list"), "Install it: kubectl http install")
	u.says(u.fails(1, "doctor"), "kedahttp is not installed")
	// Nobody answers for apps any more, and namespaces can be deleted all the same.
	u.kubectl("create", "namespace", u.namespace+"-gone")
	u.kubectl("delete", "namespace", u.namespace+"-gone", "--timeout=2m")

	u.kubectl("wait", "--for=delete", "namespace/kedahttp-system", "--timeout=120s")
	u.plugin("install", "-k", overlay)
	u.says(u.plugin("doctor"), "pass  interceptors  2 answer")
	u.says(u.fails(1, "upgrade"), "these flags would be lost", "--access-log=sampled")
	// KEDA has a connection to the scaler that was there before, at an address that nobody has any more, and takes up to two minutes to find the
	// new one. Apps are woken without it.
	u.deploy("first", "--no-wait")
	u.eventually(soon, "an answer by way of the new interceptors", func() error {
		_, err := u.get("first", "/")
		return err
	})
	u.kubectl("wait", "--for=condition=Ready", "httpapp/first", "--timeout=3m") // the tests that come next need KEDA
}

// What an earlier version has installed goes with an upgrade to one that does not have it, when that is confirmed; what is an app's stays.
func TestAnUpgradeRemovesWhatOnlyAnEarlierVersionHas(t *testing.T) {
	u, o := onlyUser(t), operator(t)
	overlay := localOverlay(t)
	u.deploy("stays")
	const earlier = `
apiVersion: v1
kind: ConfigMap
metadata: {name: kedahttp-earlier, namespace: kedahttp-system, labels: {app.kubernetes.io/part-of: kedahttp}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: kedahttp-earlier, labels: {app.kubernetes.io/part-of: kedahttp}}
`
	const theirs = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kedahttp-theirs, namespace: kedahttp-system, labels: {app.kubernetes.io/part-of: kedahttp}}\n"
	for manager, manifest := range map[string]string{"kubectl-http": earlier, "somebody": theirs} {
		if _, err := o.try(manifest, "apply", "--server-side", "--field-manager="+manager, "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	u.Cleanup(func() {
		o.kubectl("delete", "configmap", "kedahttp-theirs", "kedahttp-earlier", "--ignore-not-found")
		o.kubectl("delete", "clusterrole", "kedahttp-earlier", "--ignore-not-found")
	})
	kept := func() string {
		return o.kubectl("get", "apiservices,crds,secrets,deployments,services,clusterroles,clusterrolebindings,roles,rolebindings", "-l", "app.kubernetes.io/part-of=kedahttp", "-o", "name")
	}
	before := strings.ReplaceAll(kept(), "clusterrole.rbac.authorization.k8s.io/kedahttp-earlier\n", "")

	u.says(u.fails(1, "upgrade", "-k", overlay), "configmap/kedahttp-earlier in namespace kedahttp-system", "clusterrole.rbac.authorization.k8s.io/kedahttp-earlier", "Remove them: --yes")
	u.says(u.plugin("upgrade", "-k", overlay, "--dry-run=client"), "configmap/kedahttp-earlier deleted (dry run)")
	u.says(u.plugin("upgrade", "-k", overlay, "--dry-run=server"), "configmap/kedahttp-earlier deleted (server dry run)")
	o.kubectl("get", "configmap", "kedahttp-earlier")

	out := u.plugin("upgrade", "-k", overlay, "--yes")
	u.says(out, "configmap/kedahttp-earlier deleted\n", "clusterrole.rbac.authorization.k8s.io/kedahttp-earlier deleted\n")
	if strings.Count(out, " deleted") != 2 {
		t.Errorf("it deletes more:\n%s", out)
	}
	o.kubectl("get", "configmap", "kedahttp-theirs")
	if after := kept(); after != before {
		t.Errorf("what is installed is\n%s\nnot\n%s", after, before)
	}
	if _, err := u.get("stays", "/"); err != nil {
		t.Errorf("an app after the upgrade: %v", err)
	}
}

// localOverlay is the overlay of the tests' cluster, with the ports of this one.
func localOverlay(t *testing.T) string {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../artifacts")); err != nil {
		t.Fatal(err)
	}
	_, http, err := net.SplitHostPort(environment.interceptor)
	if err != nil {
		t.Fatal(err)
	}
	secure, err := url.Parse(os.Getenv("KEDAHTTP_INTERCEPTOR_TLS"))
	if err != nil || secure.Port() == "" {
		t.Fatalf("KEDAHTTP_INTERCEPTOR_TLS: %v", err)
	}
	overlay := filepath.Join(dir, "overlays", "local")
	file := filepath.Join(overlay, "kustomization.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ports := strings.NewReplacer("${INTERCEPTOR_HTTP_PORT}", http, "${INTERCEPTOR_HTTPS_PORT}", secure.Port())
	if err := os.WriteFile(file, []byte(ports.Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}
