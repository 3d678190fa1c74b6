package proxy

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"unsafe"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/http1"
)

// after says what becomes of a client's connection after a request.
type after int

const (
	// again: another request may come.
	again after = iota
	// another one has to answer the request; nothing was done.
	another
	// last: the response was the last one.
	last
	// broken: the response could not be sent to its end.
	broken
)

var (
	errBadPath = &http1.Malformed{Status: http.StatusBadRequest, Message: "the path cannot be decoded"}
	errChunks  = &http1.Malformed{Status: http.StatusBadRequest, Message: "the body's chunks are not as they have to be"}
	errUpgrade = errors.New("the app changed the protocol unasked")
	errBroken  = errors.New("the app broke the connection before the end of the response")
)

// answer answers the request whose head was read: route, count, hold, pick, forward.
func (c *client) answer() after {
	h := c.server.handler
	started := h.config.Clock.Now()
	c.arrived, c.now, c.start = started, started, nil
	c.status, c.reason = 0, ""
	c.keep = !c.request.Close && !c.server.ends()
	c.identify()
	table := h.config.Routes.Table()
	if table == nil {
		return c.unrouted(starting())
	}
	path, ok := c.request.DecodedPath()
	if !ok {
		return c.unrouted(malformed(errBadPath))
	}
	route, ok := table.Match(text(c.request.Host), text(path), &c.request)
	if !ok {
		return c.unrouted(noRoute(string(c.request.Host), string(path)))
	}
	if route.Static != nil {
		return c.static(route)
	}
	b := route.Backend
	if b.Protocol() != v1alpha1.ProtocolHTTP1 || h.redirects(b) || !c.whole && (!b.Pods.Available() || b.Line.Busy()) || b.Fallback() != nil && b.Pods.Ready() == 0 {
		// To hold a request whose body has not arrived takes more than to wait, and so does to look for somebody else.
		return another
	}
	c.story.in = int64(c.end - c.head)
	if c.request.Chunked {
		c.story.in = c.chunks.Data
	}
	c.accept(b)
	defer func() {
		if c.passed != nil {
			return
		}
		// Also when a panic ends it: the counts have to be right.
		c.finish()
		now := h.config.Clock.Now()
		b.Tally.Done(c.status, c.reason, now.Sub(started))
		c.tell(b, now)
		c.done(now)
	}()
	c.activate()
	if t := b.Settings().Timeouts; t != (backend.Timeouts{}) {
		c.timeouts = newTimeouts(t, c.whole, func(cause error, _ bool) { c.abort(cause) }, c.moved)
	}

	err := c.forward()
	if errors.Is(err, errOther) {
		c.passed = c.pass()
		return another
	}
	torn := c.deactivate() || err != nil && c.begun
	if err != nil {
		var own *refusal
		if !errors.As(err, &own) {
			own = explain(b, nil, err)
		}
		c.refuse(own)
	}
	switch {
	case !torn && c.keep && c.pump.join(c):
		c.in.drop(c.end)
		return again
	case torn || c.talk != nil || c.reason == reasonClientGone:
		return broken
	}
	return last
}

// static gives a route's fixed response. What has not arrived of the request's body is not waited for.
func (c *client) static(route *backend.Route) after {
	s := route.Static
	keep := c.keep && c.whole
	c.status = s.Status
	header := c.server.handler.withRequestID(s.Header, string(c.own.RequestID))
	out := appendResponse(nil, s.Status, header, s.Body, string(c.request.Method) == http.MethodHead, !keep, c.server.date.at(c.now))
	c.keep = c.write(out) == nil && keep
	now := c.server.handler.config.Clock.Now()
	route.Tally.Done(s.Status, "", now.Sub(c.arrived))
	if string(c.request.Method) != http.MethodHead {
		c.story.out = int64(len(s.Body))
	}
	c.tell(route.Backend, now)
	c.done(now)
	if !c.keep {
		return last
	}
	c.in.drop(c.end)
	return again
}

// text is bytes as a string, for as long as they do not change.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// unrouted answers a request that belongs to no app.
func (c *client) unrouted(r *refusal) after {
	c.refuse(r)
	c.server.handler.config.Metrics.unrouted(c.status, c.reason)
	now := c.server.handler.config.Clock.Now()
	c.tell(nil, now)
	c.done(now)
	if !c.keep {
		return last
	}
	c.in.drop(c.end)
	return again
}

// finish ends what a request may have begun.
func (c *client) finish() {
	c.timeouts.end()
	c.deactivate()
	c.pump.stop(c)
	c.sent.free()
	c.pump, c.timeouts = nil, nil
	c.release()
	c.ticket.Done()
}

// send forwards the request to a pod and passes its response on.
func (c *client) send(pod *balance.Endpoint, fresh bool) (err error) {
	l, err := c.connect(pod, fresh)
	if err != nil {
		return err
	}
	if !c.attach(l) {
		l.close()
		return c.aborted()
	}
	reusable := false
	defer func() {
		if err != nil {
			_ = c.pump.pause(c, l, err)
		}
		if !c.detach() || !reusable || err != nil || len(l.in.b) > 0 {
			l.close()
			return
		}
		l.in.free()
		c.server.links.put(pod, l, c.now)
	}()
	if reusable, err = c.ask(l); err == nil && c.talk != nil {
		return c.talk.run(c)
	}
	return err
}

// ask forwards the request by a link and passes its response on, or the beginning of another protocol.
func (c *client) ask(l *link) (reusable bool, err error) {
	c.timeouts.forward(c.whole)
	l.before = l.written
	out := blocks.Get().(*block)
	defer blocks.Put(out)
	head := c.request.AppendTo(out[:0], c.sender, &c.own)
	body := c.in.b[c.head:c.end]
	if c.whole && len(body) <= cap(head)-len(head) {
		err = l.ask(append(head, body...), &l.in)
	} else if err = writeBoth(&l.socket, head, body); err == nil && !c.whole {
		c.startPump(l)
	}
	for {
		n := 0
		if err == nil {
			n, err = l.head(&c.response, string(c.request.Method) == http.MethodHead)
		}
		if err != nil {
			return false, l.failed(c.pump.pause(c, l, err))
		}
		switch status := c.response.Status; {
		case status == http.StatusSwitchingProtocols:
			return false, c.upgrade(l, n, out)
		case status < 200:
			if err := c.write(c.response.AppendTo(out[:0], http1.Way{})); err != nil {
				return false, errClientGone
			}
		default:
			if err := c.timeouts.begin(); err != nil {
				return false, err
			}
			return c.deliver(l, n, out)
		}
		l.in.drop(n)
	}
}

// writeBoth writes a head and what is there of the body, in one piece if it fits.
func writeBoth(to *socket, head, body []byte) error {
	if len(body) <= cap(head)-len(head) {
		return to.write(append(head, body...))
	}
	if err := to.write(head); err != nil {
		return err
	}
	return to.write(body)
}

// deliver passes a response on whose head is the first n bytes of what was read of a link.
func (c *client) deliver(l *link, n int, out *block) (reusable bool, err error) {
	r := &c.response
	arrived := l.in.b[n:]
	chunks := http1.Chunks{Lenient: true}
	done, take := false, len(arrived)
	switch {
	case r.Chunked:
		if take, done, err = chunks.Scan(arrived); err != nil {
			return false, err
		}
	case !r.Unbounded():
		take = int(min(int64(take), r.Length))
		done = int64(take) == r.Length
	}
	sent := c.pump.settled()
	c.keep = c.keep && sent && !c.server.ends()
	head := c.responds(out)
	switch {
	case r.Unbounded():
		if err := c.write(head); err != nil {
			return false, errClientGone
		}
		l.in.drop(n)
		return false, c.deliverUnbounded(l, out)
	default:
		if err := writeBoth(&c.socket, head, arrived[:take]); err != nil {
			return false, errClientGone
		}
		l.in.drop(n + take)
		c.story.out = int64(take)
	}
	switch {
	case done:
	case r.Chunked:
		err = c.deliverChunks(l, &chunks)
	default:
		err = c.deliverRest(l, r.Length-int64(take))
	}
	if r.Chunked {
		c.story.out = chunks.Data
	}
	return sent && !r.Close, err
}

// responds begins a response, and makes its head.
func (c *client) responds(out *block) []byte {
	r := &c.response
	way := c.begins()
	way.Close, way.Chunk = !c.keep && r.Upgrade == nil, r.Unbounded()
	head := r.AppendTo(out[:0], way)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = true
	if c.cause != nil {
		_ = c.conn.SetWriteDeadline(past)
	}
	return head
}

func (c *client) deliverChunks(l *link, chunks *http1.Chunks) error {
	for {
		if err := l.fill(&l.in); err != nil {
			return errBroken
		}
		n, done, err := chunks.Scan(l.in.b)
		if err != nil {
			return err
		}
		if err := c.write(l.in.b[:n]); err != nil {
			return errClientGone
		}
		l.in.drop(n)
		if done {
			return nil
		}
	}
}

// spliceFrom is how long a body has to be to be given from one socket to the other by the kernel.
const spliceFrom = 128 << 10

func (c *client) deliverRest(l *link, left int64) error {
	if left >= spliceFrom && c.tls == nil {
		n, err := c.conn.ReadFrom(&io.LimitedReader{R: l.conn, N: left})
		c.story.out += n
		if err == nil && n < left {
			err = errBroken
		}
		return err
	}
	for left > 0 {
		if err := l.fill(&l.in); err != nil {
			return errBroken
		}
		n := min(left, int64(len(l.in.b)))
		if err := c.write(l.in.b[:n]); err != nil {
			return errClientGone
		}
		l.in.drop(int(n))
		left -= n
		c.story.out += n
	}
	return nil
}

// deliverUnbounded makes chunks of a body that ends with its connection.
func (c *client) deliverUnbounded(l *link, out *block) error {
	for {
		if len(l.in.b) > 0 {
			b := strconv.AppendInt(out[:0], int64(len(l.in.b)), 16)
			b = append(append(append(b, "\r\n"...), l.in.b...), "\r\n"...)
			if err := c.write(b); err != nil {
				return errClientGone
			}
			c.story.out += int64(len(l.in.b))
			l.in.free()
		}
		switch err := l.fill(&l.in); {
		case errors.Is(err, io.EOF):
			if err := c.write([]byte("0\r\n\r\n")); err != nil {
				return errClientGone
			}
			return nil
		case err != nil:
			return errBroken
		}
	}
}
