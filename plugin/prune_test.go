package plugin

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// earlier is an object as an earlier version of the plugin has applied it.
func earlier(apiVersion, kind, namespace, name string, change ...func(*unstructured.Unstructured)) runtime.Object {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	o.SetNamespace(namespace)
	o.SetName(name)
	o.SetLabels(map[string]string{"app.kubernetes.io/part-of": "kedahttp"})
	o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: fieldManager, Operation: metav1.ManagedFieldsOperationApply}})
	for _, c := range change {
		c(o)
	}
	return o
}

func label(key, value string) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) {
		labels := o.GetLabels()
		labels[key] = value
		o.SetLabels(labels)
	}
}

func TestAnUpgradeRemovesWhatOnlyAnEarlierVersionHasAndNothingElse(t *testing.T) {
	const rbac = "rbac.authorization.k8s.io/v1"
	p := newPlugin(t, installed("--secure-port=8443", "--domain=apps.test"),
		earlier("v1", "ConfigMap", usualNamespace, "kedahttp-old"),
		earlier(rbac, "ClusterRole", "", "kedahttp-old"),
		// This version has it, too.
		earlier("apps/v1", "Deployment", usualNamespace, "kedahttp-interceptor"),
		// The API server, Helm, an app, kubectl and somebody in another namespace.
		earlier("v1", "Service", usualNamespace, "kedahttp-claimed", label("app.kubernetes.io/managed-by", "kedahttp")),
		earlier(rbac, "ClusterRole", "", "kedahttp-helms", label("app.kubernetes.io/managed-by", "Helm")),
		earlier("apps/v1", "Deployment", usualNamespace, "app", label(v1alpha1.AppLabel, "app")),
		earlier("v1", "ConfigMap", usualNamespace, "kedahttp-kubectls", func(o *unstructured.Unstructured) {
			o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationApply}})
		}),
		earlier("v1", "ConfigMap", "shop", "kedahttp-elsewhere"),
		earlier("v1", "ConfigMap", usualNamespace, "others", func(o *unstructured.Unstructured) { o.SetLabels(nil) }),
		// With them everything would go.
		earlier("v1", "Namespace", "", "kedahttp-old"),
	)
	deleted := func() (names []string) {
		for _, action := range p.anything.Actions() {
			if action.GetVerb() == "delete" {
				names = append(names, action.GetResource().Resource+"/"+action.(interface{ GetName() string }).GetName())
			}
		}
		return names
	}
	const refusal = "an earlier version has installed these, and this one does not have them:\n  configmap/kedahttp-old in namespace kedahttp-system\n  clusterrole.rbac.authorization.k8s.io/kedahttp-old\nKeep them"
	if _, err := p.call("upgrade", "--no-wait"); err == nil || !strings.Contains(err.Error(), refusal) {
		t.Errorf("unasked: %v", err)
	}
	for _, action := range p.anything.Actions() {
		if verb := action.GetVerb(); verb != "list" {
			t.Errorf("it does %s before it is confirmed", verb)
		}
	}

	out := p.does("upgrade", "--dry-run=client")
	for _, line := range []string{"deployment.apps/kedahttp-interceptor applied (dry run)\n", "configmap/kedahttp-old deleted (dry run)\n", "clusterrole.rbac.authorization.k8s.io/kedahttp-old deleted (dry run)\n"} {
		if !strings.Contains(out, line) {
			t.Errorf("there is no %q in\n%s", line, out)
		}
	}
	if strings.Count(out, " deleted ") != 2 || deleted() != nil {
		t.Errorf("a dry run deletes %v and says\n%s", deleted(), out)
	}
}
