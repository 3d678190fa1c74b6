//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// kind is as much of another system as its objects need for being there.
const kind = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[2]s.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {kind: %[3]s, plural: %[2]s, shortNames: [%[4]s]}
  versions:
  - name: %[5]s
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// knows lets the cluster know a kind of another system while the test runs.
func (u user) knows(group, plural, name, short, version string) {
	u.Helper()
	u.apply(fmt.Sprintf(kind, group, plural, name, short, version))
	u.Cleanup(func() { u.kubectl("delete", "crd", plural+"."+group) })
	u.kubectl("wait", "--for=condition=Established", "crd/"+plural+"."+group, "--timeout=2m")
	u.eventually(soon, "the kind "+name+" in discovery", func() error {
		_, err := u.try("", "get", plural+"."+group)
		return err
	})
}

// imported is what the plugin makes of an object.
func (u user) imported(object string) (made string) {
	u.Helper()
	u.eventually(soon, "the object read", func() (err error) { // discovery is behind for a moment
		made, err = u.try("", "http", "import", object)
		return err
	})
	return made
}

// wakes asks an imported app at zero.
func (u user) wakes(app, url string) {
	u.Helper()
	u.routed(app)
	res, err := client.Get(url)
	if err != nil {
		u.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Header.Get("X-KedaHTTP-Cold-Start") == "" {
		u.Errorf("the imported app answers %s with %v", res.Status, res.Header)
	}
}

// sleeping is a Deployment at zero, with its Service, that another system scales.
func (u user) sleeping(name string) {
	u.Helper()
	u.kubectl("create", "deployment", name, "--image=kedahttp/test-echo:dev", "--port=8080", "--replicas=0")
	u.kubectl("patch", "deployment", name, "--patch", `{"spec":{"template":{"spec":{"containers":[{"name":"test-echo","imagePullPolicy":"Never"}]}}}}`)
	u.kubectl("expose", "deployment", name, "--port=80", "--target-port=8080")
}

func TestAnAppOfTheAddOnIsImportedAndServes(t *testing.T) {
	u := newUser(t)
	u.eventually(soon, "nothing to import without the add-on", func() error { // others' kinds come and go
		if _, err := u.try("", "http", "import", "--all"); err == nil || !strings.Contains(err.Error(), "there is nothing to import") {
			return fmt.Errorf("it says %v", err)
		}
		return nil
	})
	u.knows("http.keda.sh", "httpscaledobjects", "HTTPScaledObject", "httpso", "v1alpha1")
	u.sleeping("old")
	u.apply(`
apiVersion: http.keda.sh/v1alpha1
kind: HTTPScaledObject
metadata: {name: old}
spec:
  hosts: [` + u.host("old") + `]
  scaleTargetRef: {name: old, kind: Deployment, apiVersion: apps/v1, service: old, port: 80}
  replicas: {min: 0, max: 3}
  initialCooldownPeriod: 3
`)
	made := u.imported("httpso/old")
	u.says(made, "# From HTTPScaledObject "+u.namespace+"/old.", "# - not translated: spec.initialCooldownPeriod", "delete the HTTPScaledObject", "maxReplicas: 3")
	u.kubectl("delete", "httpscaledobject", "old")
	u.apply(made)
	u.wakes("old", "http://"+u.host("old")+"/")
}

func TestARouteOfTheAddOnIsImportedWithItsScaledObjectAndServes(t *testing.T) {
	u := newUser(t)
	u.knows("http.keda.sh", "interceptorroutes", "InterceptorRoute", "ir", "v1beta1")
	u.sleeping("api")
	u.apply(`
apiVersion: http.keda.sh/v1beta1
kind: InterceptorRoute
metadata: {name: api}
spec:
  target: {service: api, port: 80}
  rules: [{hosts: [` + u.host("api") + `], paths: [{value: /v1}]}]
  scalingMetric: {concurrency: {targetValue: 20}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: api}
spec:
  scaleTargetRef: {name: api}
  minReplicaCount: 0
  maxReplicaCount: 4
  triggers: [{type: external-push, metadata: {scalerAddress: "add-on.invalid:9090", interceptorRoute: api}}]
`)
	made := u.imported("interceptorroute/api")
	u.says(made, "# From InterceptorRoute "+u.namespace+"/api.", "name: api", "maxReplicas: 4", "target: \"20\"", "/v1")
	u.kubectl("delete", "interceptorroute,scaledobject", "api")
	u.apply(made)
	u.wakes("api", "http://"+u.host("api")+"/v1")
}

func TestAServiceOfKnativeIsImportedAndServes(t *testing.T) {
	u := newUser(t)
	u.knows("serving.knative.dev", "services", "Service", "ksvc", "v1")
	u.apply(`
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/max-scale: "4", autoscaling.knative.dev/target: "50"}}
    spec:
      containerConcurrency: 10
      containers: [{image: "kedahttp/test-echo:dev", imagePullPolicy: Never, ports: [{containerPort: 8080}]}]
`)
	made := u.imported("ksvc/hello")
	u.says(made, "# From Service "+u.namespace+"/hello.", "image: kedahttp/test-echo:dev", "maxReplicas: 4", "concurrencyLimit: 10")
	u.kubectl("delete", "services.serving.knative.dev", "hello")
	u.apply(made)
	u.wakes("hello", "http://"+u.host("hello")+"/")
}
