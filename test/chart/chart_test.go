// Package chart holds the Helm chart to the manifests for kustomize, which are the same by default.
package chart

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	artifacts = "../../artifacts"
	namespace = "kedahttp-system"
)

// helm is the program, of the version that hack/tools names.
var helm string

func TestMain(m *testing.M) {
	root, err := filepath.Abs("../..")
	if err == nil {
		helm = filepath.Join(root, "bin", "tools", "helm")
		var out []byte
		if out, err = exec.Command("go", "-C", filepath.Join(root, "hack", "tools"), "build", "-o", helm, "helm.sh/helm/v4/cmd/helm").CombinedOutput(); err != nil {
			err = fmt.Errorf("building helm: %w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// run runs helm without what the user may have configured.
func run(t *testing.T, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), helm, args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s%s", err, stderr.String(), stdout.String())
	}
	return stdout.String(), nil
}

// template is what the chart makes with some values, by kind and name.
func template(t *testing.T, args ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	out, err := run(t, append([]string{"template", "kedahttp", filepath.Join(artifacts, "chart"), "--namespace", namespace}, args...)...)
	require.NoError(t, err)
	return objects(t, []byte(out))
}

func objects(t *testing.T, manifests []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	all := map[string]*unstructured.Unstructured{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); err != nil {
			require.ErrorContains(t, err, "EOF")
			return all
		}
		if len(o.Object) == 0 {
			continue
		}
		name := o.GetKind() + " " + o.GetName()
		require.NotContains(t, all, name, "it is there twice")
		all[name] = o
	}
}

// plain leaves out what Helm's are to be told from others by.
func plain(o *unstructured.Unstructured) map[string]any {
	labels := o.GetLabels()
	for _, l := range []string{"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"} {
		delete(labels, l)
	}
	o.SetLabels(labels)
	annotations := o.GetAnnotations()
	delete(annotations, "helm.sh/resource-policy")
	if len(annotations) == 0 {
		annotations = nil
	}
	o.SetAnnotations(annotations)
	return o.Object
}

// built is what kustomize makes of the base with some of the components.
func built(t *testing.T, components ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(artifacts)))
	overlay := filepath.Join(dir, "overlays", "test")
	require.NoError(t, os.MkdirAll(overlay, 0o700))
	lines := "resources: [../../base]\ncomponents:\n"
	for _, c := range components {
		lines += "  - ../../components/" + c + "\n"
	}
	require.NoError(t, os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(lines), 0o600))
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), overlay)
	require.NoError(t, err)
	manifests, err := made.AsYaml()
	require.NoError(t, err)
	return objects(t, manifests)
}

// overlay is what kustomize makes of an overlay.
func overlay(t *testing.T, name string) map[string]*unstructured.Unstructured {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(artifacts, "overlays", name))
	require.NoError(t, err)
	manifests, err := made.AsYaml()
	require.NoError(t, err)
	return objects(t, manifests)
}

func TestItIsWhatTheOverlaysForKustomizeAre(t *testing.T) {
	same(t, overlay(t, "keda"), template(t))
	same(t, overlay(t, "without-keda"), template(t, "--set", "scaler.enabled=false"))
	same(t, overlay(t, "high-availability"), template(t, "--values", filepath.Join(artifacts, "chart", "values-large.yaml")))
}

// The component for kustomize says the same as the values.
func TestALargeOneIsWhatTheComponentForKustomizeSays(t *testing.T) {
	values := filepath.Join(artifacts, "chart", "values-large.yaml")
	same(t, built(t, "interceptor-autoscaling/keda", "large"), template(t, "--values", values))
	hpa, theirs := template(t, "--values", values, "--set", "scaler.enabled=false"), built(t, "interceptor-autoscaling/hpa", "large")
	const name = "HorizontalPodAutoscaler kedahttp-interceptor"
	require.Equal(t, theirs[name].Object["spec"], hpa[name].Object["spec"])
}

func TestWithNetworkPoliciesItIsWhatTheComponentForKustomizeSays(t *testing.T) {
	same(t, built(t, "network-policies"), template(t, "--set", "networkPolicies.enabled=true"))
}

// Each port that a part listens on is in its policy, and the counts and the scaler's are for those who ask there.
func TestNetworkPoliciesKnowEveryPortAndWhoAsksThere(t *testing.T) {
	all := template(t, "--set", "mutualTLS.metrics=true,networkPolicies.enabled=true,networkPolicies.metricsFrom[0].namespaceSelector.matchLabels.team=sre")
	peers := map[string]string{}
	for _, part := range []string{"apiserver", "interceptor", "scaler"} {
		var policy networkingv1.NetworkPolicy
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(all["NetworkPolicy kedahttp-"+part].Object, &policy))
		require.Equal(t, map[string]string{"app.kubernetes.io/name": "kedahttp-" + part}, policy.Spec.PodSelector.MatchLabels)
		require.Equal(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, policy.Spec.PolicyTypes)
		known := map[string]bool{}
		for _, rule := range policy.Spec.Ingress {
			require.NotEmpty(t, rule.Ports, "a rule for every port")
			for _, port := range rule.Ports {
				known[port.Port.StrVal] = true
				for _, from := range rule.From {
					peers[part+" "+port.Port.StrVal] += metav1.FormatLabelSelector(from.NamespaceSelector) + metav1.FormatLabelSelector(from.PodSelector)
				}
			}
		}
		for _, port := range containers(t, all["Deployment kedahttp-"+part])[0]["ports"].([]any) {
			name := port.(map[string]any)["name"].(string)
			require.True(t, known[name], "nobody reaches the port %s of the %s", name, part)
			delete(known, name)
		}
		require.Empty(t, known, "ports that the %s does not have", part)
	}
	require.Equal(t, map[string]string{
		"interceptor counts":  "<none>app.kubernetes.io/name in (kedahttp-apiserver,kedahttp-scaler)",
		"interceptor admin":   "team=sre<none>",
		"interceptor metrics": "team=sre<none>",
		"scaler admin":        "team=sre<none>",
		"scaler metrics":      "team=sre<none>",
		"scaler grpc":         "kubernetes.io/metadata.name=keda<none>",
	}, peers)
}

// Without, beside and behind all that it changes.
func TestWithMutualTLSItIsWhatTheComponentsForKustomizeSay(t *testing.T) {
	same(t, built(t, "mutual-tls/keda"), template(t, "--set", "mutualTLS.keda=true"))
	same(t, built(t, "mutual-tls/metrics"), template(t, "--set", "mutualTLS.metrics=true"))
	const both = "mutualTLS.keda=true,mutualTLS.metrics=true"
	same(t, built(t, "network-policies", "mutual-tls/keda", "mutual-tls/metrics"), template(t, "--set", both+",networkPolicies.enabled=true"))
	want := built(t, "monitoring", "interceptor-autoscaling/keda", "mutual-tls/keda", "mutual-tls/metrics", "cert-manager")
	got := template(t, "--set", both+",serviceMonitors.enabled=true,interceptor.autoscaling.enabled=true,certManager.enabled=true")
	for _, name := range []string{"PodMonitor kedahttp-interceptor", "PodMonitor kedahttp-scaler", "ServiceMonitor kedahttp-apiserver", "ScaledObject kedahttp-interceptor"} {
		require.Equal(t, want[name].Object["spec"], got[name].Object["spec"], name)
	}
	for name := range template(t, "--set", both+",scaler.enabled=false") {
		require.NotContains(t, name, "keda-tls")
	}
	require.Contains(t, template(t, "--set", both+",mutualTLS.kedaNamespace=scaling")["Secret kedahttp-keda-tls"].GetNamespace(), "scaling")
}

func TestWithCertManagerItIsWhatTheComponentForKustomizeSays(t *testing.T) {
	same(t, built(t, "cert-manager"), template(t, "--set", "certManager.enabled=true"))
}

// same compares what kustomize makes with what the chart does.
func same(t *testing.T, want, got map[string]*unstructured.Unstructured) {
	t.Helper()
	delete(want, "Namespace "+namespace) // the release's, whose labels are for whoever makes it
	for name, o := range got {
		require.Contains(t, want, name)
		w := want[name]
		if o.GetKind() == "Deployment" {
			container := containers(t, o)[0]
			require.Equal(t, containers(t, w)[0]["image"].(string)+":dev", container["image"])
			delete(container, "image")
			delete(container, "imagePullPolicy")
			delete(containers(t, w)[0], "image")
		}
		if o.GetKind() == "Service" && o.GetName() == "kedahttp-interceptor" {
			require.Equal(t, "ClusterIP", o.Object["spec"].(map[string]any)["type"])
			delete(o.Object["spec"].(map[string]any), "type") // it is Kubernetes' default, too
		}
		require.Equal(t, plain(w), plain(o), name)
		delete(want, name)
	}
	require.Empty(t, want, "the chart lacks some")
}

// The components for kustomize say the same.
func TestInterceptorsAreScaledByKEDAOrByAnHPA(t *testing.T) {
	for by, values := range map[string]string{"keda": "interceptor.autoscaling.enabled=true", "hpa": "interceptor.autoscaling.enabled=true,scaler.enabled=false"} {
		want, got := built(t, "interceptor-autoscaling/"+by), template(t, "--set", values)
		kind := map[string]string{"keda": "ScaledObject", "hpa": "HorizontalPodAutoscaler"}[by]
		scaler, theirs := got[kind+" kedahttp-interceptor"], want[kind+" kedahttp-interceptor"]
		require.NotNil(t, scaler)
		require.NotNil(t, theirs)
		require.Equal(t, theirs.Object["spec"], scaler.Object["spec"])
		for _, deployment := range []*unstructured.Unstructured{want["Deployment kedahttp-interceptor"], got["Deployment kedahttp-interceptor"]} {
			require.NotContains(t, deployment.Object["spec"], "replicas")
		}
	}
}

// The component for kustomize says the same.
func TestItIsMonitoredAsTheComponentForKustomizeSays(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("components: [component]\n"), 0o600))
	require.NoError(t, os.CopyFS(filepath.Join(dir, "component"), os.DirFS(filepath.Join(artifacts, "components", "monitoring"))))
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)
	manifests, err := made.AsYaml()
	require.NoError(t, err)
	want, got := objects(t, manifests), template(t, "--set", "serviceMonitors.enabled=true,alerts.enabled=true,dashboard.enabled=true")
	require.Len(t, want, 5)
	for name, w := range want {
		require.Contains(t, got, name)
		for _, content := range []string{"spec", "data"} {
			require.Equal(t, w.Object[content], got[name].Object[content], name)
		}
		require.Subset(t, got[name].GetLabels(), w.GetLabels(), name)
		require.Equal(t, w.GetNamespace(), got[name].GetNamespace(), name)
	}
	labelled := template(t, "--set", "alerts.enabled=true,alerts.labels.release=prometheus")["PrometheusRule kedahttp"]
	require.Equal(t, "prometheus", labelled.GetLabels()["release"])
}

func containers(t *testing.T, deployment *unstructured.Unstructured) []map[string]any {
	t.Helper()
	pod := deployment.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
	var all []map[string]any
	for _, c := range pod["containers"].([]any) {
		all = append(all, c.(map[string]any))
	}
	return all
}

func args(t *testing.T, deployment *unstructured.Unstructured) []string {
	t.Helper()
	require.NotNil(t, deployment)
	var all []string
	for _, a := range containers(t, deployment)[0]["args"].([]any) {
		all = append(all, a.(string))
	}
	return all
}

func TestItIsWellFormedWithEachOfItsValues(t *testing.T) {
	for what, values := range map[string][]string{
		"defaults":   nil,
		"large":      {"--values", filepath.Join(artifacts, "chart", "values-large.yaml")},
		"everything": {"--set", "certManager.enabled=true,networkPolicies.enabled=true,mutualTLS.keda=true,mutualTLS.metrics=true,serviceMonitors.enabled=true,alerts.enabled=true,dashboard.enabled=true,externalMetrics=false,interceptor.defaultCertificate=wild,interceptor.accessLog=full,interceptor.drainTimeout=5m,publicPort=8080,publicTLSPort=8443,interceptor.service.type=NodePort,interceptor.service.nodePorts.http=30080,scaler.replicas=2,interceptor.trustedProxies={10.0.0.0/8,fd00::/8}"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := run(t, append([]string{"lint", "--strict", filepath.Join(artifacts, "chart")}, values...)...)
			require.NoError(t, err)
			require.NotEmpty(t, template(t, values...))
		})
	}
}

func TestValuesReachWhatTheyAreFor(t *testing.T) {
	all := template(t, "--set", "domain=apps.test,publicPort=8080,publicTLSPort=8443,externalMetrics=false,image.repository=registry.test/k,image.tag=v1",
		"--set", "interceptor.trustedProxies={10.0.0.0/8,fd00::/8},interceptor.drainTimeout=5m,interceptor.defaultCertificate=wild,interceptor.extraArgs={--v=2}")
	require.Subset(t, args(t, all["Deployment kedahttp-apiserver"]), []string{"--domain=apps.test", "--public-port=8080", "--public-tls-port=8443", "--external-metrics=false"})
	interceptor := all["Deployment kedahttp-interceptor"]
	require.Subset(t, args(t, interceptor), []string{
		"--trusted-proxies=10.0.0.0/8,fd00::/8", "--drain-timeout=5m", "--public-tls-port=8443", "--tls-default-cert=/var/run/kedahttp/default/tls.crt", "--v=2",
	})
	grace, _, err := unstructured.NestedFieldNoCopy(interceptor.Object, "spec", "template", "spec", "terminationGracePeriodSeconds")
	require.NoError(t, err)
	require.EqualValues(t, 330, grace)
	require.Equal(t, "registry.test/k/interceptor:v1", containers(t, interceptor)[0]["image"])

	require.Equal(t, "keep", template(t)["CustomResourceDefinition httpapprecords.storage.apps.http.keda.sh"].GetAnnotations()["helm.sh/resource-policy"])
	require.Empty(t, template(t, "--set", "crds.keep=false")["CustomResourceDefinition httpapprecords.storage.apps.http.keda.sh"].GetAnnotations())
	without := template(t, "--set", "scaler.enabled=false,rbac.editScaledObjects=false")
	for name := range without {
		require.False(t, strings.Contains(name, "scaler") || strings.Contains(name, "scaledobjects"), name)
	}
	elsewhere, err := run(t, "template", "kedahttp", filepath.Join(artifacts, "chart"), "--namespace", "http")
	require.NoError(t, err)
	require.NotContains(t, elsewhere, namespace)
}

func TestATracedOneIsWhatTheComponentForKustomizeSays(t *testing.T) {
	want, got := built(t, "tracing"), template(t, "--set", "tracing.endpoint=opentelemetry-collector.observability:4317")
	files := func(of map[string]*unstructured.Unstructured) (name, config string) {
		for _, o := range of {
			if text, ok, _ := unstructured.NestedString(o.Object, "data", "config.yaml"); ok {
				return o.GetName(), text
			}
		}
		return "", ""
	}
	theirs, config := files(want)
	name, said := files(got)
	require.YAMLEq(t, config, said)
	require.Contains(t, config, "samplingRatePerMillion: 10000\n")
	for _, part := range []string{"interceptor", "apiserver"} {
		require.Equal(t, args(t, want["Deployment kedahttp-"+part]), args(t, got["Deployment kedahttp-"+part]))
	}
	volumes := func(of map[string]*unstructured.Unstructured, name string) string {
		all, _, err := unstructured.NestedSlice(of["Deployment kedahttp-apiserver"].Object, "spec", "template", "spec", "volumes")
		require.NoError(t, err)
		return strings.ReplaceAll(fmt.Sprint(all), name, "NAME")
	}
	require.Equal(t, volumes(want, theirs), volumes(got, name))
	// Another configuration is read, as what reads it is started anew.
	other, _ := files(template(t, "--set", "tracing.endpoint=collector:4317"))
	require.NotEqual(t, name, other)
	require.NotEmpty(t, template(t, "--set", "tracing.endpoint=collector:4317,certManager.enabled=true"))
}

func TestWrongValuesAreRefused(t *testing.T) {
	for wrong, says := range map[string]string{
		"interceptor.replicas=0":         "interceptor/replicas",
		"interceptor.replica=3":          "replica",
		"domain=Example.com":             "domain",
		"interceptor.accessLog=some":     "accessLog",
		"interceptor.drainTimeout=5":     "drainTimeout",
		"scaler.extraArgs={v=2}":         "extraArgs",
		"interceptor.service.type=Local": "type",
		"tracing.endpoint=http://a:4317": "endpoint",
	} {
		_, err := run(t, "template", "kedahttp", filepath.Join(artifacts, "chart"), "--set", wrong)
		require.ErrorContains(t, err, says, wrong)
	}
}
