package plugin

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
