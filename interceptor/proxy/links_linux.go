package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/http1"
)

const (
	// idleLinks is how long a connection to a pod is kept that nobody uses.
	idleLinks = time.Minute
	// surelySilent is how long after a response a link is taken to be as it was then, for a request that can be repeated.
	surelySilent = time.Millisecond
	// mostResponseHead is how long a response's head may be.
	mostResponseHead = 1 << 20
)

// link is a connection to a pod.
type link struct {
	socket
	in input
	// since is when it was put away, and heard says that a pod has answered on it.
	since time.Time
	heard bool
	// before is how much had been written when the request came that the link is for.
	before int64
	// open counts it until it is closed, which it is once, and is forgotten then.
	open   *atomic.Int64
	forget func()
}

func (l *link) close() {
	l.open.Add(-1)
	l.forget()
	_ = l.conn.Close()
	l.in.free()
}

// unheard reports, of a link that broke with an error before anything came back, that the pod's system has not received anything of the
// request: it had closed the connection before that came, so the pod cannot have read it. A reset that comes first says nothing of
// the kind: the system may do that with what it has received, and the pod may have read it.
func (l *link) unheard(err error) bool { return ended(err) && !l.received(l.before) }

// ended reports whether an error says that the other end has ended the connection.
func ended(err error) bool {
	// EPIPE is a reset behind the end.
	return errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE)
}

// failed is the error of a request under which the link broke. It says whose fault that is, and whether the request can be sent again:
// what was sent of it is kept for as long as nothing was received.
func (l *link) failed(err error) error {
	if l.unheard(err) {
		err = errUnheard
	}
	if !l.heard {
		err = &brokeError{err}
	}
	return err
}

// interrupt ends what goes on on the link, which is of no use afterwards.
func (l *link) interrupt() { _ = l.conn.SetDeadline(past) }

// head reads the head of a response.
func (l *link) head(r *http1.Response, ofHead bool) (n int, err error) {
	tried := 0
	for {
		if len(l.in.b) > 0 && (tried == 0 || http1.Ends(l.in.b, tried)) {
			if n, err = r.Parse(l.in.b, ofHead); n > 0 || err != nil {
				l.heard = true
				return n, err
			}
		}
		if tried = len(l.in.b); tried > mostResponseHead {
			return 0, http1.ErrResponse
		}
		if err := l.fill(&l.in); err != nil {
			return 0, err
		}
	}
}

// links are the connections to all pods that nobody uses just now.
type links struct {
	dialer net.Dialer
	pods   sync.Map // of *balance.Endpoint to *linksOf
	open   atomic.Int64
	opened opened
	// shared are those that speak HTTP/2, of *balance.Endpoint to *sharedOf, and many is how many there are.
	shared sync.Map
	many   atomic.Int64

	mu sync.Mutex
	// spare are those of probes, by address.
	spare map[string]*link
}

type linksOf struct {
	mu   sync.Mutex
	idle []*link
	// closed ones take no more.
	closed bool
}

// get takes the link of a pod that was used last; nil when there is none. Those that the pod has closed, or on which it has
// said something unasked, are of no use; a request that cannot be repeated must not find that out by itself.
func (ls *links) get(pod *balance.Endpoint, now time.Time, repeatable bool) *link {
	of, ok := ls.pods.Load(pod)
	if !ok {
		return nil
	}
	for {
		l := of.(*linksOf).pop()
		if l == nil || repeatable && now.Sub(l.since) < surelySilent || l.silent() {
			return l
		}
		l.close()
	}
}

func (of *linksOf) pop() *link {
	of.mu.Lock()
	defer of.mu.Unlock()
	n := len(of.idle)
	if n == 0 {
		return nil
	}
	l := of.idle[n-1]
	of.idle[n-1] = nil
	of.idle = of.idle[:n-1]
	return l
}

// put puts a link away for later.
func (ls *links) put(pod *balance.Endpoint, l *link, now time.Time) {
	l.since = now
	for {
		of, ok := ls.pods.Load(pod)
		if !ok {
			of, _ = ls.pods.LoadOrStore(pod, &linksOf{})
		}
		if of.(*linksOf).push(l) {
			return
		}
	}
}

func (of *linksOf) push(l *link) bool {
	of.mu.Lock()
	defer of.mu.Unlock()
	if of.closed {
		return false
	}
	of.idle = append(of.idle, l)
	return true
}

// dial connects to a pod, or takes the connection on which the pod has said that it is ready. Its error says that nothing was
// sent.
func (ls *links) dial(ctx context.Context, address string) (*link, error) {
	if l := ls.kept(address); l != nil {
		return l, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := ls.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, &dialError{err}
	}
	l := &link{since: time.Now(), open: &ls.open}
	if err := l.socket.open(conn.(*net.TCPConn)); err != nil {
		_ = conn.Close()
		return nil, &dialError{err}
	}
	ls.open.Add(1)
	l.forget = ls.opened.add(l.raw, l.interrupt)
	return l, nil
}

// connections counts all that are open, and those that nobody uses.
func (ls *links) connections() (open, idle int64) {
	ls.mu.Lock()
	idle = int64(len(ls.spare))
	ls.mu.Unlock()
	ls.pods.Range(func(_, of any) bool {
		of.(*linksOf).mu.Lock()
		idle += int64(len(of.(*linksOf).idle))
		of.(*linksOf).mu.Unlock()
		return true
	})
	return ls.open.Load(), idle
}

// reap closes the links that nobody has used since a moment.
func (ls *links) reap(before time.Time) {
	ls.reapShared(before)
	ls.opened.cutVanished(time.Now(), vanishedAfter)
	ls.mu.Lock()
	for address, l := range ls.spare {
		if l.since.Before(before) {
			l.close()
			delete(ls.spare, address)
		}
	}
	ls.mu.Unlock()
	ls.pods.Range(func(pod, value any) bool {
		of := value.(*linksOf)
		of.mu.Lock()
		// Those that were used last are at the end.
		old := 0
		for old < len(of.idle) && of.idle[old].since.Before(before) {
			of.idle[old].close()
			old++
		}
		of.idle = slices.Delete(of.idle, 0, old)
		if len(of.idle) == 0 {
			of.closed = true
			ls.pods.Delete(pod)
		}
		of.mu.Unlock()
		return true
	})
}

func (ls *links) close() { ls.reap(time.Now().Add(time.Hour)) }
