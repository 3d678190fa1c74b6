//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// addOnCRD is as much of the KEDA HTTP add-on as its objects need for being there.
const addOnCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: httpscaledobjects.http.keda.sh}
spec:
  group: http.keda.sh
  scope: Namespaced
  names: {kind: HTTPScaledObject, plural: httpscaledobjects, shortNames: [httpso]}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

func TestAnAppOfTheAddOnIsImportedAndServes(t *testing.T) {
	u := newUser(t)
	if _, err := u.try("", "http", "import", "--all"); err == nil || !strings.Contains(err.Error(), "there is nothing to import") {
		t.Errorf("without the add-on: %v", err)
	}
	u.apply(addOnCRD)
	u.Cleanup(func() { u.kubectl("delete", "crd", "httpscaledobjects.http.keda.sh") })
	u.kubectl("wait", "--for=condition=Established", "crd/httpscaledobjects.http.keda.sh")

	u.kubectl("create", "deployment", "old", "--image=kedahttp/test-echo:dev", "--port=8080", "--replicas=0")
	u.kubectl("patch", "deployment", "old", "--patch", `{"spec":{"template":{"spec":{"containers":[{"name":"test-echo","imagePullPolicy":"Never"}]}}}}`)
	u.kubectl("expose", "deployment", "old", "--port=80", "--target-port=8080")
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
	var made string
	u.eventually(soon, "the object read", func() (err error) { // discovery is behind for a moment
		made, err = u.try("", "http", "import", "httpso/old")
		return err
	})
	u.says(made, "# From HTTPScaledObject "+u.namespace+"/old.", "# - not translated: spec.initialCooldownPeriod", "delete the HTTPScaledObject", "maxReplicas: 3")
	u.kubectl("delete", "httpscaledobject", "old")
	u.apply(made)
	u.routed("old")
	u.kubectl("wait", "--for=condition=Ready", "httpapp/old", "--timeout=1m")
	res, err := client.Get("http://" + u.host("old") + "/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Header.Get("X-KedaHTTP-Cold-Start") == "" {
		t.Errorf("the imported app answers %s with %v", res.Status, res.Header)
	}
}
