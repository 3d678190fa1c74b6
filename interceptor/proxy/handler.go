// Package proxy answers requests: it finds the app, counts the request, holds it while no pod is ready, picks a pod and
// forwards the request to it.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/interceptor/accesslog"
	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/hold"
	"github.com/kedahttp/kedahttp/interceptor/http1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
	"github.com/kedahttp/kedahttp/interceptor/routing"
	"github.com/kedahttp/kedahttp/interceptor/tracing"
)

// Routes finds the app of a request; nil while it is not known yet.
type Routes interface {
	Table() *routing.Table[*backend.Route]
}

// Config is what a Handler needs.
type Config struct {
	Routes  Routes
	Metrics *Metrics
	Clock   clock.PassiveClock
	// Transports are closed with the handler.
	Transports Transports
	// TrustedProxies are where X-Forwarded-* headers are taken from and extended; those of everybody else are replaced.
	TrustedProxies []netip.Prefix
	// Forwarded has apps told by RFC 7239 as well who asked.
	Forwarded  bool
	RequestIDs RequestIDs
	// MaxConnections is how many connections clients may have; 0 is no limit.
	MaxConnections int
	// Certificates are those of the listener for TLS, if there is one, which is reached from outside under PublicTLSPort.
	Certificates  Certificates
	PublicTLSPort int
	// AccessLog is nil when there is none.
	AccessLog *accesslog.Log
	// Tracer is nil when no request is traced.
	Tracer *tracing.Tracer
}

// Handler answers the requests of all apps.
type Handler struct {
	config  Config
	reverse *httputil.ReverseProxy
	leaving atomic.Bool
}

// NewHandler makes a handler.
func NewHandler(config Config) *Handler {
	h := &Handler{config: config}
	config.Metrics.connections.ofPods(config.Transports)
	h.reverse = &httputil.ReverseProxy{
		Rewrite:   h.rewrite,
		Transport: h,
		// What a pod writes is passed on at once: responses are streams until proven otherwise.
		FlushInterval: -1,
		BufferPool:    &bufferPool{},
		ErrorHandler:  h.failed,
		ErrorLog:      log.New(discard{}, "", 0),
	}
	return h
}

// Leave has each response of HTTP/1 end its connection from now on: clients come back by another, to whoever is there then. A
// connection that is closed later, by itself, may cost a client the request that it has just sent. HTTP/2 has a goodbye for that.
func (h *Handler) Leave() { h.leaving.Store(true) }

// Close ends idle connections to pods.
func (h *Handler) Close() { h.config.Transports.close() }

// exchange is one request on its way. It belongs to the goroutine that answers the request.
type exchange struct {
	backend *backend.Backend
	ticket  *queue.Ticket
	place   hold.Place
	arrived time.Time
	// start is the cold start that the request waited for, if it did.
	start *coldstart.Start
	// pod has the request, if any; it is the app's, or that of the Service that answers in its place.
	pod      *balance.Endpoint
	fallback *backend.Fallback
	// busy counts the connection to the pod.
	busy *atomic.Int64
	// client is the body of an HTTP/1 request, and body what was read of it while the request waited; if any.
	client *clientBody
	body   *heldBody
	// sent is either, as it is sent to a pod.
	sent *sentBody
	// unread is the body of an HTTP/2 request, which comes without being read.
	unread unread
	// incoming is the request as it came.
	incoming *http.Request
	writer   http.ResponseWriter
	cancel   context.CancelCauseFunc
	timeouts *timeouts
	// moved counts the bytes that moved, if somebody wants to know.
	moved atomic.Uint64
	// id is empty when requests have none.
	id     string
	status int
	reason string
	story  story
	// span is nil when the request is not traced.
	span *tracing.Span
	// in and out are the bytes of the bodies, as far as they are counted.
	in, out atomic.Int64
	// upgraded says that the connection is for something else from now on.
	upgraded bool
	// empty says that the response has no body. A flush that is late looks at it too.
	empty atomic.Bool
}

type exchangeKey struct{}

var errClientGone = errors.New("the client left")

// ServeHTTP implements http.Handler: route, count, hold, pick, forward. The last three are in RoundTrip, below the
// ReverseProxy that knows what to do with headers, trailers, streams and upgrades.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	before := passedOn(r.Context())
	defer func() { before.drop() }()
	x := &exchange{incoming: r, writer: w, arrived: h.config.Clock.Now(), id: h.requestID(r.Header), ticket: &queue.Ticket{}}
	if before != nil {
		x.arrived, x.start, x.story = before.arrived, before.start, before.story
	}
	if r.TLS == nil {
		r.TLS = tlsOf(r.Context())
	}
	h.trace(x)
	if r.ProtoMajor == 1 && h.leaving.Load() && r.Header.Get("Upgrade") == "" {
		w.Header().Set("Connection", "close")
	}
	if bad := malformedOn(r.Context(), r.Method); bad != nil {
		r.Method, r.Host, r.URL = "", "", &url.URL{}
		h.refuse(w, r, x, malformed(bad))
		h.end(x)
		return
	}
	if r.Method == http.MethodConnect {
		h.refuse(w, r, x, &refusal{status: http.StatusMethodNotAllowed, reason: reasonMalformed, message: "CONNECT: this is no forward proxy"})
		h.end(x)
		return
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "h2c") {
		r.Header.Del("Upgrade") // for this hop alone; see http1.Request
	}
	table := h.config.Routes.Table()
	if table == nil {
		h.refuse(w, r, x, starting())
		h.end(x)
		return
	}
	route, ok := table.Match(r.Host, r.URL.Path, routing.HTTPHeader(r.Header))
	if !ok {
		h.refuse(w, r, x, noRoute(r.Host, r.URL.Path))
		h.end(x)
		return
	}
	if route.Static != nil {
		h.static(w, x, route)
		return
	}
	b := route.Backend
	x.backend = b
	if h.redirects(b) && !h.secure(r) {
		// That wakes nobody.
		h.refuse(w, r, x, h.redirect(r, b.Name))
		h.end(x)
		return
	}

	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), exchangeKey{}, x))
	x.cancel = cancel
	var waited *timeouts
	if before != nil && before.backend == b {
		x.ticket, x.pod, waited, before = before.ticket, before.pod, before.timeouts, nil
	}
	x.ticket.Accept(b.Counts)
	// Deferred, because a response that breaks off ends in a panic.
	defer func() {
		if cut := x.timeouts.end(); errors.Is(cut, errIdleTimeout) {
			x.reason = reasonIdleTimeout // also of a response that had begun
		}
		cancel(nil)
		x.release()
		if x.upgraded {
			h.config.Metrics.connections.upgraded.Add(-1)
		}
		if x.fallback != nil {
			b.Wish(x.ticket)
		}
		x.ticket.Done()
		x.client.finish(w)
		if x.body != nil {
			x.body.finish()
		}
		h.end(x)
	}()
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		// A pod may answer while it still reads; and while a body is being read for a held request, answering must not wait
		// for its end. Only HTTP/1 has to be told.
		_ = http.NewResponseController(w).EnableFullDuplex()
		x.client = &clientBody{from: r.Body}
	}
	x.unread, _ = r.Body.(unread)
	r = r.WithContext(ctx)
	switch {
	case x.client != nil:
		r.Body = x.client
	case h.counts() && r.ContentLength != 0:
		r.Body = &countedBody{r.Body, &x.in}
	}
	if t := b.Settings().Timeouts; t != (backend.Timeouts{}) {
		x.timeouts = x.limit(t, r)
		x.timeouts.goOn(waited)
		if r.ContentLength != 0 {
			r.Body = &noted{ReadCloser: r.Body, moved: &x.moved, ended: x.timeouts.arrive}
		}
	}
	switch {
	case r.ProtoMajor == 2:
		w = &stream{w, x}
	case r.Header.Get("Upgrade") != "":
		w = upgradable{w}
	}
	h.reverse.ServeHTTP(w, r)
}

// static gives a route's fixed response.
func (h *Handler) static(w http.ResponseWriter, x *exchange, route *backend.Route) {
	s := route.Static
	x.status = s.Status
	maps.Copy(w.Header(), h.withRequestID(s.Header, x.id))
	w.WriteHeader(s.Status)
	n, _ := w.Write(s.Body) // the client may be gone
	x.backend = route.Backend
	x.out.Add(int64(n))
	h.end(x)
}

// stream is the response on a stream of HTTP/2. ReverseProxy flushes the header of every response; that of one without a body has
// to end the stream: gRPC takes it for trailers then, and for a broken response otherwise.
type stream struct {
	http.ResponseWriter
	exchange *exchange
}

// FlushError is what http.ResponseController calls.
func (s *stream) FlushError() error {
	if s.exchange.empty.Load() {
		return nil
	}
	return http.NewResponseController(s.ResponseWriter).Flush()
}

// Unwrap is for everything else that http.ResponseController does.
func (s *stream) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// release takes the request off its pod.
func (x *exchange) release() {
	if x.pod != nil {
		x.pod.Release()
		x.pod = nil
	}
	if x.busy != nil {
		x.busy.Add(-1)
		x.busy = nil
	}
}

// failed answers when there is no response to pass on.
func (h *Handler) failed(w http.ResponseWriter, r *http.Request, err error) {
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	var own *refusal
	if !errors.As(err, &own) {
		own = x.explain(r.Context(), err)
	}
	h.refuse(w, r, x, own)
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, x *exchange, own *refusal) {
	x.status, x.reason = own.status, own.reason
	own.id = x.id
	if own.reason == reasonClientGone {
		if r.ProtoMajor == 1 {
			panic(http.ErrAbortHandler) // it may still listen, and an answer without a word would be one from the app
		}
		return
	}
	if own.reason == reasonBackend {
		klog.V(2).InfoS("A request failed", "app", own.app, "reason", own.reason, "request", own.id, "err", own.cause)
	}
	x.client.closeAfter(w)
	own.write(w, r)
	x.out.Add(int64(own.size))
}

// end tells of a request that has been answered.
func (h *Handler) end(x *exchange) {
	took := h.config.Clock.Since(x.arrived)
	if x.backend != nil {
		x.backend.Tally.Done(x.status, x.reason, took)
	} else {
		h.config.Metrics.unrouted(x.status, x.reason)
	}
	h.tell(x, took)
}

// explain says why a round trip failed.
func (x *exchange) explain(ctx context.Context, err error) *refusal {
	switch cause := context.Cause(ctx); {
	case isTimeout(cause) || errors.Is(cause, hold.ErrCrowded):
		err = cause
	case badBodyOn(x.incoming.Context()):
		err = errChunks // net/http takes any error of a connection for its end
	case ctx.Err() != nil || x.incoming.Context().Err() != nil || x.body != nil && x.body.failed():
		err = errClientGone
	}
	return explain(x.backend, x.fallback, err)
}

// explain says why a request of an app failed, or of the fallback that answered it.
func explain(b *backend.Backend, fallback *backend.Fallback, err error) *refusal {
	app := b.Name
	who := "app " + app.String()
	if fallback != nil {
		who = fmt.Sprintf("Service %s, which answers while %s has no ready pod,", fallback.Service, who)
	}
	r := &refusal{app: app, cause: err}
	settings := b.Settings()
	var bad *http1.Malformed
	switch {
	case errors.As(err, &bad):
		r.status, r.reason, r.message = bad.Status, reasonMalformed, bad.Message
	case errors.Is(err, errHeldTimeout):
		r.status, r.reason = http.StatusGatewayTimeout, reasonRequestTimeout
		r.message = fmt.Sprintf("app %s had no %s for %v, as long as spec.timeouts.request allows", app, lacks(b), settings.Timeouts.Request)
	case errors.Is(err, errRequestTimeout):
		r.status, r.reason = http.StatusGatewayTimeout, reasonRequestTimeout
		r.message = fmt.Sprintf("%s did not begin its response within %v, as long as spec.timeouts.request allows", who, settings.Timeouts.Request)
	case errors.Is(err, errHeaderTimeout):
		r.status, r.reason = http.StatusGatewayTimeout, reasonHeaderTimeout
		r.message = fmt.Sprintf("%s did not begin its response within %v of getting the request, as long as spec.timeouts.responseHeader allows", who, settings.Timeouts.ResponseHeader)
	case errors.Is(err, errIdleTimeout):
		r.status, r.reason = http.StatusGatewayTimeout, reasonIdleTimeout
		r.message = fmt.Sprintf("nothing more of the request's body came to %s for %v, as long as spec.timeouts.idle allows", who, settings.Timeouts.Idle)
	case errors.Is(err, errClientGone):
		r.status, r.reason, r.message = statusClientGone, reasonClientGone, "the client left"
	case errors.Is(err, hold.ErrFull):
		r.status, r.reason, r.retryAfter = http.StatusServiceUnavailable, reasonQueueFull, 5*time.Second
		r.message = fmt.Sprintf("app %s has no %s and %d requests wait for it already, as many as spec.queue.maxPending allows", app, lacks(b), settings.MaxPending)
	case errors.Is(err, hold.ErrCrowded):
		r.status, r.reason, r.retryAfter = http.StatusServiceUnavailable, reasonCrowded, 5*time.Second
		r.message = fmt.Sprintf("app %s has no %s, and this interceptor has no space for one more request that waits, as --max-held-requests and --max-held-bytes set it", app, lacks(b))
	case errors.Is(err, hold.ErrTooLong):
		r.status, r.reason, r.retryAfter = http.StatusServiceUnavailable, reasonQueueTimeout, 5*time.Second
		r.message = fmt.Sprintf("app %s had no %s for %v, as long as spec.queue.maxWait allows%s", app, lacks(b), settings.MaxWait, inTrouble(b))
	case errors.Is(err, backend.ErrFailing):
		r.status, r.reason, r.retryAfter = http.StatusServiceUnavailable, reasonFailing, 10*time.Second
		r.message = fmt.Sprintf("app %s cannot start%s", app, inTrouble(b))
	case errors.Is(err, backend.ErrAsleep):
		r.status, r.reason = http.StatusServiceUnavailable, reasonAsleep
		r.message = fmt.Sprintf("app %s has no pod, and requests do not wake it, as spec.scaling.activation says; kubectl scale -n %s httpapp/%s --replicas=1 does", app, b.Name.Namespace, b.Name.Name)
	case errors.Is(err, backend.ErrGone):
		r.status, r.reason = http.StatusNotFound, reasonGone
		r.message = fmt.Sprintf("app %s was deleted while the request waited for it", app)
	default:
		r.status, r.reason = http.StatusBadGateway, reasonBackend
		r.message = who + " broke the connection before it began its response"
	}
	return r
}

// inTrouble is why the app does not start, in a word: the rest is not for strangers.
func inTrouble(b *backend.Backend) string {
	if t := b.Trouble(); t != nil && b.Pods.Ready() == 0 {
		return fmt.Sprintf(": %s; kubectl http status -n %s %s says more", t.Reason, b.Name.Namespace, b.Name.Name)
	}
	return ""
}

// lacks is what a request waits for.
func lacks(b *backend.Backend) string {
	if b.Pods.Ready() > 0 && b.Pods.Limited() {
		return fmt.Sprintf("pod with room, as spec.concurrencyLimit allows each %d at a time,", b.Settings().ConcurrencyLimit)
	}
	return "ready pod"
}

// rewrite says who asked, to whom, and how.
func (h *Handler) rewrite(p *httputil.ProxyRequest) {
	p.Out.Host = p.In.Host
	p.Out.URL.RawQuery = p.In.URL.RawQuery // as it came, whatever the app makes of it
	remote, err := netip.ParseAddrPort(p.In.RemoteAddr)
	trusted := err == nil && h.trusts(remote.Addr())
	if trusted {
		p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"] // SetXForwarded appends
	}
	p.SetXForwarded()
	if trusted {
		for _, name := range []string{"X-Forwarded-Proto", "X-Forwarded-Host"} {
			if v := p.In.Header[name]; len(v) > 0 {
				p.Out.Header[name] = v
			}
		}
	}
	if h.config.Forwarded && err == nil {
		from := http1.Client{Proto: proto(p.In), Trusted: trusted, Node: http1.ForwardedNode(remote.Addr())}
		in := http1.Request{Host: []byte(p.In.Host), Fields: http1.ForwardedFields(p.In.Header.Values)}
		p.Out.Header.Set("Forwarded", string(in.AppendForwarded(nil, &from)))
	}
	x := p.In.Context().Value(exchangeKey{}).(*exchange)
	if x.id != "" {
		p.Out.Header[requestIDHeader] = []string{x.id}
	}
	if x.span != nil {
		p.Out.Header[traceParentHeader] = []string{string(x.span.TraceParent)}
		if x.span.NewTrace {
			delete(p.Out.Header, traceStateHeader)
		}
	}
}

// counts reports whether anybody wants to know how long bodies are.
func (h *Handler) counts() bool { return h.config.AccessLog != nil || h.config.Tracer != nil }

// proto is how a request came.
func proto(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func (h *Handler) trusts(remote netip.Addr) bool {
	for _, p := range h.config.TrustedProxies {
		if p.Contains(remote.Unmap()) {
			return true
		}
	}
	return false
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

type bufferPool struct{ pool sync.Pool }

type buffer [32 << 10]byte

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*buffer); ok {
		return b[:]
	}
	return new(buffer)[:]
}

func (p *bufferPool) Put(b []byte) { p.pool.Put((*buffer)(b)) }
