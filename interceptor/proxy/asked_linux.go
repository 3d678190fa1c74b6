package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/hold"
	"github.com/kedahttp/kedahttp/interceptor/http1"
	"github.com/kedahttp/kedahttp/interceptor/http2"
	"github.com/kedahttp/kedahttp/interceptor/queue"
	"github.com/kedahttp/kedahttp/interceptor/tracing"
)

// asked is a request that is answered in place, by whichever version of HTTP it came: which pod has it, and what becomes of it. It
// belongs to one goroutine, but for what is behind its lock.
type asked struct {
	server *Server
	by     asker
	sender *http1.Client
	// version is that of HTTP, as the access log has it.
	version string

	request  http1.Request
	response http1.Response
	// whole says that all of the body has arrived, so that it can be sent again; else sent is what was sent of it.
	whole   bool
	sent    sent
	backend *backend.Backend
	ticket  queue.Ticket
	place   hold.Place
	pod     *balance.Endpoint
	status  int
	reason  string
	// own has the request's id, which may be a part of the head or of made.
	own   http1.Own
	made  [32]byte
	story story
	// span is nil when the request is not traced.
	span *tracing.Span
	// now is when the last thing happened to the request.
	arrived, now time.Time
	// start is the cold start that the request waited for, if it did.
	start *coldstart.Start
	// begun says that something of the response was sent.
	begun bool
	// timeouts are those of the app, if it has any.
	timeouts *timeouts

	mu     sync.Mutex
	active bool
	// cause is why the request has to end.
	cause error
	// gone says that the client has left, during this request or before.
	gone bool
	// link or shared is what the request is sent on.
	link   *link
	shared *http2.Stream
	// cancel ends what the request waits for, if anything.
	cancel context.CancelCauseFunc
}

// asker is where a request came from.
type asker interface {
	// send forwards the request to a pod and passes its response on. It uses a fresh connection if the last one broke.
	send(pod *balance.Endpoint, fresh bool) error
	// settle takes as little memory as it can for the request while that waits, and returns how much; resume is called afterwards.
	settle() int
	resume()
	// speaks is asked before each send whether it can speak to the pod so; if not, the request is passed on.
	speaks(v1alpha1.Protocol) bool
}

func (a *asked) init(s *Server, by asker, sender *http1.Client, version string) {
	a.server, a.by, a.sender, a.version = s, by, sender, version
}

// accept counts the request.
func (a *asked) accept(b *backend.Backend) {
	a.backend, a.ticket, a.place, a.sent = b, queue.Ticket{}, hold.Place{}, sent{}
	a.ticket.Accept(b.Counts)
}

// activate has others end the request from now on.
func (a *asked) activate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.active, a.cause = true, nil
	if a.gone {
		a.cause = errClientGone
	}
}

// abortLocked ends the request that is being answered, if any. The lock is held.
func (a *asked) abortLocked(cause error) (aborted bool) {
	if !a.active || a.cause != nil {
		return false
	}
	a.cause = cause
	if a.link != nil {
		a.link.interrupt()
	}
	if a.shared != nil {
		a.shared.Fail(cause)
	}
	if a.cancel != nil {
		a.cancel(cause)
	}
	return true
}

// identify gives the request its id, and begins its span if it is traced.
func (a *asked) identify() {
	a.own, a.story, a.span = http1.Own{}, story{}, nil
	if t := a.server.handler.config.Tracer; t != nil {
		if a.span = t.Begin(text(a.request.TraceParent()), a.sender.Trusted, a.arrived); a.span != nil {
			a.own.TraceParent, a.own.NewTrace = a.span.TraceParent, a.span.NewTrace
		}
	}
	if !a.server.handler.config.RequestIDs.on() {
		return
	}
	if a.own.RequestID = a.request.RequestID(); a.own.RequestID == nil {
		a.own.RequestID = http1.AppendRequestID(a.made[:0])
	}
}

// begins notes that the response has begun, and says what is added to it on its way.
func (a *asked) begins() (way http1.Way) {
	a.status, a.now = a.response.Status, a.server.handler.config.Clock.Now()
	way.Date = a.server.date.at(a.now)
	if a.server.handler.config.RequestIDs == RequestIDsReturn {
		way.RequestID = a.own.RequestID
	}
	if a.start != nil {
		a.story.waited.Stages = a.start.FirstByte(a.pod.Address, a.arrived, a.backend.Started)
		way.Name, way.Value = coldstart.Header, a.story.waited.Stages.String()
	}
	return way
}

// pass has somebody else go on with the request.
func (a *asked) pass() *passed {
	a.timeouts.end()
	a.deactivate()
	p := &passed{backend: a.backend, ticket: a.ticket.Pass(), pod: a.pod, arrived: a.arrived, start: a.start, story: a.story, timeouts: a.timeouts}
	a.timeouts, a.pod, a.span = nil, nil, nil
	return p
}

// release takes the request off its pod.
func (a *asked) release() {
	if a.pod != nil {
		a.pod.Release()
		a.pod = nil
	}
}

// forward holds the request while there is no pod, picks one and forwards the request to it, by the rules of
// Handler.RoundTrip.
func (a *asked) forward() error {
	b := a.backend
	var avoid *balance.Endpoint
	repeated, unprocessed, fresh := false, 0, false
	for {
		pod := b.Pick(avoid)
		if pod == nil {
			var err error
			if pod, err = a.hold(avoid); err != nil {
				return err
			}
		}
		a.pod, a.story.pod = pod, pod.Address
		a.ticket.Forward()
		if !a.by.speaks(b.Protocol()) {
			return errOther
		}
		err := a.by.send(pod, fresh)
		if err == nil {
			pod.Succeeded()
			return nil
		}
		cause := a.aborted()
		unsent := cause == nil && blame(pod, err) // before its room is given to one that waits
		a.release()
		switch {
		case cause != nil:
			return cause
		case a.begun:
			return err
		case unsent:
			a.ticket.Hold()
			b.Tally.Retried(retryConnect)
			a.timeouts.hold()
			a.story.retries++
		case !a.resendable():
			return err
		case errors.Is(err, errAgain) && unprocessed < mostUnprocessed:
			unprocessed++
			fresh = errors.Is(err, errUnheard)
			b.Tally.Retried(retryRepeated)
			a.story.retries++
		case !repeated && a.repeatable() && !errors.Is(err, errUpgrade):
			repeated, fresh = true, true
			b.Tally.Retried(retryRepeated)
			a.story.retries++
		default:
			return err
		}
		avoid = pod
	}
}

// errAgain is the error of a request of which a pod has said that it has done nothing, and that can be sent again whatever it is, and
// errUnheard that of one that the pod has not received, because it had closed the connection; mostUnprocessed is how often they are.
var (
	errAgain   = fmt.Errorf("%w, and it can be sent again", http2.ErrUnprocessed)
	errUnheard = fmt.Errorf("the pod had closed the connection: %w", errAgain)
)

const mostUnprocessed = 3

// resendable reports whether all of the request is there that was sent.
func (a *asked) resendable() bool { return a.whole || !a.sent.lost }

// repeatable reports whether the request may be sent to a pod twice.
func (a *asked) repeatable() bool {
	// An upgrade is the beginning of something else.
	return a.resendable() && a.request.Upgrade == nil && http1.Idempotent(a.request.Method)
}

func (a *asked) aborted() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cause
}

// waiting has cancel called when the request has to end; it is called at once if it had to before.
func (a *asked) waiting(cancel context.CancelCauseFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cancel = cancel
	if cancel != nil && a.cause != nil {
		cancel(a.cause)
	}
}

// hold waits for a pod. The request is pending meanwhile.
func (a *asked) hold(avoid *balance.Endpoint) (*balance.Endpoint, error) {
	a.ticket.Hold()
	b := a.backend
	if b.Pods.Ready() == 0 {
		a.ticket.Cold()
		if a.request.Upgrade == nil {
			if own := placeholder(b, text(a.request.Method), []string{text(a.request.Get("accept"))}); own != nil {
				b.Wish(&a.ticket)
				return nil, own
			}
		}
	}
	began := a.server.handler.config.Clock.Now()
	a.story.hold(began)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	a.waiting(cancel)
	defer a.waiting(nil)
	a.place.Bytes = a.by.settle()
	pod, start, err := b.Wait(ctx, &a.place, avoid)
	a.pod = pod // at once: a panic must not keep its room
	if start != nil {
		a.start = start
	}
	a.now = a.server.handler.config.Clock.Now()
	a.story.held += a.now.Sub(began)
	a.by.resume()
	return pod, err
}

// connect returns a connection to the pod.
func (a *asked) connect(pod *balance.Endpoint, fresh bool) (*link, error) {
	if !fresh {
		if l := a.server.links.get(pod, a.now, a.whole && a.repeatable()); l != nil {
			return l, nil
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	a.waiting(cancel)
	defer a.waiting(nil)
	return a.server.links.dial(ctx, pod.Address)
}

// movedOnLink is how much came and went on the connection to the pod.
func (a *asked) movedOnLink() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.link != nil:
		return transferredOn(a.link.raw)
	case a.shared != nil:
		return a.shared.Moved.Load()
	}
	return 0
}

// attach makes a link that of the request. It is false when the request has to end.
func (a *asked) attach(l *link) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cause != nil {
		return false
	}
	a.link = l
	return true
}

// detach is false when the link was interrupted.
func (a *asked) detach() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.link = nil
	return a.cause == nil
}

// deactivate lets nobody end the request any more. It is true when somebody did while its response was being sent, even if that
// was complete by then: nothing else can be sent on the connection.
func (a *asked) deactivate() (cut bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.active = false
	return a.begun && a.cause != nil
}

// refused notes that the interceptor answers for the app. It is false when there is nobody to be answered, or an answer has begun.
func (a *asked) refused(r *refusal) bool {
	if a.begun {
		if r.reason == reasonIdleTimeout {
			a.reason = r.reason
		}
		return false
	}
	a.status, a.reason = r.status, r.reason
	r.id = string(a.own.RequestID)
	if r.reason == reasonBackend {
		klog.V(2).InfoS("A request failed", "app", r.app, "reason", r.reason, "request", r.id, "err", r.cause)
	}
	return r.reason != reasonClientGone
}
