//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
)

// The pods say how many requests they had at most. One interceptor is asked: each counts its own.
func TestNoPodGetsMoreRequestsAtATimeThanTheLimit(t *testing.T) {
	u := newUser(t)
	const replicas, limit, requests = 2, 2, 20
	u.apply(manifest("limited", container+`
        readinessProbe: {periodSeconds: 1, httpGet: {port: web, path: /healthz}}`,
		"  scaling: {autoscaler: None, maxReplicas: 3}", "  concurrencyLimit: 2"))
	u.routed("limited")
	u.kubectl("scale", "httpapp/limited", "--replicas=2")
	u.kubectl("rollout", "status", "deployment/limited", "--timeout=2m")

	one := u.running(interceptors)[0].Status.PodIP + ":8080"
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return inside(ctx, network, one)
	}}
	defer transport.CloseIdleConnections()
	ask := func() (echo, int, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+u.host("limited")+"/?delay=100ms", nil)
		if err != nil {
			return echo{}, 0, err
		}
		res, err := (&http.Client{Transport: transport, Timeout: soon}).Do(req)
		if err != nil {
			return echo{}, 0, err
		}
		defer res.Body.Close()
		var e echo
		return e, res.StatusCode, json.NewDecoder(res.Body).Decode(&e)
	}

	var mu sync.Mutex
	most := map[string]int{} // by pod
	// Again, should the interceptor have heard of one pod only yet, or the requests not have come together.
	u.eventually(soon, "as many requests at a time as there may be, for each pod", func() error {
		var wg sync.WaitGroup
		for range requests {
			wg.Go(func() {
				e, status, err := ask()
				if err != nil || status != http.StatusOK {
					t.Errorf("%d: %v", status, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				most[e.Pod] = max(most[e.Pod], e.Most)
			})
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
		full := 0
		for pod, n := range most {
			if n > limit {
				t.Fatalf("%s had %d requests at a time and not %d", pod, n, limit)
			}
			if n == limit {
				full++
			}
		}
		if full != replicas {
			return fmt.Errorf("they had %v", most)
		}
		return nil
	})
	t.Logf("the pods had at most %v requests at a time", most)
}
