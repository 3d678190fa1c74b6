package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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

func TestNamesAreCompleted(t *testing.T) {
	other := hello()
	other.Name = "other"
	p := newPlugin(t, hello(), other)
	for words, want := range map[string]string{
		"__complete status h":                  "hello\n:4\n",
		"__complete status hello ":             ":4\n",
		"__complete delete hello ":             "hello\nother\n:4\n",
		"__complete deploy x --dry-run=cl":     "none\nserver\nclient\n:4\n",
		"__complete history hello --output js": "json\nyaml\n:4\n",
	} {
		out, err := p.complete(strings.Split(words, " ")...)
		if err != nil || !strings.HasPrefix(out, want) {
			t.Errorf("%s: %q (%v), not %q", words, out, err, want)
		}
	}
}
