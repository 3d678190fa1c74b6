package proxy

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kedahttp/kedahttp/interceptor/accesslog"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/tracing"
)

// story is what happened to a request, for the access log and its trace.
type story struct {
	// in and out are the bytes of the bodies.
	in, out int64
	// held is how long it waited for a pod.
	held time.Duration
	// pod is the address that it was sent to last.
	pod     string
	retries int
	// waited is known of requests that are traced.
	waited tracing.Waited
}

// hold says that a request waits from now on.
func (s *story) hold(now time.Time) {
	if s.waited.Since.IsZero() {
		s.waited.Since = now
	}
}

// tell writes into the access log, and ends the request's span.
func (h *Handler) tell(x *exchange, took time.Duration) {
	logged := h.config.AccessLog.Wants(x.status, x.reason, took)
	if !logged && x.span == nil {
		return
	}
	r := x.incoming
	in, out := x.in.Load(), x.out.Load()
	if r.Method == http.MethodHead {
		out = 0
	}
	if x.client != nil {
		in = x.client.bytes.Load()
	}
	e := accesslog.Entry{
		Time: x.arrived, Method: r.Method, Scheme: proto(r), Host: r.Host, Path: r.URL.EscapedPath(), Protocol: r.Proto,
		Status: x.status, Reason: x.reason, BytesIn: in, BytesOut: out, Duration: took,
		Held: x.story.held, Pod: x.story.pod, Retries: x.story.retries, RequestID: x.id,
		ColdStart: cold(x.start != nil, x.fallback != nil, x.reason),
	}
	if b := x.backend; b != nil {
		e.Namespace, e.App = b.Name.Namespace, b.Name.Name
	}
	if remote, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		e.Client = remote.Addr().String()
		if given := r.Header["X-Forwarded-For"]; len(given) > 0 && h.trusts(remote.Addr()) {
			e.Client = h.origin(e.Client, given[len(given)-1])
		}
	}
	if x.span != nil {
		e.TraceID = x.span.TraceID
		x.span.End(&e, x.story.waited)
	} else if given := r.Header[traceParentHeader]; len(given) == 1 {
		e.TraceID = traceID(given[0])
	}
	if logged {
		h.config.AccessLog.Write(&e)
	}
}

const (
	traceParentHeader = "Traceparent"
	traceStateHeader  = "Tracestate"
)

// traceID is that of the trace that a client says its request is a part of.
func traceID(traceparent string) string {
	if _, ok := tracing.ParseParent(traceparent); !ok {
		return ""
	}
	return traceparent[3:35]
}

// trace begins the span of a request, if it is traced.
func (h *Handler) trace(x *exchange) {
	if h.config.Tracer == nil {
		return
	}
	remote, err := netip.ParseAddrPort(x.incoming.RemoteAddr)
	parent := ""
	if given := x.incoming.Header[traceParentHeader]; len(given) == 1 {
		parent = given[0]
	}
	x.span = h.config.Tracer.Begin(parent, err == nil && h.trusts(remote.Addr()), x.arrived)
}

// cold is what the access log says of a cold start.
func cold(waited, fallback bool, reason string) string {
	switch {
	case reason == reasonPlaceholder:
		return coldstart.Placeholder
	case fallback:
		return coldstart.Fallback
	case waited:
		return "waited"
	}
	return ""
}

// origin is the address that a trusted proxy's X-Forwarded-For says a request came from: the last one that is not a trusted
// proxy's, too. Those before it are hearsay.
func (h *Handler) origin(peer, forwardedFor string) string {
	for forwardedFor != "" {
		i := strings.LastIndexByte(forwardedFor, ',')
		element := strings.TrimSpace(forwardedFor[i+1:])
		forwardedFor = forwardedFor[:max(i, 0)]
		a, err := netip.ParseAddr(element)
		if err != nil {
			break
		}
		if peer = element; !h.trusts(a) {
			break
		}
	}
	return peer
}

// countedBody counts what is read of a body. Its reader may go on for a moment when the request is done.
type countedBody struct {
	io.ReadCloser
	bytes *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes.Add(int64(n))
	return n, err
}
