//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

// A request for an app that cannot start is told so as soon as that is certain, long before its wait is over.
func TestARequestForAnAppThatCannotStartIsToldSo(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("broken", `  template:
    spec:
      containers:
      - {name: app, image: "kedahttp/there-is-none:dev", imagePullPolicy: Never, ports: [{containerPort: 8080}]}`))
	u.routed("broken")
	req, err := http.NewRequest(http.MethodGet, "http://"+u.host("broken")+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	began := time.Now()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var said struct{ Reason, Message string }
	if err := json.NewDecoder(res.Body).Decode(&said); err != nil {
		t.Fatal(err)
	}
	t.Logf("after %v: %s: %+v", time.Since(began).Round(10*time.Millisecond), res.Status, said)
	if want := "app " + u.namespace + "/broken cannot start: ErrImageNeverPull; kubectl http status -n " + u.namespace + " broken says more"; said.Message != want || said.Reason != "app_failing" {
		t.Errorf("it says %+v, not %q", said, want)
	}
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("%s with %v", res.Status, res.Header)
	}
	if out, err := u.try("", "http", "status", "broken"); err == nil {
		t.Errorf("status does not end with an error: %s", out)
	}
}
