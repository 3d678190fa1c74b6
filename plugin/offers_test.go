package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// tab is what a shell is told when somebody presses Tab at the end of a command line: the candidates, and what to do with them.
func (p *plugin) tab(line ...string) (candidates []string, directive cobra.ShellCompDirective) {
	p.Helper()
	out, err := p.complete(append([]string{"__complete", "--namespace=shop"}, line...)...)
	if err != nil {
		p.Fatalf("%v: %v", line, err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if _, err := fmt.Sscanf(lines[len(lines)-1], ":%d", &directive); err != nil {
		p.Fatalf("%v: %v: %s", line, err, out)
	}
	return lines[:len(lines)-1], directive
}

func named(name string, labels ...string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{}}
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		m.Labels[key] = value
	}
	return m
}

func TestWhatIsThereIsOffered(t *testing.T) {
	gateway := func(namespace, name string) *unstructured.Unstructured {
		g := &unstructured.Unstructured{}
		g.SetAPIVersion("gateway.networking.k8s.io/v1")
		g.SetKind("Gateway")
		g.SetNamespace(namespace)
		g.SetName(name)
		return g
	}
	two := &v1alpha1.HTTPApp{ObjectMeta: named("two", "team=web", "tier=front")}
	two.Spec.Template = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "app"}, {Name: "side"}}, InitContainers: []corev1.Container{{Name: "setup"}},
	}}
	one := hello()
	one.Labels = map[string]string{"team": "shop"}
	p := newPlugin(t, append(revised(3), one, two,
		&appsv1.StatefulSet{ObjectMeta: named("data")},
		&corev1.ConfigMap{ObjectMeta: named("settings")}, &corev1.Secret{ObjectMeta: named("password")},
		&corev1.Secret{ObjectMeta: named("front"), Type: corev1.SecretTypeTLS},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kedahttp-system"}},
		&networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nginx"}})...)
	p.anything = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{gatewaysResource: "GatewayList"})
	for _, g := range []*unstructured.Unstructured{gateway("shop", "mine"), gateway("infra", "public")} {
		if _, err := p.anything.Resource(gatewaysResource).Namespace(g.GetNamespace()).Create(t.Context(), g, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for line, want := range map[string]string{
		"status ":                            "hello two",
		"status t":                           "two",
		"status hello ":                      "",
		"list hello ":                        "two",
		"rollback ":                          "hello two",
		"rollback hello ":                    "2 1",
		"rollback hello 2 ":                  "",
		"logs two -c ":                       "app side setup",
		"logs two --container s":             "side setup",
		"deploy new --from ":                 "deployment/ statefulset/",
		"deploy new --from d":                "deployment/",
		"deploy new --from deployment/":      "deployment/hello",
		"deploy new --from statefulset/":     "statefulset/data",
		"deploy hello --env-from ":           "configmap/ secret/",
		"deploy hello --env-from configmap/": "configmap/settings",
		"deploy hello --env-from secret/p":   "secret/password",
		"deploy hello --ingress=":            "nginx default none",
		"set expose hello --gateway ":        "infra/public mine none",
		"set expose hello --gateway infra/":  "infra/public",
		"doctor --system-namespace k":        "kedahttp-system",
		"list -l ":                           "team= tier=",
		"list -l team=":                      "team=shop team=web",
		"list -l tier=front,team=w":          "tier=front,team=web",
		"list -L t":                          "team tier",
		"list --sort-by .status.traffic.p":   ".status.traffic.pending",
		"list --field-selector status":       "status.ready=",
		"load hello -X P":                    "POST PUT PATCH",
		"top --color ":                       "auto always never",
		"deploy x --dry-run=":                "none server client",
		"history hello --output ":            "json yaml",
		"install ":                           "",
		"deploy hello --image ":              "",
	} {
		words := strings.Split(line, " ")
		found, directive := p.tab(words...)
		for i := range found {
			found[i], _, _ = strings.Cut(found[i], "\t")
		}
		if got := strings.Join(found, " "); got != want {
			t.Errorf("%q is completed by %q, not %q", line, got, want)
		}
		if directive&cobra.ShellCompDirectiveNoFileComp == 0 {
			t.Errorf("%q is completed by the names of files", line)
		}
		goesOn := strings.HasSuffix(want, "/") || strings.HasSuffix(want, "=")
		if goesOn != (directive&cobra.ShellCompDirectiveNoSpace != 0) {
			t.Errorf("%q is completed with the directive %d", line, directive)
		}
	}
	if found, _ := p.tab("rollback", "hello", "2"); len(found) != 1 || found[0] != "2\texample.com/hello:2, 15m ago" {
		t.Errorf("a revision is offered as %q", found)
	}
	// The fake cluster ignores fields.
	p.tab("deploy", "hello", "--tls-secret", "")
	actions := p.kubernetes.Actions()
	if list := actions[len(actions)-1].(clienttesting.ListAction); list.GetListRestrictions().Fields.String() != "type=kubernetes.io/tls" {
		t.Errorf("certificates are looked for by %v", list.GetListRestrictions().Fields)
	}
}

func TestFilesAreOfferedOnlyWhereOneIsMeant(t *testing.T) {
	root := NewCommand("kubectl http", discardStreams())
	seen := map[string]bool{}
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.ValidArgsFunction == nil {
			t.Errorf("the arguments of %s are completed by the names of files", cmd.CommandPath())
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			seen[f.Name] = true
			_, completed := cmd.GetFlagCompletionFunc(f.Name)
			ofFile := slices.Contains(ofFiles, f.Name)
			if f.Value.Type() != "bool" && completed == ofFile {
				t.Errorf("%s --%s: it names a file: %v; it is completed by something else: %v", cmd.CommandPath(), f.Name, ofFile, completed)
			}
		})
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(root)
	s := &session{}
	for _, name := range slices.Concat(ofFiles, slices.Collect(maps.Keys(s.offers()))) {
		if !seen[name] {
			t.Errorf("no command has the flag --%s", name)
		}
	}
}

// paged answers lists of apps page by page, as a server does.
func (p *plugin) paged(names []string, size int, each func()) {
	p.apps.PrependReactor("list", resource, func(action clienttesting.Action) (bool, runtime.Object, error) {
		from := 0
		opts := action.(clienttesting.ListActionImpl).GetListOptions()
		if opts.Continue != "" {
			fmt.Sscan(opts.Continue, &from) //nolint:errcheck // it is ours
		}
		each()
		list := &v1alpha1.HTTPAppList{}
		for _, name := range names[from:min(from+size, len(names))] {
			list.Items = append(list.Items, v1alpha1.HTTPApp{ObjectMeta: named(name)})
		}
		if from+size < len(names) {
			list.Continue = fmt.Sprint(from + size)
		}
		return true, list, nil
	})
}

func TestNamesAreFoundBeyondTheFirstPage(t *testing.T) {
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("app-%02d", i))
	}
	for prefix, want := range map[string]struct{ found, pages int }{"app-3": {10, 4}, "app-0": {10, 2}, "": {40, 4}, "zebra": {0, 4}, "a": {40, 4}, "aa": {0, 1}} {
		p := newPlugin(t)
		pages := 0
		p.paged(names, 10, func() { pages++ })
		found, _ := p.tab("status", prefix)
		if len(found) != want.found || pages != want.pages {
			t.Errorf("of %q %d apps are found in %d pages, not %d in %d", prefix, len(found), pages, want.found, want.pages)
		}
	}
}

func TestWhatWasFoundWhenTheTimeIsUpIsOffered(t *testing.T) {
	p := newPlugin(t)
	ctx, cancel := context.WithCancel(t.Context())
	pages := 0
	p.paged([]string{"a1", "a2", "a3"}, 1, func() { pages++ })
	p.apps.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		if pages == 2 {
			cancel()
			return true, nil, ctx.Err()
		}
		return false, nil, nil
	})
	c := &clients{namespace: "shop", apps: p.apps.AppsV1alpha1()}
	if names, err := c.names(ctx, "a"); len(names) != 2 || err != nil {
		t.Errorf("found are %v (%v)", names, err)
	}
}
