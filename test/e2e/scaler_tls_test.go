//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets/secretstest"
)

// mutual is a ScaledObject by a scaler that wants a certificate, and the TriggerAuthentication that has what KEDA needs for it.
const mutual = `
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {name: %[1]s}
spec:
  secretTargetRef:
  - {parameter: caCert, name: scaler, key: ca.crt}
%[3]s
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: %[1]s}
spec:
  scaleTargetRef: {name: %[1]s}
  minReplicaCount: 0
  maxReplicaCount: 4
  pollingInterval: 2
  cooldownPeriod: 3
  triggers:
  - type: external-push
    metadata: {scalerAddress: "%[2]s:9090", httpApp: %[1]s, enableTLS: "true", target: "2"}
    authenticationRef: {name: %[1]s}
`

const clientCertificate = `
  - {parameter: tlsClientCert, name: scaler, key: tls.crt}
  - {parameter: tlsClientKey, name: scaler, key: tls.key}`

// KEDA speaks to a scaler that has an authority for its clients, and does not without a certificate.
func TestKEDAScalesByAScalerThatWantsItsCertificate(t *testing.T) {
	u, o := newUser(t), operator(t)
	scaler := newMutualScaler(u, o)
	for _, app := range []string{"known", "stranger"} {
		u.apply(manifest(app, container, "  scaling: {autoscaler: None, maxReplicas: 4, target: 2}"))
		u.routed(app)
	}
	u.apply(fmt.Sprintf(mutual, "known", scaler, clientCertificate))
	u.apply(fmt.Sprintf(mutual, "stranger", scaler, ""))
	u.kubectl("wait", "--for=condition=Ready", "scaledobject/known", "--timeout=2m")
	u.eventually(later, "KEDA refused without a certificate", func() error {
		return u.field("scaledobject/stranger", `{.status.conditions[?(@.type=="Ready")].status}`, "False")
	})
	if out := u.kubectl("get", "hpa", "-o", "name"); strings.TrimSpace(out) != "horizontalpodautoscaler.autoscaling/keda-hpa-known" {
		t.Errorf("the HPAs are\n%s", out)
	}

	stop := u.load("known", 6, "/?delay=500ms")
	u.eventually(later, "as many replicas as the requests call for", func() error {
		return u.field("hpa/keda-hpa-known", "{.status.desiredReplicas}", "3")
	})
	stop()
	u.waitReplicas("known", 0, later)
}

// newMutualScaler starts a scaler beside the one that is there, with its own certificate and with an authority for its clients, whose
// certificate is in the user's Secret scaler. It returns the scaler's address.
func newMutualScaler(u, o user) string {
	u.Helper()
	name := "scaler-" + u.namespace
	address := name + "." + systemNamespace + ".svc"
	servers, clients := secretstest.NewAuthority(u.T), secretstest.NewAuthority(u.T)
	apply := func(by user, object runtime.Object) {
		text, err := json.Marshal(object)
		if err != nil {
			u.Fatal(err)
		}
		by.apply(string(text), "--server-side")
	}
	secret := func(secret *corev1.Secret, authority *secretstest.Authority) *corev1.Secret {
		secret.APIVersion, secret.Kind = "v1", "Secret"
		secret.Type = corev1.SecretTypeOpaque
		secret.Data["ca.crt"] = authority.PEM()
		return secret
	}
	apply(o, secret(servers.Secret(systemNamespace, name, address), clients))
	apply(u, secret(clients.Secret(u.namespace, "scaler", "keda"), servers))

	var there appsv1.Deployment
	if err := json.Unmarshal([]byte(o.kubectl("get", "deployment", "kedahttp-scaler", "-o", "json")), &there); err != nil {
		u.Fatal(err)
	}
	labels := map[string]string{"e2e": name}
	d := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: there.Spec.Template},
	}
	d.Spec.Template.Labels = labels
	pod := &d.Spec.Template.Spec
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "keda", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}})
	c := &pod.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "keda", MountPath: "/keda", ReadOnly: true})
	c.Args = append(c.Args, "--keda-tls-cert=/keda/tls.crt", "--keda-tls-key=/keda/tls.key", "--keda-tls-client-ca=/keda/ca.crt")
	apply(o, d)
	apply(o, &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 9090}}},
	})
	u.Cleanup(func() { o.kubectl("delete", "deployment,service,secret", name) })
	o.kubectl("rollout", "status", "deployment/"+name, "--timeout=2m")
	return address
}
