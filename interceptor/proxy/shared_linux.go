package proxy

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/http1"
	"github.com/kedahttp/kedahttp/interceptor/http2"
)

const (
	// askAfter is how long a pod may say nothing, though it has requests, until it is asked whether it is there, and answerIn how long
	// it has for its answer: it may have vanished without a word.
	askAfter = 15 * time.Second
	answerIn = 5 * time.Second
)

// shared is a connection to a pod that speaks HTTP/2. It has the requests of any number of clients.
type shared struct {
	socket
	in     input
	read   int
	frames *http2.Conn
	// before is how much the pod's system had acknowledged before anything was written.
	before uint64
}

// sharedOf are those of one pod.
type sharedOf struct {
	mu  sync.Mutex
	all []*shared
	// dialling is a connection that somebody is making, for all who need one.
	dialling *dialling
	// closed ones take no more.
	closed bool
}

// dialling is done when a connection was made, or was not because of an error.
type dialling struct {
	done chan struct{}
	err  error
}

// openShared opens a stream on a connection to a pod, on a new one if there is no other. The rest of the body is still to be sent: the
// pod does not take it at once. The error says whether nothing was sent.
func (ls *links) openShared(ctx context.Context, pod *balance.Endpoint, fresh bool, head, body []byte, end, ofHead bool) (s *http2.Stream, rest []byte, err error) {
	for {
		of := ls.sharedOf(pod)
		of.mu.Lock()
		if of.closed {
			of.mu.Unlock()
			continue
		}
		all := of.all
		of.mu.Unlock()
		if !fresh {
			for i := len(all) - 1; i >= 0; i-- {
				if s, rest, err = all[i].frames.Open(head, body, end, ofHead); err == nil {
					return s, rest, nil
				}
			}
		}
		of.mu.Lock()
		if len(of.all) > len(all) || of.closed {
			of.mu.Unlock()
			fresh = false
			continue // somebody has made one meanwhile
		}
		if wait := of.dialling; wait != nil {
			of.mu.Unlock()
			select {
			case <-wait.done:
			case <-ctx.Done():
				return nil, nil, &dialError{ctx.Err()}
			}
			if wait.err != nil && !errors.Is(wait.err, context.Canceled) {
				return nil, nil, wait.err
			}
			fresh = false
			continue
		}
		d := &dialling{done: make(chan struct{})}
		of.dialling = d
		of.mu.Unlock()
		var c *shared
		if c, d.err = ls.dialShared(ctx, of, pod.Address); d.err == nil {
			// Before others can: a pod that takes nothing on a new connection takes nothing on the next one.
			if s, rest, d.err = c.frames.Open(head, body, end, ofHead); d.err != nil {
				c.wake()
				d.err = &dialError{d.err}
			}
		}
		of.mu.Lock()
		if of.dialling = nil; d.err == nil {
			of.all = append(of.all[:len(of.all):len(of.all)], c)
		}
		of.mu.Unlock()
		close(d.done)
		return s, rest, d.err
	}
}

func (ls *links) sharedOf(pod *balance.Endpoint) *sharedOf {
	of, ok := ls.shared.Load(pod)
	if !ok {
		of, _ = ls.shared.LoadOrStore(pod, &sharedOf{})
	}
	return of.(*sharedOf)
}

func (ls *links) dialShared(ctx context.Context, of *sharedOf, address string) (*shared, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := ls.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, &dialError{err}
	}
	s := &shared{}
	if err := s.socket.open(conn.(*net.TCPConn)); err != nil {
		_ = conn.Close()
		return nil, &dialError{err}
	}
	s.before = acknowledged(s.raw)
	s.frames = http2.New(http2.Config{Client: true, Write: s.write, Try: s.try, Ending: s.ending, Left: s.wake, Received: s.received})
	ls.many.Add(1)
	go func() {
		_ = s.frames.Serve(s) // the requests on it are told
		of.remove(s)
		_ = s.conn.Close()
		s.in.free()
		ls.many.Add(-1)
	}()
	if !s.frames.Meet(ctx) { // how many requests it takes at a time is not known before
		s.wake()
		return nil, &dialError{cmp.Or(ctx.Err(), errNoHTTP2)}
	}
	return s, nil
}

var errNoHTTP2 = errors.New("the pod does not speak HTTP/2")

func (of *sharedOf) remove(s *shared) {
	of.mu.Lock()
	defer of.mu.Unlock()
	var others []*shared // those who look at them have the old ones
	for _, other := range of.all {
		if other != s {
			others = append(others, other)
		}
	}
	of.all = others
}

// Read implements io.Reader, for the frames.
func (s *shared) Read(p []byte) (int, error) { return s.in.readFrom(&s.socket, &s.read, p) }

func (s *shared) ending() { _ = s.conn.SetWriteDeadline(time.Now().Add(linger)) }

// received is how much of what was written the pod's system has received when the connection is over, by the rule of links.
func (s *shared) received(err error) (n int64, certain bool) {
	return int64(acknowledged(s.raw) - s.before), ended(err)
}

func (s *shared) wake() { _ = s.conn.SetReadDeadline(past) }

// multiplexed counts those that have the requests of many.
func (ls *links) multiplexed() int64 { return ls.many.Load() }

// reapShared closes the connections that nobody has used since a moment, and those to pods that are not there any more.
func (ls *links) reapShared(before time.Time) {
	now := time.Now()
	ls.shared.Range(func(pod, value any) bool {
		of := value.(*sharedOf)
		of.mu.Lock()
		defer of.mu.Unlock()
		left := 0
		for _, s := range of.all {
			if s.frames.Probe(now, askAfter, answerIn); !s.frames.CloseIdle(before) {
				left++
			}
		}
		if left == 0 && of.dialling == nil {
			of.closed = true
			ls.shared.Delete(pod)
		}
		return true
	})
}

// sendShared forwards the request to a pod that speaks HTTP/2, and passes its response on.
func (x *asking) sendShared(pod *balance.Endpoint, fresh bool) (err error) {
	block := http2.NewBlock()
	block.Fold([]byte(":method"), x.request.Method)
	block.Field(":scheme", "http")
	block.Fold([]byte(":authority"), x.request.Host)
	block.Fold([]byte(":path"), x.request.Target)
	x.request.Each(x.sender, &x.own, block.Fold)
	ofHead := string(x.request.Method) == http.MethodHead
	ctx, cancel := context.WithCancelCause(context.Background())
	x.waiting(cancel)
	to, rest, err := x.server.links.openShared(ctx, pod, fresh, block.Bytes(), x.body, x.whole, ofHead)
	x.waiting(nil)
	cancel(nil)
	block.Free()
	if err != nil {
		return err
	}
	x.share(to)
	defer func() {
		x.share(nil)
		to.Fail(errPumpStopped)
		_ = x.stopPump(nil)
		to.Done(xhttp2.ErrCodeCancel)
		to.Free()
	}()
	x.timeouts.forward(x.whole && len(rest) == 0)
	switch {
	case !x.whole:
		x.startPump(func(p []byte, end bool) error { return to.Send(nil, p, end) }, func() bool { return true })
	case len(rest) > 0: // it may answer before it takes it
		x.pumpRest(to, rest)
	}
	for {
		head, err := to.Response()
		if err != nil && to.Unheard() {
			return &brokeError{err}
		}
		if err != nil {
			return err
		}
		x.response.Translate(head.Status, head.Fields)
		if head.Status < 200 {
			if x.sendHead(&http1.Way{}, nil, false) != nil {
				return errClientGone
			}
			continue
		}
		if err := x.timeouts.begin(); err != nil {
			return err
		}
		return x.deliverShared(to)
	}
}

// share makes a stream that of the request, or none.
func (x *asking) share(to *http2.Stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.shared = to; to != nil && x.cause != nil {
		to.Fail(x.cause)
	}
}

// deliverShared passes a response on.
func (x *asking) deliverShared(from *http2.Stream) error {
	way, err := x.beginResponse()
	if err != nil {
		return err
	}
	block := http2.NewBlock()
	defer block.Free()
	block.Status(x.response.Status)
	x.response.Each(&way, block.Fold)
	p, ended := from.Ready()
	x.story.out += int64(len(p))
	switch {
	case !ended:
		err = x.stream.Send(block.Bytes(), p, false)
	case len(from.Trailer()) == 0:
		err = x.stream.Send(block.Bytes(), p, true)
	default:
		if err = x.stream.Queue(block.Bytes(), p); err == nil {
			err = x.endShared(from)
		}
	}
	for err == nil && !ended {
		if p, err = from.Take(p); errors.Is(err, io.EOF) {
			err, ended = x.endShared(from), true
			break
		}
		if err != nil {
			return errors.Join(errBroken, err)
		}
		x.story.out += int64(len(p))
		err = x.stream.Send(nil, p, false)
	}
	if err != nil {
		return errClientGone
	}
	return nil
}

// endShared ends the response, with the trailers if there are any.
func (x *asking) endShared(from *http2.Stream) error {
	trailer := from.Trailer()
	if len(trailer) == 0 {
		return x.stream.Send(nil, nil, true)
	}
	block := http2.NewBlock()
	defer block.Free()
	for _, f := range trailer {
		block.Fold(f.Name, f.Value)
	}
	return x.stream.Send(block.Bytes(), nil, true)
}
