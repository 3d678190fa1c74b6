//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// So many requests of an app may wait, and so many of all apps; one more is told so at once, and those that wait are answered.
func TestAsManyRequestsWaitAsMay(t *testing.T) {
	u := newUser(t)
	const ofAnApp, ofAll = 2, 3
	for _, app := range []string{"a", "b"} {
		u.apply(manifest(app, container, "  scaling: {autoscaler: None, maxReplicas: 1}", fmt.Sprintf("  queue: {maxPending: %d}", ofAnApp)))
		u.routed(app)
	}
	c := u.ownInterceptor(fmt.Sprint("--max-held-requests=", ofAll))

	answers := make(chan said)
	ask := func(app string, requests int) {
		for range requests {
			go func() {
				s, err := u.say(c, app, "/")
				if err != nil {
					t.Errorf("a request of %s: %v", app, err)
				}
				answers <- s
			}()
		}
	}
	for _, step := range []struct {
		app             string
		held            int
		reason, message string
	}{
		{"a", ofAnApp, "queue_full", "spec.queue.maxPending"},
		{"b", ofAll - ofAnApp, "interceptor_full", "--max-held-requests"},
	} {
		ask(step.app, step.held+1)
		if s := <-answers; s.status != http.StatusServiceUnavailable || s.header.Get("Retry-After") == "" || s.Reason != step.reason || !strings.Contains(s.Message, step.message) {
			t.Errorf("the request of %s that is one too many is told %v", step.app, s)
		}
	}
	for _, app := range []string{"a", "b"} {
		u.kubectl("scale", "httpapp/"+app, "--replicas=1")
	}
	for range ofAll {
		if s := <-answers; s.status != http.StatusOK {
			t.Errorf("one that waited is told %v", s)
		}
	}
}
