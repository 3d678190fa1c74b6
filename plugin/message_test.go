package plugin

import (
	"errors"
	"net"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Each says what is wrong, with what, and what to type next.
func TestWhatIsWrongComesWithWhatToTypeNext(t *testing.T) {
	taken := hello()
	taken.Name = "taken"
	taken.Status.URL = "http://hello.example.com:8080"
	taken.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionRoutesAccepted, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonHostConflict,
		Message: "hello.example.com/ belongs to the older app shop/hello: choose another host",
	}}
	lost := hello()
	lost.Name = "lost"
	lost.Spec.Template, lost.Spec.WorkloadRef = nil, &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "old"}
	const (
		conflict = "requests do not come to app taken: hello.example.com/ belongs to the older app shop/hello: choose another host\nGive it another: kubectl http set host -n shop taken HOST"
		gone     = "the Deployment old that app lost adopted is gone\nMake it again, or delete the app: kubectl http delete -n shop lost"
	)
	for command, want := range map[string]string{
		"curl taken":              conflict,
		"url taken":               conflict,
		"open taken":              conflict,
		"port-forward taken":      conflict,
		"load taken":              conflict,
		"history lost":            gone,
		"rollback lost":           gone,
		"restart lost":            gone,
		"logs lost":               gone,
		"wake lost":               gone,
		"scale lost 1":            gone,
		"deploy hello --idle 5":   `--idle is "5": say of what, such as 5s, 5m or 5h; see kubectl http deploy --help`,
		"deploy hello --idle 5x":  `--idle is "5x"; a duration is written as 90s, 5m or 1h30m; see kubectl http deploy --help`,
		"wake hello --for 2":      `--for is "2": say of what, such as 2s, 2m or 2h; see kubectl http wake --help`,
		"set timeout hello 30":    `--timeout is "30": say of what, such as 30s, 30m or 30h`,
		"scale hello 3..5":        `"3..5" is no number of replicas; what there may be of them is said by --min and --max`,
		"scale hello --min three": `invalid argument "three" for "--min" flag: strconv.ParseInt: parsing "three": invalid syntax; see kubectl http scale --help`,
	} {
		p := newPlugin(t, hello(), taken, lost)
		p.apps.PrependReactor("get", resource, func(action clienttesting.Action) (bool, runtime.Object, error) {
			if get := action.(clienttesting.GetAction); get.GetSubresource() == "scale" && get.GetName() == "lost" {
				return true, nil, apierrors.NewNotFound(v1alpha1.Resource("deployments"), "old")
			}
			return false, nil, nil
		})
		_, err := p.call(strings.Fields(command)...)
		if err == nil || err.Error() != want {
			t.Errorf("%s says\n%v\nnot\n%s", command, err, want)
		}
	}
}

func TestWhatIsLikeThatAlreadyIsUnchanged(t *testing.T) {
	p := newPlugin(t, hello())
	for _, step := range []struct{ command, want string }{
		{"pause hello", "paused"}, {"pause hello", "unchanged"}, {"resume hello", "resumed"}, {"resume hello", "unchanged"},
		{"set image hello example.com/hello:9", "changed"}, {"set image hello example.com/hello:9", "unchanged"},
		{"scale hello --max 7", "scaled"}, {"scale hello --max 7", "unchanged"},
	} {
		if out := p.does(strings.Fields(step.command)...); out != "httpapp.apps.http.keda.sh/hello "+step.want+"\n" {
			t.Errorf("%s says %s", step.command, out)
		}
	}
}

func TestALogBeforeACrashThatWasNotSaysWhereTheOtherIs(t *testing.T) {
	err := apierrors.NewBadRequest(`previous terminated container "app" in pod "hello-1" not found`)
	if !isNoPrevious(err) || !isNoPrevious(errors.Join(err)) || isNoPrevious(apierrors.NewBadRequest("something else")) {
		t.Error("it is not told from other errors")
	}
}

// In a cluster of thousands of apps, how one is does not depend on the others: whatever is listed is of the app, by its name, its uid or its
// label.
func TestStatusOfAnAppAsksForNoOther(t *testing.T) {
	app := hello()
	app.UID = "u-1"
	app.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionWorkloadReady, Status: metav1.ConditionFalse, Reason: "Crashing"}}
	p := newPlugin(t, app)
	if _, err := p.call("status", "hello"); ExitCode(err) != ExitFailed {
		t.Fatal(err)
	}
	var asked []string
	for _, a := range append(p.apps.Actions(), p.kubernetes.Actions()...) {
		call := a.GetVerb() + " " + a.GetResource().Resource
		switch a := a.(type) {
		case clienttesting.GetAction:
			call += " " + a.GetName()
		case clienttesting.ListAction:
			of := a.GetListRestrictions()
			call += " " + of.Labels.String() + of.Fields.String()
		}
		asked = append(asked, call)
	}
	const want = "get httpapps hello, list events involvedObject.uid=u-1, list pods " + v1alpha1.AppLabel + "=hello"
	if got := strings.Join(asked, ", "); got != want {
		t.Errorf("it asks for\n%s\nnot\n%s", got, want)
	}
}

func TestAPortThatIsTakenSaysHowToGetAnother(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nothing was sent
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if _, err := newPlugin(t, hello()).call("port-forward", "hello", port); err == nil || !strings.Contains(err.Error(), "Choose another LOCAL_PORT") {
		t.Errorf("it says %v", err)
	}
}
