package plugin

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func TestExportPrintsWhatSomebodyWouldHaveWritten(t *testing.T) {
	const want = `apiVersion: apps.http.keda.sh/v1alpha1
kind: HTTPApp
metadata:
  labels:
    team: web
  name: hello
spec:
  port: 8080
  scaling:
    maxReplicas: 5
  template:
    spec:
      containers:
      - env:
        - name: A
          value: "1"
        - name: B
          value: "2"
        image: example.com/hello:1
        name: app
        ports:
        - containerPort: 8080
          name: http
        readinessProbe:
          httpGet:
            path: /healthz
            port: 8080
          periodSeconds: 1
`
	p := newPlugin(t, hello())
	if got := p.does("export", "hello"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestExportKeepsTheRoutesThatSomebodyWrote(t *testing.T) {
	app := hello()
	app.ManagedFields[0].FieldsV1 = metav1.NewFieldsV1(`{"f:spec":{"f:routes":{}}}`)
	p := newPlugin(t, app)
	if got := p.does("export", "hello"); !strings.Contains(got, "  routes:\n") {
		t.Errorf("the route that was applied is not exported:\n%s", got)
	}
	app = hello()
	app.Spec.Routes = append(app.Spec.Routes, v1alpha1.Route{Hosts: []string{"hello.shop.example.com"}, PathPrefix: "/robots.txt", Static: &v1alpha1.StaticResponse{}})
	if hostsAreDefault(app) {
		t.Error("a route with a fixed response is taken for a default")
	}
}

// What a ReplicaSet remembers has all defaults in it, as a rollback puts them into the app.
func TestExportAfterARollbackPrintsNoMoreThanBefore(t *testing.T) {
	before := newPlugin(t, hello()).does("export", "hello")
	app := hello()
	container := &app.Spec.Template.Spec.Containers[0]
	container.TerminationMessagePath, container.TerminationMessagePolicy, container.ImagePullPolicy = "/dev/termination-log", "File", "IfNotPresent"
	probe := container.ReadinessProbe
	probe.TimeoutSeconds, probe.SuccessThreshold, probe.FailureThreshold, probe.HTTPGet.Scheme = 1, 1, 3, "HTTP"
	spec := &app.Spec.Template.Spec
	spec.RestartPolicy, spec.DNSPolicy, spec.SchedulerName = "Always", "ClusterFirst", "default-scheduler"
	spec.TerminationGracePeriodSeconds, spec.SecurityContext = ptr.To[int64](30), &corev1.PodSecurityContext{}
	if after := newPlugin(t, app).does("export", "hello"); after != before {
		t.Errorf("it prints\n%s\nnot\n%s", after, before)
	}

	// What is otherwise than by default was written by somebody.
	spec.ServiceAccountName, spec.DeprecatedServiceAccount, spec.DNSPolicy = "robot", "robot", "Default"
	container.Image, probe.FailureThreshold = "example.com:5000/hello", 1
	container.Env = append(container.Env, corev1.EnvVar{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}})
	spec.Volumes = []corev1.Volume{
		{Name: "a", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "c"}, DefaultMode: ptr.To[int32](0o644)}}},
		{Name: "b", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: ptr.To[int32](0o400)}}},
		{Name: "c", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	const want = `  template:
    spec:
      containers:
      - env:
        - name: A
          value: "1"
        - name: B
          value: "2"
        - name: POD
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        image: example.com:5000/hello
        imagePullPolicy: IfNotPresent
        name: app
        ports:
        - containerPort: 8080
          name: http
        readinessProbe:
          failureThreshold: 1
          httpGet:
            path: /healthz
            port: 8080
          periodSeconds: 1
      dnsPolicy: Default
      serviceAccountName: robot
      volumes:
      - configMap:
          name: c
        name: a
      - name: b
        secret:
          defaultMode: 256
          secretName: s
      - name: c
`
	if got := newPlugin(t, app).does("export", "hello"); !strings.HasSuffix(got, want) {
		t.Errorf("it prints\n%s\nnot\n%s", got, want)
	}
}
