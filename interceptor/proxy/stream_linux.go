package proxy

import (
	"errors"
	"io"
	"maps"
	"math"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"unsafe"

	xhttp2 "golang.org/x/net/http2"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/hold"
	"github.com/kedahttp/kedahttp/interceptor/http1"
	"github.com/kedahttp/kedahttp/interceptor/http2"
)

// asking is a request that has come by HTTP/2.
type asking struct {
	asked
	client *multiplexed
	stream *http2.Stream
	// body is that of the request, if it is whole.
	body []byte
	pump *pump
	// h2c says that the pods speak HTTP/2.
	h2c bool
	// failed is lost, made once.
	failed func(error)
	// code is what the client is told of a response that does not end.
	code xhttp2.ErrCode
	// kept says that somebody may use the stream for a while when the request is over.
	kept bool
}

var askings = sync.Pool{New: func() any {
	x := &asking{}
	x.failed = x.lost
	return x
}}

// opened gets each request.
func (m *multiplexed) opened(s *http2.Stream) {
	x := askings.Get().(*asking)
	x.init(m.server, x, &m.peer, "HTTP/2.0")
	x.client, x.stream, x.code = m, s, xhttp2.ErrCodeInternal
	s.Watch(x.failed)
	go x.run()
}

// lost is told that the client has left, or does not want the answer any more. The connection is locked.
func (x *asking) lost(error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gone = true
	x.abortLocked(errClientGone)
}

// abort ends the request.
func (x *asking) abort(cause error) {
	x.mu.Lock()
	cut := x.abortLocked(cause) && x.begun
	x.mu.Unlock()
	if cut {
		x.stream.Fail(cause)
	}
}

func (x *asking) moved() uint64 { return x.stream.Moved.Load() + x.movedOnLink() }

func (x *asking) run() {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // as it is thrown
			klog.ErrorS(nil, "A request made the interceptor panic", "panic", p, "stack", string(debug.Stack()))
		}
		x.stream.Done(x.code)
		if !x.kept {
			x.stream.Free()
			x.free()
		}
	}()
	x.answer()
}

// free leaves the memory to another request.
func (x *asking) free() {
	fields, fieldsBack := x.request.Fields, x.response.Fields
	clear(fields)
	clear(fieldsBack)
	x.body, x.client, x.stream, x.pump = nil, nil, nil, nil
	x.asked = asked{request: http1.Request{Fields: fields[:0]}, response: http1.Response{Fields: fieldsBack[:0]}}
	askings.Put(x)
}

// answer answers the request: route, count, hold, pick, forward, as client.answer does.
func (x *asking) answer() {
	h, in := x.server.handler, &x.stream.Head
	started := h.config.Clock.Now()
	x.arrived, x.now = started, started
	length := in.Length
	if x.body, x.whole = x.stream.Whole(); x.whole {
		length = int64(len(x.body))
	}
	err := x.request.Translate(octets(in.Method), octets(in.Path), octets(in.Authority), in.Fields, length)
	x.identify()
	if in.TooLong {
		err = errHeadTooLong
	}
	var bad *http1.Malformed
	if errors.As(err, &bad) {
		x.unrouted(malformed(bad))
		return
	}
	if x.request.Unusual {
		x.serveHTTP(nil)
		return
	}
	table := h.config.Routes.Table()
	if table == nil {
		x.unrouted(starting())
		return
	}
	path, ok := x.request.DecodedPath()
	if !ok {
		x.unrouted(malformed(errBadPath))
		return
	}
	route, ok := table.Match(text(x.request.Host), text(path), &x.request)
	if !ok {
		x.unrouted(noRoute(string(x.request.Host), string(path)))
		return
	}
	if route.Static != nil {
		x.static(route)
		return
	}
	b := route.Backend
	protocol := b.Protocol()
	if protocol == v1alpha1.ProtocolHTTPS || h.redirects(b) && x.sender.Proto != "https" || b.Fallback() != nil && b.Pods.Ready() == 0 {
		x.serveHTTP(nil)
		return
	}
	x.story.in = int64(len(x.body))
	x.accept(b)
	passes := false
	defer func() {
		if passes {
			return
		}
		// Also when a panic ends it: the counts have to be right.
		x.finish()
		now := h.config.Clock.Now()
		b.Tally.Done(x.status, x.reason, now.Sub(started))
		x.tell(b, now)
	}()
	x.activate()
	if t := b.Settings().Timeouts; t != (backend.Timeouts{}) {
		x.timeouts = newTimeouts(t, x.whole, func(cause error, _ bool) { x.abort(cause) }, x.moved)
	}
	err = x.forward()
	if errors.Is(err, errOther) {
		passes = true
		x.serveHTTP(x.pass())
		return
	}
	if err != nil {
		if errors.Is(err, http2.ErrUnprocessed) {
			x.code = xhttp2.ErrCodeRefusedStream // the client has the whole body, and may ask again (RFC 9113 section 8.7)
		}
		var own *refusal
		if !errors.As(err, &own) {
			own = explain(b, nil, err)
		}
		x.refuse(own)
	}
}

var errHeadTooLong = &http1.Malformed{Status: http.StatusRequestHeaderFieldsTooLarge, Message: "the request's header is too long"}

// octets are those of a string, which must not be changed.
func octets(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// finish ends what a request may have begun.
func (x *asking) finish() {
	x.timeouts.end()
	x.deactivate()
	_ = x.stopPump(nil)
	x.sent.free()
	x.timeouts = nil
	x.release()
	x.ticket.Done()
}

// static gives a route's fixed response.
func (x *asking) static(route *backend.Route) {
	s := route.Static
	x.status = s.Status
	x.respond(s.Status, x.server.handler.withRequestID(s.Header, string(x.own.RequestID)), s.Body)
	now := x.server.handler.config.Clock.Now()
	route.Tally.Done(s.Status, "", now.Sub(x.arrived))
	x.tell(route.Backend, now)
}

// unrouted answers a request that belongs to no app.
func (x *asking) unrouted(r *refusal) {
	x.refuse(r)
	x.server.handler.config.Metrics.unrouted(x.status, x.reason)
	x.tell(nil, x.server.handler.config.Clock.Now())
}

// refuse answers for the app.
func (x *asking) refuse(r *refusal) {
	if x.refused(r) && x.code != xhttp2.ErrCodeRefusedStream {
		header, body := r.answer([]string{string(x.request.Get("accept"))})
		x.respond(r.status, header, body)
	}
}

// respond sends a whole response of the interceptor's own.
func (x *asking) respond(status int, header http.Header, body []byte) {
	block := http2.NewBlock()
	defer block.Free()
	block.Status(status)
	for _, name := range slices.Sorted(maps.Keys(header)) {
		block.Fold(octets(name), octets(header.Get(name)))
	}
	block.Fold([]byte("date"), x.server.date.at(x.now))
	if string(x.request.Method) == http.MethodHead {
		body = nil
	}
	x.story.out = int64(len(body))
	_ = x.stream.Send(block.Bytes(), body, true) // the client may be gone
}

// speaks implements asker. How a body is sent once stays so.
func (x *asking) speaks(p v1alpha1.Protocol) bool {
	if len(x.sent.b) > 0 || x.sent.lost {
		return true
	}
	x.h2c = p == v1alpha1.ProtocolH2C
	return p != v1alpha1.ProtocolHTTPS
}

// settle and resume implement asker: the request is no more than its fields.

func (x *asking) settle() int {
	x.stream.Charge(x.backend.Line, x.crowded)
	n := len(x.request.Method) + len(x.request.Target)
	for _, f := range x.request.Fields {
		n += len(f.Name) + len(f.Value) + 2*int(unsafe.Sizeof(f)) // it is in the stream's header, too
	}
	return n
}

func (x *asking) resume() { x.stream.Discharge() }

// crowded is told that there is no space for the request's body while it waits. The connection is locked.
func (x *asking) crowded() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.abortLocked(hold.ErrCrowded)
}

// send forwards the request to a pod and passes its response on.
func (x *asking) send(pod *balance.Endpoint, fresh bool) (err error) {
	if !x.whole && (x.h2c || !x.request.Chunked) {
		if x.body, x.whole = x.stream.Whole(); x.whole { // while the request waited
			if len(x.sent.b) > 0 {
				x.body, x.sent = append(x.sent.b, x.body...), sent{lost: true} // the stream has no more than the rest
			}
			x.story.in = int64(len(x.body))
			x.timeouts.arrive()
		}
	}
	if x.h2c {
		err := x.sendShared(pod, fresh)
		if errors.Is(err, http2.ErrUnprocessed) {
			return errAgain
		}
		return err
	}
	l, err := x.connect(pod, fresh)
	if err != nil {
		return err
	}
	if !x.attach(l) {
		l.close()
		return x.aborted()
	}
	reusable := false
	defer func() {
		if err != nil {
			l.interrupt()
			_ = x.stopPump(err)
		}
		if !x.detach() || !reusable || err != nil || len(l.in.b) > 0 {
			l.close()
			return
		}
		l.in.free()
		x.server.links.put(pod, l, x.now)
	}()
	x.timeouts.forward(x.whole)
	l.before = l.written
	out := blocks.Get().(*block)
	defer blocks.Put(out)
	head := x.request.AppendTo(out[:0], x.sender, &x.own)
	switch {
	case !x.whole:
		if err = l.write(head); err == nil {
			x.startPump(x.writeBody(l), func() bool { return l.received(l.before) })
		}
	case len(x.body) <= cap(head)-len(head):
		err = l.ask(append(head, x.body...), &l.in)
	default:
		err = writeBoth(&l.socket, head, x.body)
	}
	ofHead := string(x.request.Method) == http.MethodHead
	for {
		n := 0
		if err == nil {
			n, err = l.head(&x.response, ofHead)
		}
		if err != nil {
			l.interrupt()
			return l.failed(x.stopPump(err))
		}
		switch status := x.response.Status; {
		case status == http.StatusSwitchingProtocols:
			return errUpgrade
		case status < 200:
			if x.sendHead(&http1.Way{}, nil, false) != nil {
				return errClientGone
			}
		default:
			if err := x.timeouts.begin(); err != nil {
				return err
			}
			reusable, err = x.deliver(l, n)
			return err
		}
		l.in.drop(n)
	}
}

// sendHead sends the response's header.
func (x *asking) sendHead(way *http1.Way, body []byte, end bool) error {
	block := http2.NewBlock()
	defer block.Free()
	block.Status(x.response.Status)
	x.response.Each(way, block.Fold)
	return x.stream.Send(block.Bytes(), body, end)
}

// deliver passes a response on whose head is the first n bytes of what was read of a link.
func (x *asking) deliver(l *link, n int) (reusable bool, err error) {
	r := &x.response
	sent := x.pump.settled()
	way, err := x.beginResponse()
	if err != nil {
		return false, err
	}
	to := delivery{asking: x, link: l, way: &way, skip: n}
	switch {
	case r.Chunked:
		err = to.chunks()
	case r.Unbounded():
		err = to.rest()
	default:
		err = to.sized()
	}
	return sent && !r.Close, err
}

// beginResponse says how the response is passed on that has begun.
func (x *asking) beginResponse() (way http1.Way, err error) {
	way = x.begins()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.begun = true
	return way, x.cause
}

// startPump begins to forward the body, as long as which has not been received all of it is kept.
func (x *asking) startPump(forward func(p []byte, end bool) error, received func() bool) {
	p := &pump{ended: make(chan struct{})}
	x.pump = p
	left := int64(-1)
	if !x.request.Chunked {
		left = x.request.Length
	}
	x.stream.StopTaking(nil)
	go func() {
		defer close(p.ended)
		x.forwardBody(p, left, forward, received)
	}()
}

// pumpRest begins to forward the rest of a body that is whole.
func (x *asking) pumpRest(to *http2.Stream, rest []byte) {
	p := &pump{ended: make(chan struct{}), bytes: int64(len(x.body))}
	x.pump = p
	go func() {
		defer close(p.ended)
		if p.err = to.Send(nil, rest, true); p.err == nil {
			p.finished.Store(true)
			x.timeouts.ask()
		}
	}()
}

// forwardBody forwards a body of a length, or one of which that is not known: then the length is -1.
func (x *asking) forwardBody(p *pump, left int64, forward func(p []byte, end bool) error, received func() bool) {
	sized := left >= 0
	on := func(data []byte, end bool) (more bool) {
		p.bytes += int64(len(data))
		left -= int64(len(data))
		end = end || sized && left <= 0
		p.last.Store(end)
		if p.err = forward(data, end); p.err != nil {
			return false // the pod may have answered before
		}
		if end {
			p.finished.Store(true)
			x.timeouts.arrive()
			x.timeouts.ask()
		}
		return !end
	}
	if len(x.sent.b) > 0 && !on(x.sent.b, false) {
		return
	}
	var data []byte
	for {
		var err error
		most := mostResent // what is taken at once is sent, and lost, at once
		if x.sent.lost {
			most = math.MaxInt
		}
		data, err = x.stream.TakeSome(data, most)
		switch {
		case errors.Is(err, errPumpStopped):
			return
		case err != nil && !errors.Is(err, io.EOF):
			x.abort(errClientGone)
			return
		}
		x.sent.add(data, mostUnreceived, received)
		if !on(data, err != nil) {
			return
		}
	}
}

// writeBody makes what writes a body to a link.
func (x *asking) writeBody(l *link) func(p []byte, end bool) error {
	if !x.request.Chunked {
		return func(p []byte, _ bool) error { return l.write(p) }
	}
	return func(p []byte, end bool) error {
		out := blocks.Get().(*block)
		defer blocks.Put(out)
		if end {
			return l.write([]byte("0\r\n\r\n"))
		}
		size := append(strconv.AppendInt(out[:0], int64(len(p)), 16), "\r\n"...)
		return writeBoth(&l.socket, size, append(p, "\r\n"...))
	}
}

// stopPump ends it when there is an error of the link, and returns what is to be known of that.
func (x *asking) stopPump(err error) error {
	p := x.pump
	if p == nil {
		return err
	}
	if !p.finished.Load() {
		x.stream.StopTaking(errPumpStopped)
	}
	<-p.ended
	x.story.in = p.bytes
	x.pump = nil
	return p.broke(err)
}

var errPumpStopped = errors.New("the request is over")
