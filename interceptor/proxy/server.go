package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
)

// Server takes the connections of clients.
//
// Plain requests of HTTP/1.1 are answered in place: their heads are read, changed and forwarded as the bytes that they are. A
// connection on which something else arrives - Expect, a request for a pod that speaks HTTP/2 or for an app whose fallback is to
// answer - is handed over to net/http and the Handler, with all that was read of it, for good; what else comes on it is judged first
// as strictly as here. Of HTTP/2 only the request is given to the Handler, and the connection stays here. Both do the same things in the same order.
type Server struct {
	handler *Handler
	others  *http.Server
	handed  *handed
	// made is when the server was; what connections remember is told from then, as no step of the wall clock changes that.
	made time.Time
	// tls is that of a server for TLS.
	tls *tls.Config

	states     states
	links      *links
	departures *departures
	date       dateCache
	ending     atomic.Bool

	mu       sync.Mutex
	listener net.Listener
	guests   map[guest]struct{}
	// arriving are the connections that are not anybody's yet, and since when.
	arriving map[net.Conn]time.Time
	// upgraded are those that carry something else than requests, and closed says that they are cut.
	upgraded  map[guest]struct{}
	closed    bool
	empty     chan struct{}
	sweeping  chan struct{}
	sweepOnce sync.Once
}

// guest is a connection on which requests are answered in place.
type guest interface {
	// sweep ends it if it has been idle for too long, or took too long for the head of a request; 0 is no limit.
	sweep(now time.Time, idleFor, headFor time.Duration)
	// leave ends it as soon as no request is on it.
	leave()
	// cut ends it whatever goes on there.
	cut()
	// busy reports whether a request is being answered.
	busy() bool
	// idleSince is since when it has had no request.
	idleSince() (time.Time, bool)
	// yield ends it unless a request has come since.
	yield()
}

// NewServer makes a server. Its timeouts are those of the given one, which answers what is handed over.
func NewServer(handler *Handler, others *http.Server) (*Server, error) {
	d, err := newDepartures()
	if err != nil {
		return nil, err
	}
	others.Handler = handler
	others.ConnContext = withConn
	s := &Server{
		handler: handler, others: others, made: time.Now(), handed: &handed{conns: make(chan net.Conn), closed: make(chan struct{})}, departures: d,
		links: handler.config.Transports.links, guests: map[guest]struct{}{}, upgraded: map[guest]struct{}{}, arriving: map[net.Conn]time.Time{}, empty: make(chan struct{}), sweeping: make(chan struct{}),
	}
	s.states.all = map[net.Conn]stateSince{}
	others.ConnState = s.states.set
	handler.config.Metrics.connections.ofServer(s)
	return s, nil
}

// Serve takes connections until the server is shut down or closed, and returns http.ErrServerClosed then.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.listener = l
	ending := s.ending.Load()
	s.mu.Unlock()
	if ending {
		_ = l.Close()
		return http.ErrServerClosed
	}
	s.handed.address = l.Addr()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if err := s.others.Serve(s.handed); !errors.Is(err, http.ErrServerClosed) {
			klog.ErrorS(err, "Connections that are handed over are not served any more")
		}
	})
	wg.Go(func() { s.departures.run() })
	wg.Go(s.sweep)
	var wait time.Duration
	for {
		conn, err := l.Accept()
		if err == nil {
			wait = 0
			if s.admit(conn) {
				go s.take(conn)
			}
			continue
		}
		if s.ending.Load() {
			return http.ErrServerClosed
		}
		// Too many open files pass, as a rule; net/http waits alike.
		var passing interface{ Temporary() bool }
		if !errors.As(err, &passing) || !passing.Temporary() {
			_ = s.Close()
			return err
		}
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		klog.ErrorS(err, "Taking a connection", "retry", wait)
		select {
		case <-time.After(wait):
		case <-s.sweeping:
		}
	}
}

// Shutdown takes no more connections, ends idle ones, and waits until all others are done, at most until the context ends.
// Connections that were upgraded are not waited for.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end()
	others := make(chan error, 1)
	go func() { others <- s.others.Shutdown(ctx) }()
	select {
	case <-s.empty:
	case <-ctx.Done():
	}
	return errors.Join(<-others, ctx.Err())
}

// Close ends all connections.
func (s *Server) Close() error {
	s.end()
	s.mu.Lock()
	s.closed = true
	for _, all := range []map[guest]struct{}{s.guests, s.upgraded} {
		for g := range all {
			g.cut()
		}
	}
	s.mu.Unlock()
	err := s.others.Close()
	s.sweepOnce.Do(func() { close(s.sweeping) })
	s.departures.close()
	s.links.close()
	return err
}

// end closes the listener and the idle connections.
func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending.Swap(true) {
		return
	}
	if s.listener != nil {
		_ = s.listener.Close()
	}
	for g := range s.guests {
		g.leave()
	}
	if len(s.guests) == 0 {
		close(s.empty)
	}
}

// ends says that every response is to be the last of its connection.
func (s *Server) ends() bool { return s.ending.Load() || s.handler.leaving.Load() }

// add is false when the server is ending.
func (s *Server) add(g guest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending.Load() {
		return false
	}
	s.guests[g] = struct{}{}
	return true
}

func (s *Server) remove(g guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.guests[g]; !ok {
		return
	}
	delete(s.guests, g)
	if len(s.guests) == 0 && s.ending.Load() {
		close(s.empty)
	}
}

// upgrade has the connection not waited for any more, until it is over.
func (s *Server) upgrade(g guest) (over func()) {
	s.mu.Lock()
	if s.upgraded[g] = struct{}{}; s.closed {
		g.cut()
	}
	s.mu.Unlock()
	s.remove(g)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.upgraded, g)
	}
}

// sweepEvery is how exact the timeouts of idle connections are. A timer for each would cost each request something.
const sweepEvery = 2 * time.Second

// sweep ends what has been idle for too long.
func (s *Server) sweep() {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.sweeping:
			return
		}
		now := time.Now()
		s.mu.Lock()
		for g := range s.guests {
			g.sweep(now, s.others.IdleTimeout, s.others.ReadHeaderTimeout)
		}
		s.mu.Unlock()
		s.links.reap(now.Add(-idleLinks))
	}
}

// give gives a connection to net/http.
func (s *Server) give(conn net.Conn) {
	select {
	case s.handed.conns <- conn:
	case <-s.handed.closed:
		_ = conn.Close()
	}
}

// handed is a listener for connections that others have accepted.
type handed struct {
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
	address net.Addr
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handed) Addr() net.Addr { return h.address }

// replay is a connection of which something was read already.
type replay struct {
	net.Conn
	read []byte
}

func (c *replay) Read(p []byte) (int, error) {
	if len(c.read) > 0 {
		n := copy(p, c.read)
		c.read = c.read[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// NetConn is the connection itself.
func (c *replay) NetConn() net.Conn { return c.Conn }

// ReadFrom lets bytes go from one socket to another without passing through here.
func (c *replay) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// CloseWrite says that no more is sent.
func (c *replay) CloseWrite() error { return closeWrite(c.Conn) }

// dateCache is the Date of responses, made once a second.
type dateCache struct{ last atomic.Pointer[dated] }

type dated struct {
	second int64
	text   []byte
}

func (c *dateCache) at(now time.Time) []byte {
	second := now.Unix()
	if d := c.last.Load(); d != nil && d.second == second {
		return d.text
	}
	d := &dated{second, []byte(now.UTC().Format(http.TimeFormat))}
	c.last.Store(d)
	return d.text
}
