//go:build e2e

package e2e

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// collector is an OpenTelemetry collector that pods can reach.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer
	address string
	mu      sync.Mutex
	// spans are by the app's name.
	spans map[string][]*tracev1.Span
}

// collect runs a collector for as long as the test runs.
func (u user) collect() *collector {
	u.Helper()
	node := operator(u.T).kubectl("get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	var listener net.Listener
	if err := visit(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(node, "0"))
		return err
	}); err != nil {
		u.Fatal(err)
	}
	c := &collector{address: listener.Addr().String(), spans: map[string][]*tracev1.Span{}}
	s := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(s, c)
	go s.Serve(listener) //nolint:errcheck // it ends with the test
	u.Cleanup(s.Stop)
	return c
}

func (c *collector) Export(_ context.Context, r *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range r.ResourceSpans {
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				app := attribute(s.Attributes, "kedahttp.app").GetStringValue()
				c.spans[app] = append(c.spans[app], s)
			}
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func attribute(of []*commonv1.KeyValue, key string) *commonv1.AnyValue {
	for _, a := range of {
		if a.Key == key {
			return a.Value
		}
	}
	return nil
}

// A request that waited for its app is one span, between the client's and the app's own, and tells what it waited for.
func TestARequestIsTracedFromItsClientToItsApp(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("traced", container, "  scaling: {autoscaler: None, maxReplicas: 1}"))
	u.routed("traced")
	c := u.collect()
	asking := u.ownInterceptor("--tracing-endpoint="+c.address, "--tracing-sampling-rate-per-million=1000000")

	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	answered := make(chan *http.Response, 1)
	go func() {
		defer close(answered)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+u.host("traced")+"/some/path?a=secret", nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Traceparent", "00-"+trace+"-"+parent+"-01")
		res, err := asking.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		answered <- res
	}()
	u.kubectl("scale", "httpapp/traced", "--replicas=1")
	res := <-answered
	if res == nil {
		return
	}
	defer res.Body.Close()
	var told echo
	if err := json.NewDecoder(res.Body).Decode(&told); err != nil {
		t.Fatal(err)
	}

	u.eventually(soon, "the request's span", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.spans["traced"]) == 0 {
			return fmt.Errorf("of the app there is none, but of %d others", len(c.spans))
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.spans["traced"][0]
	if got := hex.EncodeToString(s.TraceId) + " " + hex.EncodeToString(s.ParentSpanId); got != trace+" "+parent {
		t.Errorf("the span is of the trace and span %s, and not the client's", got)
	}
	if got, want := told.Header.Get("Traceparent"), "00-"+trace+"-"+hex.EncodeToString(s.SpanId)+"-01"; got != want {
		t.Errorf("the app was told %s and not %s", got, want)
	}
	if strings.Contains(s.String(), "secret") {
		t.Error("the span has the query")
	}
	for key, want := range map[string]string{
		"http.request.method": "GET", "url.path": "/some/path", "server.address": u.host("traced"), "k8s.namespace.name": u.namespace,
		"kedahttp.cold_start": "waited",
	} {
		if got := attribute(s.Attributes, key).GetStringValue(); got != want {
			t.Errorf("%s is %q and not %q", key, got, want)
		}
	}
	if got := attribute(s.Attributes, "http.response.status_code").GetIntValue(); got != http.StatusOK {
		t.Errorf("the status is %d", got)
	}
	var events []string
	for _, e := range s.Events {
		events = append(events, e.Name)
	}
	for _, want := range []string{"waiting for a pod", "got a pod", "cold start: "} {
		if !strings.Contains(strings.Join(events, "\n"), want) {
			t.Errorf("of %q there is no %q", events, want)
		}
	}
}
