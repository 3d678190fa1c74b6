package plugin

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/meta/testrestmapper"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	appsfake "github.com/kedahttp/kedahttp/apiserver/client/versioned/fake"
)

// noon is when the tests' commands run.
var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// plugin is the command as a user has it, on a cluster that holds what it is given.
type plugin struct {
	*testing.T
	apps       *appsfake.Clientset
	kubernetes *fake.Clientset
	// anything holds what is not read by its own client.
	anything *dynamicfake.FakeDynamicClient
	stderr   bytes.Buffer
}

func newPlugin(t *testing.T, objects ...runtime.Object) *plugin {
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	var apps, others, anything []runtime.Object
	for _, o := range objects {
		switch o.(type) {
		case *v1alpha1.HTTPApp:
			apps = append(apps, o)
		case *unstructured.Unstructured:
			anything = append(anything, o)
		default:
			others = append(others, o)
		}
	}
	return &plugin{
		T: t, apps: appsfake.NewSimpleClientset(apps...), kubernetes: fake.NewClientset(others...),
		anything: dynamicfake.NewSimpleDynamicClient(printable, anything...),
	}
}

// call runs a command in the namespace shop.
func (p *plugin) call(args ...string) (stdout string, err error) {
	p.Helper()
	return p.complete(append([]string{args[0], "--namespace=shop"}, args[1:]...)...)
}

// complete runs the command with exactly these words.
func (p *plugin) complete(args ...string) (stdout string, err error) {
	p.Helper()
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	flags := genericclioptions.NewConfigFlags(true)
	s := newSession("kubectl http", streams, flags)
	s.now = noonNow
	s.connect = func() (*clients, error) {
		return &clients{namespace: "shop", apps: p.apps.AppsV1alpha1(), kubernetes: p.kubernetes}, nil
	}
	s.anything = func() (dynamic.Interface, meta.ResettableRESTMapper, error) {
		return p.anything, testrestmapper.TestOnlyStaticRESTMapper(printable).(meta.ResettableRESTMapper), nil
	}
	cmd := newCommand(s, flags)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(p.Context())
	p.stderr = *errOut
	return out.String(), err
}

// does runs a command that is to succeed.
func (p *plugin) does(args ...string) string {
	p.Helper()
	out, err := p.call(args...)
	if err != nil {
		p.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, &p.stderr)
	}
	return out
}

// call runs a command without a cluster.
func call(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	cmd := NewCommand("kubectl http", streams)
	cmd.SetArgs(append([]string{args[0], "--namespace=shop"}, args[1:]...))
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestTheHelpFollowsTheExecutablesName(t *testing.T) {
	for executable, want := range map[string]string{
		"/usr/bin/kubectl-http":  "kubectl http",
		"kubectl-keda_http.exe":  "kubectl keda-http",
		"/somewhere/called/else": "else",
	} {
		if got := CalledAs(executable); got != want {
			t.Errorf("%s is called as %q, not %q", executable, got, want)
		}
	}
}

func TestEveryCommandIsExplainedUnderTheNameThatItWasCalledBy(t *testing.T) {
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	root := NewCommand("kubectl keda-http", streams)
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" {
			continue
		}
		out.Reset()
		root.SetArgs([]string{cmd.Name(), "--help"})
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		help := out.String()
		if !strings.Contains(help, "kubectl keda-http "+cmd.Name()) {
			t.Errorf("the help of %s does not say how it is called:\n%s", cmd.Name(), help)
		}
		if strings.Contains(help, "kubectl http") || strings.Contains(help, "--kubeconfig") {
			t.Errorf("the help of %s has what does not belong there:\n%s", cmd.Name(), help)
		}
		if cmd.GroupID != "" && !strings.Contains(help, "Examples:") {
			t.Errorf("%s has no example", cmd.Name())
		}
	}
}

func discardStreams() genericiooptions.IOStreams { return genericiooptions.NewTestIOStreamsDiscard() }

func noonNow() time.Time { return noon }
