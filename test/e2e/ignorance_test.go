//go:build e2e && long

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"
)

// The counts of an interceptor that the scaler does not hear are remembered for half a minute. What is forgotten then may still be open.
func TestLongAnAppIsNotPutToSleepForWantOfAnInterceptorsCounts(t *testing.T) {
	u := onlyUser(t)
	u.apply(manifest("held", container, "  scaling: {maxReplicas: 1, cooldown: 1s}"))
	u.routed("held")
	pod := u.running(interceptors)[0]
	direct := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return inside(ctx, network, pod.Status.PodIP+":8080")
	}}}
	var served echo
	answered := make(chan error, 1)
	go func() {
		answered <- func() error {
			res, err := direct.Get("http://" + u.host("held") + "/?delay=75s")
			if err != nil {
				return err
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("%s", res.Status)
			}
			return json.NewDecoder(res.Body).Decode(&served)
		}()
	}()
	u.eventually(soon, "the request in flight", func() error { return u.field("httpapp/held", "{.status.traffic.inFlight}", "1") })
	back := u.filter("FORWARD", "--source", pod.Status.PodIP, "--protocol", "tcp", "--sport", "9443", "--destination", u.running("app.kubernetes.io/name=kedahttp-scaler")[0].Status.PodIP, "--jump", "DROP")
	u.eventually(later, "KEDA refusing to say that it is idle", func() error {
		return u.field("scaledobject/held", `{.status.conditions[?(@.type=="Ready")].reason}`, "TriggerError")
	})
	began := time.Now()
	if err := <-answered; err != nil {
		t.Fatalf("a request that went on while its interceptor was not heard: %v", err)
	}
	t.Logf("it went on for %v after its counts were forgotten", time.Since(began).Round(time.Second))
	if gone := u.kubectl("get", "pod", served.Pod, "-o", "jsonpath={.metadata.deletionTimestamp}"); gone != "" {
		t.Errorf("its pod was being deleted, since %s", gone)
	}
	u.waitReplicas("held", 1, soon)
	back()
	u.waitReplicas("held", 0, later)
}
