package proxy

import (
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"
)

const (
	// restful is how long a connection must have had no request before it is ended for the sake of another. One that is used all the time
	// is idle between two requests as well.
	restful = time.Second
	// sampled is at how many connections of each kind one looks for the one that has been idle for longest: there are many, and
	// everybody else waits meanwhile.
	sampled = 64
)

// idler is a connection that has no request, and since when.
type idler struct {
	since time.Time
	end   func()
}

// full is what is said instead of an answer to who comes when there is no room.
const full = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 51\r\n\r\n" +
	"The interceptor has as many connections as it may.\n"

// admit counts a connection, if there is room for it, or there is one without a request that can be ended for it. Otherwise it is closed.
func (s *Server) admit(conn net.Conn) bool {
	most, connections := s.handler.config.MaxConnections, &s.handler.config.Metrics.connections
	if most > 0 && connections.ofClients() >= most {
		switch victim := connections.longestIdle(time.Now().Add(-restful)); {
		case victim != nil:
			connections.over.WithLabelValues("made_room").Inc()
			victim.end()
		default:
			connections.over.WithLabelValues("refused").Inc()
			klog.V(2).InfoS("There are as many connections as there may be", "client", conn.RemoteAddr().String(), "most", most)
			if s.tls == nil {
				_ = conn.SetDeadline(time.Now().Add(time.Second))
				_, _ = io.WriteString(conn, full) // it fits into the socket, and nobody waits
			}
			_ = conn.Close()
			return false
		}
	}
	s.mu.Lock()
	s.arriving[conn] = time.Now()
	s.mu.Unlock()
	return true
}

// arrived says that a connection that was admitted is counted by others, or is gone.
func (s *Server) arrived(conn net.Conn) {
	s.mu.Lock()
	delete(s.arriving, conn)
	s.mu.Unlock()
}

// longestIdle is of some connections the one that has been idle for longest, and since before a time.
func (c *openConnections) longestIdle(before time.Time) (victim *idler) {
	c.mu.Lock()
	servers := c.servers
	c.mu.Unlock()
	consider := func(i idler) {
		if i.since.Before(before) && (victim == nil || i.since.Before(victim.since)) {
			victim = &i
		}
	}
	for _, s := range servers {
		s.mu.Lock()
		n := 0
		for g := range s.guests {
			if since, idle := g.idleSince(); idle {
				consider(idler{since, g.yield})
			}
			if n++; n == sampled {
				break
			}
		}
		n = 0
		for conn, since := range s.arriving {
			consider(idler{since, func() { _ = conn.SetDeadline(past) }})
			if n++; n == sampled {
				break
			}
		}
		s.mu.Unlock()
		s.states.mu.Lock()
		n = 0
		for conn, of := range s.states.all {
			if of.state != http.StateActive {
				consider(idler{of.since, func() { _ = conn.Close() }})
			}
			if n++; n == sampled {
				break
			}
		}
		s.states.mu.Unlock()
	}
	return victim
}

// ofClients is how many connections clients have.
func (c *openConnections) ofClients() int {
	c.mu.Lock()
	servers := c.servers
	c.mu.Unlock()
	n := int(c.upgraded.Load())
	for _, s := range servers {
		s.mu.Lock()
		n += len(s.guests) + len(s.arriving)
		s.mu.Unlock()
		s.states.mu.Lock()
		n += len(s.states.all)
		s.states.mu.Unlock()
	}
	return n
}

func newOver() *prometheus.CounterVec {
	over := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kedahttp_interceptor_connections_over_limit_total",
		Help: "Clients' connections that came when there were --max-connections: made_room, another one that had no request was ended for it; refused, it was closed, without TLS after a 503.",
	}, []string{"outcome"})
	for _, outcome := range []string{"made_room", "refused"} {
		over.WithLabelValues(outcome)
	}
	return over
}
