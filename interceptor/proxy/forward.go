package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/hold"
	"github.com/kedahttp/kedahttp/interceptor/http1"
)

// RoundTrip implements http.RoundTripper: it holds the request while there is no pod, picks one and forwards the request.
//
// A pod that cannot be connected to has got nothing, so another one gets the request, or it waits again; and so is it with a pod that
// had closed the connection before anything of the request came. A connection that breaks later may have brought the request to the
// app: it is repeated, once, when that makes no difference to the app (RFC 9110 section 9.2.2). Either takes that all is still
// there that was sent of the body.
func (h *Handler) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	x := ctx.Value(exchangeKey{}).(*exchange)
	b := x.backend
	var avoid *balance.Endpoint
	repeated, unprocessed := false, 0
	for {
		pod := x.pod // it may have got one in place
		if pod == nil {
			pod = b.Pick(avoid)
		}
		x.fallback = nil
		if pod == nil {
			var err error
			if pod, err = h.hold(ctx, x, r, avoid); err != nil {
				return nil, err
			}
		}
		x.pod, x.story.pod = pod, pod.Address
		if x.fallback == nil {
			x.ticket.Forward() // or it goes on waiting for the app while another answers
		}
		res, err := h.send(ctx, x, r, pod)
		if err == nil {
			pod.Succeeded()
			return res, nil
		}
		// Before its room is given to one that waits.
		unsent := ctx.Err() == nil && !x.client.broke() && blame(pod, err)
		x.release()
		switch {
		case ctx.Err() != nil:
			return nil, err
		case unsent:
			x.ticket.Hold()
			b.Tally.Retried(retryConnect)
			x.timeouts.hold()
			x.story.retries++
		case x.client.broke() || !x.sent.resendable():
			return nil, err
		case errors.Is(err, errAgain) && unprocessed < mostUnprocessed:
			unprocessed++
			b.Tally.Retried(retryRepeated)
			x.story.retries++
		case !repeated && idempotent(r):
			repeated = true
			b.Tally.Retried(retryRepeated)
			x.story.retries++
		default:
			return nil, err
		}
		avoid = pod
	}
}

// hold waits for a pod. The request is pending meanwhile. While there is no pod at all, what spec.coldStart names may answer.
func (h *Handler) hold(ctx context.Context, x *exchange, r *http.Request, avoid *balance.Endpoint) (*balance.Endpoint, error) {
	x.ticket.Hold()
	began := h.config.Clock.Now()
	x.story.hold(began)
	defer func() { x.story.held += h.config.Clock.Since(began) }()
	b, settings := x.backend, x.backend.Settings()
	fallback := b.Fallback()
	var first time.Duration // how long to wait for the app alone
	if b.Pods.Ready() == 0 {
		x.ticket.Cold()
		if fallback != nil {
			first = fallback.After - h.config.Clock.Since(x.arrived)
		}
		if first <= 0 {
			if pod, err := x.meanwhile(fallback, avoid); pod != nil || err != nil {
				return pod, err
			}
		}
	}
	if x.body == nil && r.Body != nil && x.incoming.ProtoMajor == 1 && (b.Line.Busy() || !b.Pods.Available()) && b.Line.Len() < settings.MaxPending {
		x.body = newHeldBody(r.Body, x.incoming.Trailer, b.Line, func() { x.cancel(context.Canceled) })
	}
	if first > 0 {
		alone, cancel := context.WithTimeoutCause(ctx, first, errAlone)
		pod, err := x.wait(alone, avoid)
		cancel()
		if err == nil || ctx.Err() != nil || errors.Is(err, backend.ErrGone) {
			return pod, err
		}
		if b.Pods.Ready() == 0 {
			if pod, err := x.meanwhile(fallback, avoid); pod != nil || err != nil {
				return pod, err
			}
		}
		if !errors.Is(err, errAlone) {
			return nil, err
		}
	}
	return x.wait(ctx, avoid)
}

// errAlone says that a request has waited for the app for as long as nobody else answers it.
var errAlone = errors.New("the time for the app alone is over")

func (x *exchange) wait(ctx context.Context, avoid *balance.Endpoint) (*balance.Endpoint, error) {
	if j, ok := ctx.Value(connKey{}).(*judged); ok {
		defer j.watch(func() { x.cancel(errClientGone) })()
	}
	x.place.Bytes = sizeOf(x.incoming)
	if x.unread != nil {
		x.unread.Charge(x.backend.Line, func() { x.cancel(hold.ErrCrowded) })
		defer x.unread.Discharge()
	}
	pod, start, err := x.backend.Wait(ctx, &x.place, avoid)
	if start != nil {
		x.start = start
	}
	return pod, err
}

// sizeOf is about how many bytes the head of a request has.
func sizeOf(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// meanwhile returns a pod of the fallback Service, or the placeholder as an error, or neither.
func (x *exchange) meanwhile(fallback *backend.Fallback, avoid *balance.Endpoint) (*balance.Endpoint, error) {
	if fallback != nil {
		if pod := fallback.Pick(avoid); pod != nil {
			x.fallback = fallback
			return pod, nil
		}
	}
	in := x.incoming
	if in.Header.Get("Upgrade") != "" {
		return nil, nil
	}
	if own := placeholder(x.backend, in.Method, in.Header.Values("Accept")); own != nil {
		x.backend.Wish(x.ticket)
		return nil, own
	}
	return nil, nil
}

// send forwards the request to a pod.
func (h *Handler) send(ctx context.Context, x *exchange, r *http.Request, pod *balance.Endpoint) (*http.Response, error) {
	out := r.WithContext(ctx) // a copy: a round trip must not change its request
	// The very map that the server fills in at the end of the body.
	out.Trailer = x.incoming.Trailer
	u := *r.URL
	u.Scheme, u.Host = "http", pod.Address
	out.URL = &u
	if r.Body != nil {
		x.send(out, r.Body)
	}
	protocol := x.backend.Protocol()
	if x.fallback != nil {
		protocol = x.fallback.Protocol()
	}
	if protocol == v1alpha1.ProtocolHTTPS {
		u.Scheme = "https"
	}
	transport, single := h.config.Transports.of(protocol, r)
	if single {
		x.busy = &transport.busy
		x.busy.Add(1)
	}
	if out.Body != nil {
		defer x.interruptible(ctx)()
	}
	x.timeouts.forward(out.Body == nil)
	res, err := transport.send(out, x.sent)
	if err != nil {
		return nil, err
	}
	if err := x.timeouts.begin(); err != nil {
		_ = res.Body.Close()
		return nil, err
	}
	res.Body = x.note(res.Body)
	x.status = res.StatusCode
	x.empty.Store(res.ContentLength == 0)
	x.client.closeAfter(x.writer)
	if h.counts() {
		counted := countedBody{res.Body, &x.out}
		if pod, ok := res.Body.(io.Writer); ok {
			res.Body = &countedConn{counted, pod, &x.in}
		} else {
			res.Body = &counted
		}
	}
	if h.config.RequestIDs == RequestIDsReturn && len(res.Header[requestIDHeader]) == 0 {
		res.Header[requestIDHeader] = []string{x.id}
	}
	switch {
	case x.fallback != nil:
		res.Header.Set(coldstart.Header, coldstart.Fallback)
		if x.incoming.ProtoMajor == 1 && res.StatusCode != http.StatusSwitchingProtocols {
			// The next connection is answered in place again.
			x.writer.Header().Set("Connection", "close")
		}
	case x.start != nil:
		x.story.waited.Stages = x.start.FirstByte(pod.Address, x.arrived, x.backend.Started)
		res.Header.Set(coldstart.Header, x.story.waited.Stages.String())
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.upgraded = true
		h.config.Metrics.connections.upgraded.Add(1)
	}
	return res, nil
}

// send has a body sent with a request, from its beginning. It is kept open, for the next pod if this one does not take it.
func (x *exchange) send(out *http.Request, from io.Reader) {
	if x.body != nil {
		from, out.Trailer = x.body, x.body.trailer
	}
	if x.sent == nil {
		x.sent = &sentBody{}
	}
	x.sent.goesOn(from)
	out.GetBody = func() (io.ReadCloser, error) {
		body, err := x.sent.again()
		if err != nil || x.timeouts == nil {
			return body, err
		}
		return &noted{ReadCloser: body, moved: &x.moved, ended: x.timeouts.ask}, nil
	}
	out.Body, _ = out.GetBody() // or it would not be sent again
}

// interruptible has the body of the request read no more when the context ends: a round trip does not end before its read of the
// body does. It must be undone.
func (x *exchange) interruptible(ctx context.Context) (undo func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		if x.client == nil || !x.client.ended.Load() {
			_ = http.NewResponseController(x.writer).SetReadDeadline(past)
		}
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// idempotent reports whether doing the request twice is the same as once.
func idempotent(r *http.Request) bool {
	// An upgrade is the beginning of something else.
	return http1.Idempotent(r.Method) && r.Header.Get("Upgrade") == ""
}
