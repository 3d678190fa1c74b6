package plugin

import (
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// revised is a Deployment of the app hello with as many revisions.
func revised(revisions int) []runtime.Object {
	labels := map[string]string{v1alpha1.AppLabel: "hello"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "hello", Namespace: "shop", UID: "d-1", Annotations: map[string]string{"deployment.kubernetes.io/revision": strconv.Itoa(revisions)}},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}},
	}
	objects := []runtime.Object{deployment}
	for n := 1; n <= revisions; n++ {
		set := &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{
				Name: "hello-" + strconv.Itoa(n), Namespace: "shop", Labels: labels, CreationTimestamp: metav1.NewTime(noon.Add(-time.Duration(10*(revisions-n)+5) * time.Minute)),
				Annotations:     map[string]string{"deployment.kubernetes.io/revision": strconv.Itoa(n)},
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(deployment, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
			},
		}
		set.Spec.Template.Labels = map[string]string{v1alpha1.AppLabel: "hello", "pod-template-hash": "x", "tier": "front"}
		set.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: "example.com/hello:" + strconv.Itoa(n)}}
		if n == 2 {
			set.Spec.Template.Annotations = map[string]string{restartedAt: "2026-07-01T11:45:00Z"}
		}
		objects = append(objects, set)
	}
	return objects
}

func TestHistoryListsTheRevisionsThatTheDeploymentRemembers(t *testing.T) {
	p := newPlugin(t, append(revised(3), hello())...)
	const want = `REVISION      IMAGE                 AGE   CHANGE-CAUSE
1             example.com/hello:1   25m   
2             example.com/hello:2   15m   restarted at 2026-07-01 11:45:00
3 (current)   example.com/hello:3   5m    
`
	if out := p.does("history", "hello"); out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	if out := p.does("history", "hello", "-o", "json"); !strings.Contains(out, `"revision": 3`) || strings.Contains(out, "pod-template-hash") {
		t.Errorf("as JSON it is\n%s", out)
	}
}

func TestARollbackTakesThePodsOfTheRevisionAndNothingElse(t *testing.T) {
	for command, image := range map[string]string{"rollback hello": "example.com/hello:2", "rollback hello 1": "example.com/hello:1"} {
		p := newPlugin(t, append(revised(3), hello())...)
		out := p.does(append(strings.Fields(command), "-o", "yaml")...)
		if !strings.Contains(out, "image: "+image+"\n") || !strings.Contains(out, "tier: front") || strings.Contains(out, "pod-template-hash") {
			t.Errorf("%s makes\n%s", command, out)
		}
		if !strings.Contains(out, "maxReplicas: 5") {
			t.Errorf("%s changes how the app is scaled:\n%s", command, out)
		}
	}
	for command, want := range map[string]string{"rollback hello 3": "revision 3 is the current one", "rollback hello 9": "there is no revision 9"} {
		p := newPlugin(t, append(revised(3), hello())...)
		if _, err := p.call(strings.Fields(command)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", command, err)
		}
	}
	p := newPlugin(t, append(revised(1), hello())...)
	if _, err := p.call("rollback", "hello"); err == nil || !strings.Contains(err.Error(), "no revision before") {
		t.Errorf("a first revision: %v", err)
	}
}
