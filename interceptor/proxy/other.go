//go:build !linux

package proxy

import (
	"net"
	"net/http"
	"time"
)

// Elsewhere than on Linux, where interceptors run, net/http has every connection.

type (
	departures struct{}
	links      struct{}
)

const idleLinks = time.Minute

func (s *Server) take(conn net.Conn) {
	if greeted := s.handshake(conn); greeted != nil {
		s.give(greeted)
	}
	s.arrived(conn)
}

func transferred(net.Conn) uint64 { return 0 }

func newDepartures() (*departures, error) { return &departures{}, nil }
func (*departures) run()                  {}
func (*departures) close()                {}

// Probes is how pods are asked by HTTP/1.1 whether they are ready.
func (t Transports) Probes() http.RoundTripper { return t.http1 }

func (*links) reap(time.Time) {}
func (*links) close()         {}

func (*links) connections() (open, idle int64) { return 0, 0 }

func (*links) multiplexed() int64 { return 0 }
