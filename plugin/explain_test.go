package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func TestErrorsSayWhatToDoNext(t *testing.T) {
	refused := &url.Error{Op: "Get", URL: "https://10.0.0.1:6443/api", Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}
	forbidden := apierrors.NewForbidden(v1alpha1.Resource("httpapps"), "hello",
		errors.New(`User "jo" cannot patch resource "httpapps" in API group "apps.http.keda.sh" in the namespace "shop"`))
	notServed := &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonNotFound, Code: 404, Message: "the server could not find the requested resource"}}
	for name, c := range map[string]struct {
		err  error
		want string
		code int
	}{
		"no cluster":       {refused, "the cluster does not answer at https://10.0.0.1:6443: dial: connection refused\nWhich one is meant: kubectl config current-context", ExitFailed},
		"no configuration": {clientcmd.ErrEmptyConfig, "kubectl config get-contexts", ExitFailed},
		"not installed":    {notServed, "Install it: kubectl http install --help", ExitFailed},
		"not listed":       {errors.New(`the server doesn't have a resource type "httpapps"`), "Install it: kubectl http install --help", ExitFailed},
		"API server away":  {apierrors.NewServiceUnavailable("no endpoints"), "What is wrong with it: kubectl http doctor", ExitFailed},
		"no right":         {forbidden, "The right to patch httpapps.apps.http.keda.sh is missing; who may administer the namespace can give it, with the role edit or view. Check: kubectl auth can-i patch httpapps.apps.http.keda.sh -n shop", ExitFailed},
		"collected":        {utilerrors.NewAggregate([]error{forbidden}), "Check: kubectl auth can-i patch httpapps.apps.http.keda.sh -n shop", ExitFailed},
		"not logged in":    {apierrors.NewUnauthorized("no"), "log in again", ExitFailed},
		"too late":         {fmt.Errorf("waiting: %w", context.DeadlineExceeded), "waiting", ExitTimeout},
		"wrong usage":      {usageError(errors.New("no")), "no", ExitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlugin(t, hello())
			p.apps.PrependReactor("get", "httpapps", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, c.err })
			_, err := p.call("url", "hello")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it says\n%v\nwithout\n%s", err, c.want)
			}
			if got := ExitCode(err); got != c.code {
				t.Errorf("the exit code is %d, not %d", got, c.code)
			}
		})
	}
}

func TestAnAppThatIsNotThereBringsUpThoseThatMayBeMeant(t *testing.T) {
	_, err := newPlugin(t, hello()).call("status", "helo")
	const want = "there is no app helo in namespace shop; did you mean hello?\nAll apps of the namespace: kubectl http list -n shop"
	if err == nil || err.Error() != want {
		t.Errorf("it says\n%v\nnot\n%s", err, want)
	}
}

func TestAContextThatThereIsNotIsNoWrongUsage(t *testing.T) {
	for _, command := range []string{"list", "status hello"} {
		_, err := call(t, append(strings.Fields(command), "--context=none")...)
		if ExitCode(err) != ExitFailed || !strings.Contains(err.Error(), "kubectl config get-contexts") {
			t.Errorf("%s: %v", command, err)
		}
	}
}

func TestOfAnAppWithoutItsWorkloadIsNotSaidThatItIsNotThere(t *testing.T) {
	p := newPlugin(t, hello())
	p.apps.PrependReactor("get", "httpapps", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return action.GetSubresource() == "scale", nil, apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: "deployments"}, "old")
	})
	if _, err := p.call("scale", "hello", "2"); err == nil || !strings.Contains(err.Error(), `deployments.apps "old" not found`) {
		t.Errorf("it says %v", err)
	}
}

func TestLogsOfAContainerThatThereIsNotSayWhichThereAre(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "hello-1", Namespace: "shop", Labels: map[string]string{v1alpha1.AppLabel: "hello"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}, {Name: "other"}}},
	}
	if _, err := newPlugin(t, hello(), pod).call("logs", "hello", "-c", "none"); err == nil || err.Error() != "its pods have no container none; there is: app, other" {
		t.Errorf("it says %v", err)
	}
}

func TestTheURLIsAValueForOtherPrograms(t *testing.T) {
	p := newPlugin(t, hello())
	for output, want := range map[string]string{"": "http://hello.shop.example.com\n", "json": "{\n  \"url\": \"http://hello.shop.example.com\"\n}\n", "yaml": "url: http://hello.shop.example.com\n"} {
		if got := p.does("url", "hello", "--output="+output); got != want {
			t.Errorf("-o %q prints %q, not %q", output, got, want)
		}
	}
}

func TestSeveralAppsAreSeparated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "two.yaml")
	const app = "apiVersion: apps.http.keda.sh/v1alpha1\nkind: HTTPApp\nmetadata: {name: %s}\nspec: {template: {spec: {containers: [{name: app, image: i}]}}}\n---\n"
	if err := os.WriteFile(file, fmt.Appendf(nil, app+app, "a", "b"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := call(t, "deploy", "-f", file, "--dry-run=client", "-o", "yaml")
	if err != nil || strings.Count(out, "---\n") != 1 {
		t.Errorf("it prints (%v)\n%s", err, out)
	}
}

func TestWhatIsDeletedIsPrintedInNoOtherWay(t *testing.T) {
	p := newPlugin(t, hello())
	if _, err := p.call("delete", "hello", "--keep-workload", "-o", "wide"); ExitCode(err) != ExitUsage {
		t.Errorf("-o yaml: %v", err)
	}
}

func TestWhatIsNotThereIsNamedWithWhatToDoNext(t *testing.T) {
	s := &session{calledAs: "kubectl http"}
	for want, err := range map[string]error{
		"Make it: kubectl create namespace nowhere. ": apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "nowhere"),
		"All apps: kubectl http list -A":              utilerrors.NewAggregate([]error{apierrors.NewNotFound(v1alpha1.Resource("httpapps"), "hello")}),
	} {
		if got := s.explain(err); !strings.Contains(got.Error(), want) {
			t.Errorf("it says\n%v\nwithout\n%s", got, want)
		}
	}
}
