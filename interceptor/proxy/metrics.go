package proxy

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// Metrics tell of requests by app and by the class of the answer: their number is bounded by the number of apps, whatever
// clients send.
type Metrics struct {
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	rejections *prometheus.CounterVec
	retries    *prometheus.CounterVec
	starts     *prometheus.HistogramVec

	connections openConnections

	mu   sync.Mutex
	apps map[types.NamespacedName]*series
}

// NewMetrics registers the metrics, those of the counts included.
func NewMetrics(r prometheus.Registerer, counters *queue.Counters) *Metrics {
	app := []string{"namespace", "app"}
	m := &Metrics{
		apps: map[types.NamespacedName]*series{}, connections: openConnections{over: newOver()},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kedahttp_interceptor_requests_total",
			Help: "Requests answered, by app and class of the status code. Without an app: no route led anywhere.",
		}, append(app, "code")),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kedahttp_interceptor_request_duration_seconds",
			Help:    "Time from the request's arrival to the end of the response, waiting included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120},
		}, app),
		rejections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kedahttp_interceptor_rejections_total",
			Help: "Requests that the interceptor answered itself or could not answer, by reason: " + strings.Join(reasons, ", ") + ".",
		}, append(app, "reason")),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kedahttp_interceptor_retries_total",
			Help: "Times that a request was tried again: connect (no connection to the pod, so that nothing was sent) or repeated (the connection broke before the response).",
		}, append(app, "reason")),
		starts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kedahttp_interceptor_cold_start_seconds",
			Help: "Time from the first request's arrival to each stage of a cold start: decided (that there are to be pods, by the API server's clock), created and scheduled (the pod, by the cluster's clock, rounded down to a second), " +
				"address (known here), probe (answered the interceptor's own probe) or ready (said its EndpointSlice), first-byte (of the response).",
			Buckets: []float64{.1, .25, .5, .75, 1, 1.5, 2.5, 5, 10, 30, 60, 120},
		}, append(app, "stage")),
	}
	r.MustRegister(m.requests, m.duration, m.rejections, m.retries, m.starts, &countsCollector{counters: counters}, &m.connections)
	return m
}

// Forget drops the series of an app that is gone. Requests that it still had, and that end later, are not counted any more.
func (m *Metrics) Forget(app types.NamespacedName) {
	m.mu.Lock()
	s := m.apps[app]
	delete(m.apps, app)
	m.mu.Unlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	labels := prometheus.Labels{"namespace": app.Namespace, "app": app.Name}
	m.requests.DeletePartialMatch(labels)
	m.duration.DeletePartialMatch(labels)
	m.rejections.DeletePartialMatch(labels)
	m.retries.DeletePartialMatch(labels)
	m.starts.DeletePartialMatch(labels)
}

// Of returns the series of an app, which are found once and not for each request.
func (m *Metrics) Of(app types.NamespacedName) backend.Tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.apps[app] == nil {
		m.apps[app] = &series{metrics: m, app: app}
	}
	return m.apps[app]
}

func (m *Metrics) unrouted(status int, reason string) {
	m.requests.WithLabelValues("", "", class(status)).Inc()
	m.rejections.WithLabelValues("", "", reason).Inc()
}

// series are those of one app. Each appears with the first request that it counts.
type series struct {
	metrics  *Metrics
	app      types.NamespacedName
	requests [6]atomic.Pointer[prometheus.Counter]
	duration atomic.Pointer[prometheus.Observer]

	// mu is held while a series may be made, which none is of an app that is gone.
	mu   sync.Mutex
	gone bool
}

// unlessGone has a series made and used, if the app is there.
func (s *series) unlessGone(use func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gone {
		use()
	}
}

// Done implements backend.Tally.
func (s *series) Done(status int, reason string, took time.Duration) {
	class := classIndex(status)
	if requests := once(s, &s.requests[class], func() prometheus.Counter {
		return s.metrics.requests.WithLabelValues(s.app.Namespace, s.app.Name, classes[class])
	}); requests != nil {
		requests.Inc()
	}
	if duration := once(s, &s.duration, func() prometheus.Observer {
		return s.metrics.duration.WithLabelValues(s.app.Namespace, s.app.Name)
	}); duration != nil {
		duration.Observe(took.Seconds())
	}
	if reason != "" {
		s.unlessGone(func() { s.metrics.rejections.WithLabelValues(s.app.Namespace, s.app.Name, reason).Inc() })
	}
}

// Retried implements backend.Tally.
func (s *series) Retried(reason string) {
	s.unlessGone(func() { s.metrics.retries.WithLabelValues(s.app.Namespace, s.app.Name, reason).Inc() })
}

// Started implements backend.Tally.
func (s *series) Started(stages coldstart.Stages) {
	s.unlessGone(func() {
		for _, stage := range stages {
			s.metrics.starts.WithLabelValues(s.app.Namespace, s.app.Name, stage.Name).Observe(stage.After.Seconds())
		}
	})
}

// once finds a series, but for an app that is gone.
func once[T any](s *series, p *atomic.Pointer[T], find func() T) (found T) {
	if known := p.Load(); known != nil {
		return *known
	}
	s.unlessGone(func() {
		made := find()
		p.Store(&made)
		found = made
	})
	return found
}

var classes = [...]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

// class is 2xx and so on; a status that no server may send is other.
func class(status int) string { return classes[classIndex(status)] }

func classIndex(status int) int {
	if status < 100 || status > 599 {
		return 0
	}
	return status / 100
}

// countsCollector reads the counts when it is asked for them.
type countsCollector struct{ counters *queue.Counters }

var (
	pendingDesc = prometheus.NewDesc("kedahttp_interceptor_pending_requests",
		"Requests that wait for a pod.", []string{"namespace", "app"}, nil)
	inFlightDesc = prometheus.NewDesc("kedahttp_interceptor_in_flight_requests",
		"Requests that a pod is answering.", []string{"namespace", "app"}, nil)
	coldStartsDesc = prometheus.NewDesc("kedahttp_interceptor_cold_starts_total",
		"Requests that found no ready pod.", []string{"namespace", "app"}, nil)
)

func (c *countsCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- pendingDesc
	ch <- inFlightDesc
	ch <- coldStartsDesc
}

func (c *countsCollector) Collect(ch chan<- prometheus.Metric) {
	// Two apps of one name can be there for a moment, an old one that drains and a new one: one series.
	sums := map[types.NamespacedName]queue.Reading{}
	for _, a := range c.counters.Apps() {
		r, sum := a.Read(), sums[a.Name()]
		sum.Pending += r.Pending
		sum.InFlight += r.InFlight
		sum.ColdStarts += r.ColdStarts
		sums[a.Name()] = sum
	}
	for app, sum := range sums {
		ch <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(sum.Pending), app.Namespace, app.Name)
		ch <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, float64(sum.InFlight), app.Namespace, app.Name)
		ch <- prometheus.MustNewConstMetric(coldStartsDesc, prometheus.CounterValue, float64(sum.ColdStarts), app.Namespace, app.Name)
	}
}
