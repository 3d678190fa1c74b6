package proxy

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var connectionsDesc = prometheus.NewDesc("kedahttp_interceptor_open_connections",
	"Connections of clients and to pods, by what they do. busy: a request is being answered on them; upgraded: they carry something else than requests; "+
		"shared: any number of requests, by HTTP/2, or with TLS by whichever the pod chose.", []string{"peer", "state"}, nil)

// openConnections are counted when somebody asks, as far as there is anybody to ask.
type openConnections struct {
	mu      sync.Mutex
	servers []*Server
	pods    []Transports
	// upgraded are those of clients that nobody else knows of any more.
	upgraded atomic.Int64
	// over counts those that came when there were as many as there may be.
	over *prometheus.CounterVec
}

func (c *openConnections) ofServer(s *Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers = append(c.servers, s)
}

func (c *openConnections) ofPods(t Transports) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods = append(c.pods, t)
}

func (c *openConnections) Describe(ch chan<- *prometheus.Desc) {
	ch <- connectionsDesc
	c.over.Describe(ch)
}

func (c *openConnections) Collect(ch chan<- prometheus.Metric) {
	c.over.Collect(ch)
	c.mu.Lock()
	servers, pods := c.servers, c.pods
	c.mu.Unlock()
	var clients, toPods struct{ idle, busy, others int64 }
	for _, s := range servers {
		idle, busy := s.connections()
		handedIdle, handedBusy := s.states.count()
		clients.idle += idle + handedIdle
		clients.busy += busy + handedBusy
	}
	clients.others = c.upgraded.Load()
	for _, t := range pods {
		open, idle := t.links.connections()
		toPods.idle += idle
		toPods.busy += max(open-idle, 0)
		for _, single := range []*transport{t.http1, t.https1} {
			busy := single.busy.Load()
			toPods.idle += max(single.open.Load()-busy, 0)
			toPods.busy += busy
		}
		toPods.others += t.h2c.open.Load() + t.https.open.Load() + t.links.multiplexed()
	}
	tell := func(peer, state string, n int64) {
		ch <- prometheus.MustNewConstMetric(connectionsDesc, prometheus.GaugeValue, float64(n), peer, state)
	}
	tell("client", "idle", clients.idle)
	tell("client", "busy", clients.busy)
	tell("client", "upgraded", clients.others)
	tell("pod", "idle", toPods.idle)
	tell("pod", "busy", toPods.busy)
	tell("pod", "shared", toPods.others)
}

// connections counts those on which requests are answered in place.
func (s *Server) connections() (idle, busy int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g := range s.guests {
		if g.busy() {
			busy++
		}
	}
	return int64(len(s.guests)) - busy, busy
}

// states are those of the connections that net/http has.
type states struct {
	mu  sync.Mutex
	all map[net.Conn]stateSince
}

type stateSince struct {
	state http.ConnState
	since time.Time
}

// set is a server's ConnState.
func (s *states) set(conn net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j, ok := conn.(*judged); ok && state == http.StateHijacked {
		j.free.Store(true)
	}
	switch state {
	case http.StateClosed, http.StateHijacked:
		delete(s.all, conn)
	default:
		s.all[conn] = stateSince{state, time.Now()}
	}
}

func (s *states) count() (idle, busy int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range s.all {
		if of.state == http.StateActive {
			busy++
		}
	}
	return int64(len(s.all)) - busy, busy
}
