package reconcile

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// The Deployment as the informer shows it is compared with the answer to the apply.
func TestADeploymentIsTheSameWhenItIsScaledAndAnotherWhenItsTemplateChanges(t *testing.T) {
	d := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u", Generation: 1, Annotations: map[string]string{"digest": "a user's"}},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](0), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app", Image: "web:1", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}},
		}}}}},
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(d)
	if err != nil {
		t.Fatal(err)
	}
	applied := versionOf(&unstructured.Unstructured{Object: content})
	shown := func(change func(*appsv1.Deployment)) string {
		d := d.DeepCopy()
		d.Generation++
		change(d)
		informer, err := workload.NewDeploymentInformer(fake.NewClientset(d))
		if err != nil {
			t.Fatal(err)
		}
		go informer.RunWithContext(t.Context())
		<-informer.HasSyncedChecker().Done()
		obj, there, err := informer.GetStore().GetByKey("shop/web")
		if err != nil || !there {
			t.Fatalf("the informer does not know it: %v", err)
		}
		return versionOf(obj.(metav1.Object))
	}
	if v := shown(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](3) }); v != applied {
		t.Errorf("scaled, it is %s instead of %s", v, applied)
	}
	if v := shown(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" }); v == applied {
		t.Error("with another image it is the same")
	}
}
