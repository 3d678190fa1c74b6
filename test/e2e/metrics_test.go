//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
)

// metric is a value as external.metrics.k8s.io has it.
type metric struct {
	MetricName   string
	MetricLabels map[string]string
	Timestamp    string
	Window       *int
	Value        string
}

// metrics reads an external metric of the user's namespace as it is served.
func (u user) metrics(name, selector string) ([]metric, error) {
	path := fmt.Sprintf("/apis/external.metrics.k8s.io/v1beta1/namespaces/%s/%s", u.namespace, name)
	if selector != "" {
		path += "?labelSelector=" + url.QueryEscape(selector)
	}
	out, err := user{T: u.T}.try("", "get", "--raw", path)
	if err != nil {
		return nil, err
	}
	var list struct {
		Kind  string
		Items []metric
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	if list.Kind != "ExternalMetricValueList" {
		return nil, fmt.Errorf("%s answers with %s", path, out)
	}
	return list.Items, nil
}

// hold keeps so many requests open until the returned function is called, whatever becomes of them.
func (u user) hold(app string, requests int, path string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.host(app)+path, nil)
			if err == nil {
				_, err = exchange(req)
			}
			if err != nil && ctx.Err() == nil {
				u.Errorf("a request that was to be held: %v", err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	u.Cleanup(stop)
	return stop
}

func TestKEDAsAdapterServesTheNumberThatTheAppShows(t *testing.T) {
	u := newUser(t)
	cluster := user{T: t}
	if err := cluster.field("apiservice/v1beta1.external.metrics.k8s.io", "{.spec.service.namespace}", "keda"); err != nil {
		t.Fatalf("KEDA's APIService should be left alone: %v", err)
	}
	u.apply(manifest("same", container, "  scaling: {minReplicas: 1, maxReplicas: 1, window: 5s}"))
	u.apply(manifest("misled", container, "  scaling: {autoscaler: HPA}"))
	u.routed("same")
	u.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "httpapp/same", "--timeout=2m")
	stop := u.hold("same", 3, "/?delay=2m")
	u.eventually(later, "three requests in both, side by side", func() error {
		name, err := u.value("hpa/keda-hpa-same", "{.spec.metrics[0].external.metric.name}")
		if err != nil {
			return err
		}
		values, err := u.metrics(name, "scaledobject.keda.sh/name=same")
		if err != nil {
			return err
		}
		shown, err := u.value("httpapp/same", "{.status.traffic.concurrency}")
		if err != nil {
			return err
		}
		if len(values) != 1 || values[0].Value != "3" || shown != "3" {
			return fmt.Errorf("KEDA's adapter says %v of %s, the app %q", values, name, shown)
		}
		return nil
	})
	stop()

	u.eventually(soon, "who serves external metrics in the condition of an app that is to be scaled by an HPA", func() error {
		return u.field("httpapp/misled", `{.status.conditions[?(@.type=="ScalerReady")].reason}`, "ExternalMetricsForeign")
	})
}
