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
	"k8s.io/utils/ptr"

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

// adopter is the app hello, with the pods of somebody else's workload.
func adopter(apiVersion, kind string) *v1alpha1.HTTPApp {
	app := hello()
	app.Spec.Template = nil
	app.Spec.WorkloadRef = &v1alpha1.WorkloadReference{APIVersion: apiVersion, Kind: kind, Name: "lent"}
	return app
}

// revisedSet is a StatefulSet with three revisions, at the last.
func revisedSet() []runtime.Object {
	labels := map[string]string{"app": "lent"}
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "lent", Namespace: "shop", UID: "s-1"},
		Spec:       appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Replicas: ptr.To(int32(2))},
		Status:     appsv1.StatefulSetStatus{UpdateRevision: "lent-3"},
	}
	set.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: "example.com/lent:3"}}
	objects := []runtime.Object{set}
	for n := 1; n <= 3; n++ {
		objects = append(objects, &appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{
				Name: "lent-" + strconv.Itoa(n), Namespace: "shop", Labels: labels, CreationTimestamp: metav1.NewTime(noon.Add(time.Duration(10*n-35) * time.Minute)),
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))},
			},
			Revision: int64(n),
			Data:     runtime.RawExtension{Raw: []byte(`{"spec":{"template":{"$patch":"replace","spec":{"containers":[{"name":"app","image":"example.com/lent:` + strconv.Itoa(n) + `"}]}}}}`)},
		})
	}
	others := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "others", Namespace: "shop", Labels: labels}, Revision: 9}
	return append(objects, others)
}

func TestAnAdoptedStatefulSetHasItsRevisionsAndGoesBackToThem(t *testing.T) {
	p := newPlugin(t, append(revisedSet(), adopter("apps/v1", "StatefulSet"))...)
	const want = `REVISION      IMAGE                AGE   CHANGE-CAUSE
1             example.com/lent:1   25m   
2             example.com/lent:2   15m   
3 (current)   example.com/lent:3   5m    
`
	if out := p.does("history", "hello"); out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	image := func() string {
		set, err := p.kubernetes.AppsV1().StatefulSets("shop").Get(t.Context(), "lent", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return set.Spec.Template.Spec.Containers[0].Image
	}
	if out := p.does("rollback", "hello", "--dry-run=client", "-o", "yaml"); !strings.Contains(out, "kind: StatefulSet\n") || !strings.Contains(out, "image: example.com/lent:2\n") || image() != "example.com/lent:3" {
		t.Errorf("in a dry run, with %s in the cluster, it is\n%s", image(), out)
	}
	if out := p.does("rollback", "hello", "1"); out != "statefulset.apps/lent rolled back\n" || image() != "example.com/lent:1" {
		t.Errorf("it says %q and makes %s", out, image())
	}
	if _, err := p.call("rollback", "hello", "7"); err == nil || !strings.Contains(err.Error(), "there is no revision 7") {
		t.Errorf("a revision that there is none of: %v", err)
	}
}

func TestAnAdoptedDeploymentGoesBackItself(t *testing.T) {
	objects := revised(3)
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.Deployment:
			o.Name = "lent"
		case *appsv1.ReplicaSet:
			o.OwnerReferences[0].Name = "lent"
			o.Spec.Replicas = ptr.To(int32(0)) // as in a cluster
		}
	}
	p := newPlugin(t, append(objects, adopter("apps/v1", "Deployment"))...)
	if out := p.does("rollback", "hello"); out != "deployment.apps/lent rolled back\n" {
		t.Errorf("it says %q", out)
	}
	d, err := p.kubernetes.AppsV1().Deployments("shop").Get(t.Context(), "lent", metav1.GetOptions{})
	if err != nil || d.Spec.Template.Spec.Containers[0].Image != "example.com/hello:2" {
		t.Errorf("the Deployment is %v (%v)", d, err)
	}
	if p.patch() != "" {
		t.Errorf("the app is changed, too: %s", p.patch())
	}
}

func TestOfKindsWithoutRevisionsIsSaidThatThereAreNone(t *testing.T) {
	p := newPlugin(t, adopter("argoproj.io/v1alpha1", "Rollout"))
	for _, command := range []string{"history", "rollback"} {
		if _, err := p.call(command, "hello"); err == nil || !strings.Contains(err.Error(), "adopted the Rollout lent of argoproj.io/v1alpha1; only of Deployments and StatefulSets") {
			t.Errorf("%s: %v", command, err)
		}
	}
}
