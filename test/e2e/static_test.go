//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestAFixedResponseDoesNotWakeTheApp(t *testing.T) {
	u := newUser(t)
	host := u.host("fixed")
	u.apply(manifest("fixed", container,
		"  routes:",
		"  - {hosts: ["+host+"], pathPrefix: /robots.txt, static: {body: \"User-agent: *\", headers: [{name: Cache-Control, value: max-age=60}]}}",
		"  - {hosts: ["+host+"]}"))
	u.routed("fixed")
	if err := u.field("httpapp/fixed", "{.status.url}", "http://"+host); err != nil && !strings.Contains(err.Error(), "http://"+host+":") {
		t.Errorf("the URL is not that of the route to the pods: %v", err)
	}
	u.eventually(soon, "every interceptor answers for it", func() error {
		for range 20 { // both of them
			res, err := client.Get("http://" + host + "/robots.txt")
			if err != nil {
				return err
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			client.CloseIdleConnections()
			if res.StatusCode != http.StatusOK || string(body) != "User-agent: *" || res.Header.Get("Cache-Control") != "max-age=60" {
				return fmt.Errorf("%s: %q %v: %v", res.Status, body, res.Header, err)
			}
		}
		return nil
	})
	if err := u.field("httpapp/fixed", "{.status.traffic.coldStarts} {.status.traffic.pending} {.status.traffic.requestRate}", "0 0 0"); err != nil {
		t.Errorf("its requests count: %v", err)
	}
	if pods := u.kubectl("get", "pods", "-o", "name"); pods != "" {
		t.Errorf("the app woke: %s", pods)
	}
	if _, err := u.get("fixed", "/"); err != nil {
		t.Error(err)
	}
}
