package workload

import (
	"reflect"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestADeploymentIsTheSameHoweverOftenItIsSlimmed(t *testing.T) {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u", Generation: 1, Annotations: map[string]string{"digest": "a user's"}},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "app", Image: "web:1"}},
		}}},
	}
	once := slim(d)
	if digest := DigestOf(once); digest != Digest(d) {
		t.Errorf("the digest is %q, not %q", digest, Digest(d))
	}
	if twice := slim(once); !reflect.DeepEqual(twice, once) {
		t.Errorf("it is %+v, and then %+v", once, twice)
	}
}
