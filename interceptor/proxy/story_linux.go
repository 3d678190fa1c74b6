package proxy

import (
	"time"

	"github.com/kedahttp/kedahttp/interceptor/accesslog"
	"github.com/kedahttp/kedahttp/interceptor/backend"
)

// tell writes into the access log, and ends the request's span. The entry has parts of the head, which are not kept.
func (c *asked) tell(b *backend.Backend, now time.Time) {
	h := c.server.handler
	took := now.Sub(c.arrived)
	logged := h.config.AccessLog.Wants(c.status, c.reason, took)
	if logged || c.span != nil {
		c.tellAll(b, took, logged)
	}
}

// tellAll is apart because the stack of a connection that waits is as large as any request on it needed.
//
//go:noinline
func (c *asked) tellAll(b *backend.Backend, took time.Duration, logged bool) {
	h, r := c.server.handler, &c.request
	e := accesslog.Entry{
		Time: c.arrived, Client: text(c.sender.Address), Method: text(r.Method), Scheme: c.sender.Proto, Host: text(r.Host), Protocol: c.version,
		Status: c.status, Reason: c.reason, BytesIn: c.story.in, BytesOut: c.story.out, Duration: took,
		Held: c.story.held, Pod: c.story.pod, Retries: c.story.retries, RequestID: text(c.own.RequestID),
		ColdStart: cold(c.start != nil, false, c.reason),
	}
	if len(r.Path) > 0 && r.Path[0] == '/' { // else it was not understood, and could be anything
		e.Path = text(r.Path)
	}
	if b != nil {
		e.Namespace, e.App = b.Name.Namespace, b.Name.Name
	}
	if c.sender.Trusted {
		e.Client = h.origin(e.Client, text(r.ForwardedFor()))
	}
	if c.span != nil {
		e.TraceID = c.span.TraceID
		c.span.End(&e, c.story.waited)
		c.span = nil
	} else if parent := r.TraceParent(); parent != nil {
		e.TraceID = traceID(text(parent))
	}
	if logged {
		h.config.AccessLog.Write(&e)
	}
}
