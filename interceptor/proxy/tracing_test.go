package proxy

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/kedahttp/kedahttp/interceptor/tracing"
)

// collector is an OpenTelemetry collector.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*tracev1.Span
	about map[string]string
}

func (c *collector) Export(_ context.Context, r *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range r.ResourceSpans {
		c.about = map[string]string{}
		for _, a := range of.Resource.Attributes {
			c.about[a.Key] = a.Value.GetStringValue()
		}
		for _, scope := range of.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

// traced makes a world of which so many requests of a million are traced, and a function that ends the tracing and returns the spans.
func traced(t *testing.T, rate int, change ...func(*Config)) (*world, func() []*tracev1.Span) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &collector{}
	server := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(server, c)
	go server.Serve(listener) //nolint:errcheck // it ends with the test
	t.Cleanup(server.Stop)
	tracer, err := tracing.New(t.Context(), tracing.Config{Endpoint: listener.Addr().String(), SamplingRatePerMillion: rate})
	require.NoError(t, err)
	w := newWorld(t, append(change, func(c *Config) { c.Tracer = tracer })...)
	return w, func() []*tracev1.Span {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, tracer.Close(ctx))
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.spans) > 0 {
			require.Equal(t, "kedahttp-interceptor", c.about["service.name"])
		}
		return c.spans
	}
}

func attributes(s *tracev1.Span) map[string]any {
	all := map[string]any{}
	for _, a := range s.Attributes {
		if v := a.Value.GetStringValue(); v != "" {
			all[a.Key] = v
		} else {
			all[a.Key] = a.Value.GetIntValue()
		}
	}
	return all
}

const (
	theirTrace = "0af7651916cd43dd8448eb211c80319c"
	theirSpan  = "b7ad6b7169203331"
)

func TestWithoutTracingTheTraceIsTheClientsAndTheApps(t *testing.T) {
	for path, request := range bothPaths {
		w := newWorld(t)
		w.app("shop")
		seen := make(chan http.Header, 1)
		w.ready("shop", "", at(w.pod(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })))
		d := w.dial(t)
		d.say(fmt.Sprintf(request, "traceparent: 00-"+theirTrace+"-"+theirSpan+"-01\r\ntracestate: a=1\r\ntracestate: b=2\r\n"))
		require.Equal(t, 200, d.hear("GET").status)
		got := await(t, seen)
		require.Equal(t, []string{"00-" + theirTrace + "-" + theirSpan + "-01"}, got["Traceparent"], path)
		require.Equal(t, []string{"a=1", "b=2"}, got["Tracestate"], path)
	}
}

func TestWhoIsTraced(t *testing.T) {
	sampled, unsampled := "traceparent: 00-"+theirTrace+"-"+theirSpan+"-01\r\ntracestate: a=1\r\n", "traceparent: 00-"+theirTrace+"-"+theirSpan+"-00\r\ntracestate: a=1\r\n"
	for path, request := range bothPaths {
		for what, c := range map[string]struct {
			rate   int
			change func(*Config)
			fields string
			// joins says that the trace goes on, with ours between the client's and the app's.
			traced, joins bool
		}{
			"all, new":                        {1_000_000, func(*Config) {}, "tracestate: a=1\r\n", true, false},
			"all, a stranger's goes on":       {1_000_000, func(*Config) {}, sampled, true, true},
			"all, not what is no trace":       {1_000_000, trustLoopback, "traceparent: 00-x\r\ntracestate: a=1\r\n", true, false},
			"all, not two":                    {1_000_000, trustLoopback, sampled + sampled, true, false},
			"all, a stranger does not lessen": {1_000_000, func(*Config) {}, unsampled, true, true},
			"all, but not against trusted":    {1_000_000, trustLoopback, unsampled, false, false},
			"none":                            {0, func(*Config) {}, "", false, false},
			"none, also for strangers":        {0, func(*Config) {}, sampled, false, false},
			"none, but for trusted":           {0, trustLoopback, sampled, true, true},
		} {
			t.Run(path+" "+what, func(t *testing.T) {
				w, spans := traced(t, c.rate, c.change)
				w.app("shop")
				seen := make(chan http.Header, 1)
				w.ready("shop", "", at(w.pod(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })))
				d := w.dial(t)
				d.say(fmt.Sprintf(request, c.fields))
				require.Equal(t, 200, d.hear("GET").status)
				got := await(t, seen)
				w.is("shop", 0, 0)
				w.shows(1, "kedahttp_interceptor_requests_total")
				require.NoError(t, d.Close())
				require.NoError(t, w.server.Shutdown(t.Context())) // whatever is to be told has been told
				all := spans()
				if !c.traced {
					require.Empty(t, all)
					var given []string
					for field := range strings.Lines(c.fields) {
						if name, value, _ := strings.Cut(strings.TrimSpace(field), ": "); name == "traceparent" {
							given = append(given, value)
						}
					}
					require.Equal(t, given, got["Traceparent"], "the client's word is passed on")
					return
				}
				require.Len(t, all, 1)
				s := all[0]
				trace, own := hex.EncodeToString(s.TraceId), hex.EncodeToString(s.SpanId)
				require.Equal(t, []string{"00-" + trace + "-" + own + "-01"}, got["Traceparent"])
				if c.joins {
					require.Equal(t, []any{theirTrace, theirSpan, "a=1"}, []any{trace, hex.EncodeToString(s.ParentSpanId), got.Get("Tracestate")})
				} else {
					require.NotEqual(t, theirTrace, trace)
					require.Empty(t, s.ParentSpanId)
					require.Empty(t, got["Tracestate"], "it is of another trace")
				}
			})
		}
	}
}

func TestASpanTellsWhatHappened(t *testing.T) {
	for path, request := range bothPaths {
		t.Run(path, func(t *testing.T) {
			j := newJournal(t)
			w, spans := traced(t, 1_000_000, func(c *Config) { c.AccessLog, c.RequestIDs = j.log, RequestIDsForward })
			w.app("shop")
			began := time.Now()
			d := w.dial(t)
			d.say(strings.Replace(fmt.Sprintf(request, "X-Request-Id: mine\r\nAuthorization: secret\r\n"), "shop.test", "shop.test:81", 1))
			w.is("shop", 1, 0)
			pod := at(w.pod(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") }))
			w.ready("shop", "", pod)
			require.Equal(t, 200, d.hear("GET").status)
			logged := j.take(1)[0]
			d.say(strings.Replace(fmt.Sprintf(request, ""), "GET", "PROPFIND", 1))
			require.Equal(t, 200, d.hear("GET").status)
			w.ready("shop", "")
			w.eventually("there is no pod", func() bool { return w.backend("shop").Pods.Ready() == 0 })
			w.ready("shop", "", bytePod(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }))
			w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
			d.say(fmt.Sprintf(request, ""))
			require.Equal(t, http.StatusBadGateway, d.hear("GET").status)
			j.take(2)
			all := spans()
			require.Len(t, all, 3)

			s := all[0]
			require.Equal(t, "GET", s.Name)
			require.Equal(t, tracev1.Span_SPAN_KIND_SERVER, s.Kind)
			require.Equal(t, map[string]any{
				"http.request.method": "GET", "url.scheme": "http", "url.path": "/a", "server.address": "shop.test", "server.port": int64(81), "client.address": "127.0.0.1",
				"network.protocol.name": "http", "network.protocol.version": "1.1", "http.response.status_code": int64(200),
				"http.request.body.size": int64(0), "http.response.body.size": int64(5), "k8s.namespace.name": "default",
				"kedahttp.app": "shop", "kedahttp.pod": pod, "kedahttp.cold_start": "waited", "kedahttp.request_id": "mine",
			}, attributes(s))
			require.Equal(t, hex.EncodeToString(s.TraceId), logged["traceId"])
			var events []string
			for _, e := range s.Events {
				events = append(events, e.Name)
				at := time.Unix(0, int64(e.TimeUnixNano))
				require.WithinRange(t, at, began.Add(-time.Second), time.Now())
			}
			require.Equal(t, []string{"waiting for a pod", "got a pod", "cold start: address", "cold start: ready", "cold start: first-byte"}, events)
			require.Less(t, s.StartTimeUnixNano, s.EndTimeUnixNano)

			require.Equal(t, "HTTP", all[1].Name)
			require.Equal(t, "PROPFIND", attributes(all[1])["http.request.method_original"])
			require.Empty(t, all[1].Events)

			require.Equal(t, tracev1.Status_STATUS_CODE_ERROR, all[2].Status.GetCode())
			require.Equal(t, []any{"backend", int64(1)}, []any{attributes(all[2])["error.type"], attributes(all[2])["http.request.resend_count"]})
			require.NotContains(t, fmt.Sprint(all), "secret")
		})
	}
}
