package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"sync/atomic"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/interceptor/http1"
	"github.com/kedahttp/kedahttp/interceptor/http2"
)

// defaultStreams is how many requests a client may have at a time on one connection if nobody says: what net/http takes.
const defaultStreams = 250

// multiplexed is a client's connection with HTTP/2. One goroutine reads, and each request has one.
type multiplexed struct {
	server *Server
	socket
	in input
	// read is how much of it was read by the framer.
	read   int
	peer   http1.Client
	remote string
	state  *tls.ConnectionState
	frames *http2.Conn
	// began is when the connection was made.
	began time.Time
	// yielding says that it was asked to make room.
	yielding atomic.Bool
}

// multiplex has the connection answered as one with HTTP/2, in a goroutine of its own: the stack of this one is as large as what came
// first needed.
func (c *client) multiplex() {
	c.server.departures.stop(&c.socket)
	c.forget()
	m := &multiplexed{server: c.server, peer: c.peer, remote: c.conn.RemoteAddr().String(), in: c.in, began: time.Now()}
	c.in = input{}
	err := m.open(c.conn)
	if m.tls = c.tls; m.tls != nil {
		state := m.tls.ConnectionState()
		m.state = &state
	}
	config := http2.Config{Streams: defaultStreams, Opened: m.opened, Write: m.write, Ending: m.ending, Left: m.wake}
	if h := c.server.others.HTTP2; h != nil && h.MaxConcurrentStreams > 0 {
		config.Streams = h.MaxConcurrentStreams
	}
	if m.tls == nil {
		config.Try = m.try
	}
	m.frames = http2.New(config)
	if err != nil || !c.server.add(m) {
		_ = c.close()
	} else {
		go m.serve()
	}
	c.server.remove(c)
}

func (m *multiplexed) serve() {
	defer func() {
		m.server.remove(m)
		m.in.free()
		_ = m.close()
	}()
	err := m.frames.Serve(m)
	var theirs xhttp2.ConnectionError
	if errors.As(err, &theirs) {
		klog.V(2).InfoS("A connection with HTTP/2 broke the rules", "client", m.remote, "err", err)
	}
	if errors.As(err, &theirs) || errors.Is(err, http2.ErrLeft) {
		m.linger()
	}
}

// linger closes the connection so that the client reads first what was said to it.
func (m *multiplexed) linger() {
	if m.closeWrite() != nil {
		return
	}
	_ = m.socket.conn.SetReadDeadline(time.Now().Add(linger))
	_, _ = io.Copy(io.Discard, m.socket.conn)
}

// ending is told that nothing is written any more but what is on its way.
func (m *multiplexed) ending() { _ = m.socket.conn.SetWriteDeadline(time.Now().Add(linger)) }

// wake ends reading.
func (m *multiplexed) wake() { _ = m.socket.conn.SetReadDeadline(past) }

// sweep implements guest.
func (m *multiplexed) sweep(now time.Time, idleFor, headFor time.Duration) {
	if headFor > 0 && !m.frames.Greeted() && now.Sub(m.began) > headFor {
		m.cut()
		return
	}
	if since, idle := m.frames.IdleSince(); idle && idleFor > 0 && now.Sub(since) > idleFor {
		m.frames.Leave()
	}
}

// leave implements guest.
func (m *multiplexed) leave() { m.frames.Leave() }

// cut implements guest.
func (m *multiplexed) cut() { _ = m.socket.conn.SetDeadline(past) }

// idleSince implements guest.
func (m *multiplexed) idleSince() (time.Time, bool) {
	if !m.frames.Greeted() {
		return m.began, true
	}
	return m.frames.IdleSince()
}

// yield implements guest.
func (m *multiplexed) yield() {
	if m.frames.Greeted() && !m.yielding.Swap(true) {
		m.leave()
	} else {
		m.cut() // it has not gone when it was asked to
	}
}

// busy implements guest.
func (m *multiplexed) busy() bool { return !m.frames.Idle() }

// Read implements io.Reader, for the frames.
func (m *multiplexed) Read(p []byte) (int, error) { return m.in.readFrom(&m.socket, &m.read, p) }
