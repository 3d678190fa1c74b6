package plugin

import (
	"bytes"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func TestGenerateSaysWhereTheImagesAreAndWhoTheAppsBelongTo(t *testing.T) {
	out, err := call(t, "generate", "--domain", "apps.test", "--registry", "registry.test/k", "--tag", "v9")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"image: registry.test/k/apiserver:v9\n", "image: registry.test/k/interceptor:v9\n", "image: registry.test/k/scaler:v9\n", "- --domain=apps.test\n",
		"kind: APIService\n", "kind: CustomResourceDefinition\n", "app.kubernetes.io/part-of: kedahttp\n",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("there is no %q", part)
		}
	}
	if strings.Contains(out, "example.com") {
		t.Error("the manifests have the domain of nobody")
	}
}

func TestWrongInstallationsAreRefused(t *testing.T) {
	for want, args := range map[string][]string{
		"--domain is needed":              {"install"},
		"it is a name in the DNS":         {"install", "--domain", "*.apps.test"},
		"belong into the kustomization":   {"install", "-k", ".", "--domain", "apps.test"},
		"it is what comes before":         {"install", "--domain", "apps.test", "--registry", "x/"},
		"the kustomization in nowhere":    {"generate", "-k", "nowhere"},
		"there is no command reinstall":   {"reinstall"},
		"--output is \"xml\"":             {"doctor", "-o", "xml"},
		"one app is named, or several":    {"top", "a", "-A"},
		"it can be auto, always or never": {"top", "--color", "red"},
	} {
		if _, err := call(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, without %q", args, err, want)
		}
	}
}

// installed is a Deployment of the API server as somebody has started it.
func installed(args ...string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "kedahttp-apiserver", Namespace: usualNamespace}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "apiserver", Image: "kedahttp/apiserver:v1", Args: args}}
	return d
}

func TestNothingIsInstalledTwiceOrUpgradedThatIsNotThere(t *testing.T) {
	if _, err := newPlugin(t, installed()).call("install", "--domain", "apps.test"); err == nil || !strings.Contains(err.Error(), "kubectl http upgrade") {
		t.Errorf("install: %v", err)
	}
	if _, err := newPlugin(t).call("upgrade"); err == nil || !strings.Contains(err.Error(), "kubectl http install --domain DOMAIN") {
		t.Errorf("upgrade: %v", err)
	}
}

func TestWhatHelmHasInstalledIsLeftToIt(t *testing.T) {
	helms := installed()
	helms.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"}
	for _, args := range [][]string{{"install", "--domain", "apps.test"}, {"upgrade"}} {
		if _, err := newPlugin(t, helms).call(args...); err == nil || !strings.Contains(err.Error(), "helm upgrade") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestAnUpgradeKeepsTheDomainAndLosesNoFlagUnasked(t *testing.T) {
	running := installed("--secure-port=8443", "--domain=apps.test", "--public-port=8080")
	p := newPlugin(t, running)
	if _, err := p.call("upgrade", "--dry-run=client"); err == nil || !strings.Contains(err.Error(), "kedahttp-apiserver --public-port=8080") || strings.Contains(err.Error(), "--domain") {
		t.Errorf("it says %v", err)
	}
	out := p.does("upgrade", "--dry-run=client", "--yes")
	if !strings.Contains(out, "deployment.apps/kedahttp-interceptor applied (dry run)\n") {
		t.Errorf("it says\n%s", out)
	}
	if got := flagOf(running, "--domain"); got != "apps.test" {
		t.Errorf("the domain is %q", got)
	}
}

func TestADryRunOfUninstallSaysThatItIsOne(t *testing.T) {
	p, out := newPlugin(t, hello()), &bytes.Buffer{}
	s := &session{calledAs: "kubectl http", IOStreams: genericiooptions.IOStreams{Out: out, ErrOut: out}, now: noonNow}
	o := &uninstallOptions{session: s, yes: true, writing: newWriting("deleted")}
	o.strategy = cmdutil.DryRunServer
	c := &clients{namespace: "shop", apps: p.apps.AppsV1alpha1(), kubernetes: p.kubernetes}
	err := o.removeApps(t.Context(), c, o.newProgress())
	if want := "httpapp.apps.http.keda.sh/hello of namespace shop deleted (server dry run)\n"; err != nil || out.String() != want {
		t.Errorf("it says %q (%v), not %q", out, err, want)
	}
}

func TestUninstallRemovesNoAppUnasked(t *testing.T) {
	p := newPlugin(t, hello())
	objects, err := edition{registry: "kedahttp", tag: "t", domain: "d.test"}.objects()
	if err != nil || len(objects) < 15 {
		t.Fatalf("%d objects (%v)", len(objects), err)
	}
	o := &uninstallOptions{session: &session{calledAs: "kubectl http", IOStreams: discardStreams(), now: noonNow}, writing: newWriting("deleted")}
	c := &clients{namespace: "shop", apps: p.apps.AppsV1alpha1(), kubernetes: p.kubernetes}
	if err := o.removeApps(t.Context(), c, o.newProgress()); err == nil || !strings.Contains(err.Error(), "there are 1 apps, such as shop/hello") {
		t.Errorf("it says %v", err)
	}
	o.yes = true
	if err := o.removeApps(t.Context(), c, o.newProgress()); err != nil {
		t.Fatal(err)
	}
	if list, err := p.apps.AppsV1alpha1().HTTPApps("").List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("%d apps are left (%v)", len(list.Items), err)
	}
}

func TestAReportHasNoSecret(t *testing.T) {
	app := hello()
	app.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "hush"}
	container := &app.Spec.Template.Spec.Containers[0]
	container.Env = []corev1.EnvVar{{Name: "PASSWORD", Value: "hush"}}
	container.Args = []string{"--api-token=hush", "--port=80"}
	container.ReadinessProbe.HTTPGet.HTTPHeaders = []corev1.HTTPHeader{{Name: "Authorization", Value: "hush"}}
	app.Spec.ColdStart = &v1alpha1.ColdStart{Placeholder: &v1alpha1.Placeholder{Body: "hush"}}
	text, err := redact(app)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hush") {
		t.Errorf("it tells\n%s", text)
	}
	for _, part := range []string{"name: PASSWORD", "--port=80", "--api-token=" + redacted, "image: example.com/hello:1"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("without %q it is of no use:\n%s", part, text)
		}
	}
}

func TestChecksSayWhatToDoNext(t *testing.T) {
	var out strings.Builder
	err := printChecks(&out, []check{{Name: "cluster", Verdict: pass, Found: "Kubernetes v1.36"}, {Name: "KEDA", Verdict: warn, Found: "it is not installed", Next: "install it"}}, palette{})
	const want = "pass  cluster  Kubernetes v1.36\nwarn  KEDA     it is not installed\n               → install it\n"
	if err != nil || out.String() != want {
		t.Errorf("got\n%q\nwant\n%q", out.String(), want)
	}
}
