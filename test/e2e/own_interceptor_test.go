//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// ownInterceptor runs one more interceptor, with more arguments than the others have, and returns a client that asks it alone. As it is none
// of the Service's, nobody hears of its counts: an app that it has requests for wakes when the test says so.
func (u user) ownInterceptor(args ...string) *http.Client {
	u.Helper()
	o := operator(u.T)
	name := "interceptor-of-" + u.namespace
	var d map[string]any
	if err := json.Unmarshal([]byte(o.kubectl("get", "deployment", interceptorDeployment, "-o", "json")), &d); err != nil {
		u.Fatal(err)
	}
	labels := map[string]any{"app.kubernetes.io/name": name}
	spec := d["spec"].(map[string]any)
	template := spec["template"].(map[string]any)
	pod := template["spec"].(map[string]any)
	c := pod["containers"].([]any)[0].(map[string]any)
	for _, a := range args {
		c["args"] = append(c["args"].([]any), a)
	}
	pod["terminationGracePeriodSeconds"] = 1
	template["metadata"] = map[string]any{"labels": labels}
	made, err := json.Marshal(map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"replicas": 1, "selector": map[string]any{"matchLabels": labels}, "template": template},
	})
	if err != nil {
		u.Fatal(err)
	}
	u.Cleanup(func() { o.kubectl("delete", "deployment", name, "--ignore-not-found") })
	o.apply(string(made))
	o.kubectl("rollout", "status", "deployment/"+name, "--timeout=2m")
	address := u.running("app.kubernetes.io/name=" + name)[0].Status.PodIP + ":8080"
	t := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) { return inside(ctx, network, address) }}
	u.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: later}
}

// said is what an interceptor answers in the place of an app.
type said struct {
	status          int
	header          http.Header
	Reason, Message string
	body            string
}

func (s said) String() string { return fmt.Sprintf("%d, %v, %s", s.status, s.header, s.body) }

// say does a request of an app and returns the answer, whoever gives it.
func (u user) say(c *http.Client, app, path string) (s said, err error) {
	req, err := http.NewRequestWithContext(u.Context(), http.MethodGet, "http://"+u.host(app)+path, nil)
	if err != nil {
		return s, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	s.status, s.header, s.body = res.StatusCode, res.Header, strings.TrimSpace(string(body))
	if err == nil && s.status != http.StatusOK {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}
