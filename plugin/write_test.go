package plugin

import (
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// hello is an app as the server keeps it.
func hello() *v1alpha1.HTTPApp {
	app := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{
			Name: "hello", Namespace: "shop", UID: "u-1", ResourceVersion: "7", Generation: 3, Labels: map[string]string{"team": "web"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: fieldManager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:port":{}}}`)}},
		},
		Spec: v1alpha1.HTTPAppSpec{
			Template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "app", Image: "example.com/hello:1", Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
				Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}},
			}}}},
			Port:    ptr.To(intstr.FromInt32(8080)),
			Routes:  []v1alpha1.Route{{Hosts: []string{"hello.shop.example.com"}, PathPrefix: "/"}},
			Scaling: v1alpha1.Scaling{MaxReplicas: ptr.To[int32](5)},
		},
		Status: v1alpha1.HTTPAppStatus{ObservedGeneration: 3, URL: "http://hello.shop.example.com"},
	}
	v1alpha1.SetObjectDefaults_HTTPApp(app)
	return app
}

// patch is the last patch that was sent.
func (p *plugin) patch() string {
	p.Helper()
	for _, action := range p.apps.Actions() {
		if patch, ok := action.(clienttesting.PatchAction); ok {
			return string(patch.GetPatch())
		}
	}
	return ""
}

func TestWhatIsWrittenIsWhatWasSaidAndBoundToTheVersionThatWasSeen(t *testing.T) {
	const bound = `"metadata":{"resourceVersion":"7","uid":"u-1"}`
	for command, want := range map[string]string{
		"scale hello --min 1 --max 7":                `{` + bound + `,"spec":{"scaling":{"maxReplicas":7,"minReplicas":1}}}`,
		"scale hello --concurrency 5":                `{` + bound + `,"spec":{"scaling":{"target":"5"}}}`,
		"pause hello":                                `{` + bound + `,"spec":{"scaling":{"paused":true}}}`,
		"resume hello":                               ``,
		"set timeout hello 30s":                      `{` + bound + `,"spec":{"timeouts":{"request":"30s"}}}`,
		"set image hello example.com/hello:2":        `{` + bound + `,"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"app"}],"containers":[{"image":"example.com/hello:2","name":"app"}]}}}}`,
		"set env hello B- C=3":                       `{` + bound + `,"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"app"}],"containers":[{"$setElementOrder/env":[{"name":"A"},{"name":"C"}],"env":[{"name":"C","value":"3"},{"$patch":"delete","name":"B"}],"name":"app"}]}}}}`,
		"set host hello a.test b.test":               `{` + bound + `,"spec":{"routes":[{"hosts":["a.test","b.test"],"pathPrefix":"/"}]}}`,
		"set resources hello --memory 64Mi":          `{` + bound + `,"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"app"}],"containers":[{"name":"app","resources":{"limits":{"memory":"64Mi"},"requests":{"memory":"64Mi"}}}]}}}}`,
		"restart hello":                              `{` + bound + `,"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-07-01T12:00:00Z"}}}}}`,
		"deploy hello --idle 90s --no-wait":          `{` + bound + `,"spec":{"scaling":{"cooldown":"1m30s"}}}`,
		"deploy hello --rps 9 --no-wait":             `{` + bound + `,"spec":{"scaling":{"metric":"requestRate","target":"9"}}}`,
		"deploy hello --max-concurrency 4 --no-wait": `{` + bound + `,"spec":{"concurrencyLimit":4}}`,
	} {
		t.Run(command, func(t *testing.T) {
			p := newPlugin(t, hello())
			p.does(strings.Fields(command)...)
			if got := p.patch(); got != want {
				t.Errorf("sent\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestADryRunOfTheClientWritesNothingAndPrintsWhatWouldBe(t *testing.T) {
	for _, command := range []string{"scale hello --max 7", "pause hello", "set image hello i:2", "restart hello", "resume hello"} {
		p := newPlugin(t, hello())
		out := p.does(append(strings.Fields(command), "--dry-run=client", "-o", "yaml")...)
		if got := p.patch(); got != "" {
			t.Errorf("%s sent %s", command, got)
		}
		if !strings.Contains(out, "kind: HTTPApp\n") || !strings.Contains(out, "name: hello\n") || strings.Contains(out, "managedFields") {
			t.Errorf("%s printed\n%s", command, out)
		}
	}
	p := newPlugin(t, hello())
	if out := p.does("pause", "hello", "--dry-run=client"); out != "httpapp.apps.http.keda.sh/hello paused (dry run)\n" {
		t.Errorf("it says %q", out)
	}
	if out := p.does("pause", "hello", "-o", "name"); out != "httpapp.apps.http.keda.sh/hello\n" {
		t.Errorf("it says %q", out)
	}
}

func TestAWriteThatSomebodyGotAheadOfIsDoneAnew(t *testing.T) {
	p := newPlugin(t, hello())
	times := 0
	p.apps.PrependReactor("patch", "httpapps", func(clienttesting.Action) (bool, runtime.Object, error) {
		times++
		if times == 1 {
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "httpapps"}, "hello", errors.New("it changed"))
		}
		return false, nil, nil
	})
	p.does("pause", "hello")
	if times != 2 {
		t.Errorf("it was written %d times", times)
	}
}

func TestMovingThePortTakesTheProbesAlong(t *testing.T) {
	p := newPlugin(t, hello())
	out := p.does("set", "port", "hello", "3000", "--dry-run=client", "-o", "yaml")
	if strings.Contains(out, "8080") || strings.Count(out, "3000") != 3 {
		t.Errorf("it makes\n%s", out)
	}
}

func TestPodsOfAnAdoptedWorkloadAreNotChangedByTheApp(t *testing.T) {
	app := hello()
	app.Spec.Template, app.Spec.WorkloadRef = nil, &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "old"}
	p := newPlugin(t, app, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "old", Namespace: "shop"}})
	if _, err := p.call("set", "image", "hello", "i:2"); ExitCode(err) != ExitUsage || !strings.Contains(err.Error(), "Deployment old") {
		t.Errorf("set image: %v", err)
	}
	if out := p.does("restart", "hello"); out != "deployment.apps/old restarted\n" {
		t.Errorf("restart says %q", out)
	}
}

func TestAHoldIsRememberedAndLeavesNothingBehind(t *testing.T) {
	app := hello()
	if err := (hold{By: "wake", Until: noon}).begin(app); err != nil {
		t.Fatal(err)
	}
	if got := *app.Spec.Scaling.MinReplicas; got != 1 {
		t.Errorf("an app that is kept awake has at least %d replicas", got)
	}
	// Another hold begins from what was before the first.
	if err := (hold{By: "sleep", Until: noon}).begin(app); err != nil {
		t.Fatal(err)
	}
	if !app.Spec.Scaling.Paused || *app.Spec.Scaling.MinReplicas != 0 {
		t.Errorf("an app that is kept asleep is %+v", app.Spec.Scaling)
	}
	release(app)
	if patch, err := difference(hello(), app); err != nil || patch != nil && !strings.Contains(string(patch), `"annotations":{}`) {
		t.Errorf("what is left is %s (%v)", patch, err)
	}
}
