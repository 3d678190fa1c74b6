package tracing

import (
	"net"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/kedahttp/kedahttp/interceptor/accesslog"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
)

// Span is a request that is traced.
type Span struct {
	span trace.Span
	// TraceParent is what the app is told.
	TraceParent []byte
	// TraceID is the trace's, as it is written.
	TraceID string
	// NewTrace says that the request was part of no trace before.
	NewTrace bool
}

// Waited is what a request waited for, if it did.
type Waited struct {
	Since  time.Time
	Stages coldstart.Stages
}

// End ends the span with what the access log tells of the request, by OpenTelemetry's conventions for HTTP servers. Nothing of what is
// given is kept.
func (s *Span) End(e *accesslog.Entry, w Waited) {
	method := knownMethod(e.Method)
	s.span.SetName(method)
	attributes := make([]attribute.KeyValue, 0, 20)
	add := func(key, value string) {
		if value != "" {
			attributes = append(attributes, attribute.String(key, strings.Clone(value)))
		}
	}
	if method == "HTTP" {
		add("http.request.method", "_OTHER")
		add("http.request.method_original", e.Method)
	} else {
		add("http.request.method", method)
	}
	add("url.scheme", e.Scheme)
	add("url.path", e.Path)
	host := e.Host
	if h, port, err := net.SplitHostPort(host); err == nil {
		host = h
		if n, err := strconv.Atoi(port); err == nil {
			attributes = append(attributes, attribute.Int("server.port", n))
		}
	}
	add("server.address", host)
	add("client.address", e.Client)
	add("network.protocol.name", "http")
	add("network.protocol.version", strings.TrimSuffix(strings.TrimPrefix(e.Protocol, "HTTP/"), ".0"))
	attributes = append(attributes,
		attribute.Int("http.response.status_code", e.Status),
		attribute.Int64("http.request.body.size", e.BytesIn),
		attribute.Int64("http.response.body.size", e.BytesOut),
	)
	if e.Retries > 0 {
		attributes = append(attributes, attribute.Int("http.request.resend_count", e.Retries))
	}
	add("k8s.namespace.name", e.Namespace)
	add("kedahttp.app", e.App)
	add("kedahttp.pod", e.Pod)
	add("kedahttp.cold_start", e.ColdStart)
	add("kedahttp.reason", e.Reason)
	add("kedahttp.request_id", e.RequestID)
	if e.Status >= 500 || e.Status == 0 {
		kind := e.Reason
		if kind == "" {
			kind = strconv.Itoa(e.Status)
		}
		add("error.type", kind)
		s.span.SetStatus(codes.Error, strings.Clone(e.Reason))
	}
	s.span.SetAttributes(attributes...)
	if e.Held > 0 && !w.Since.IsZero() {
		s.span.AddEvent("waiting for a pod", trace.WithTimestamp(w.Since))
		s.span.AddEvent("got a pod", trace.WithTimestamp(w.Since.Add(e.Held)), trace.WithAttributes(attribute.Float64("kedahttp.held", e.Held.Seconds())))
	}
	for _, stage := range w.Stages {
		s.span.AddEvent("cold start: "+stage.Name, trace.WithTimestamp(e.Time.Add(stage.After)))
	}
	s.span.End(trace.WithTimestamp(e.Time.Add(e.Duration)))
}

// knownMethod is a method that may be part of a span's name; HTTP stands for all others.
func knownMethod(method string) string {
	for _, known := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"} {
		if method == known {
			return known
		}
	}
	return "HTTP"
}
