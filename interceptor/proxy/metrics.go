package proxy

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// Metrics tell of requests by app and by the class of the answer: their number is bounded by the number of apps, whatever
// clients send.
type Metrics struct {
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	rejections *prometheus.CounterVec
	starts     *prometheus.HistogramVec
}

// NewMetrics registers the metrics, those of the counts included.
func NewMetrics(r prometheus.Registerer, counters *queue.Counters) *Metrics {
	app := []string{"namespace", "app"}
	m := &Metrics{
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
			Help: "Requests that the interceptor answered itself or could not answer, by reason.",
		}, append(app, "reason")),
		starts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kedahttp_interceptor_cold_start_seconds",
			Help: "Time from the first request's arrival to each stage of a cold start: created and scheduled (the pod, by the cluster's clock, rounded down to a second), " +
				"address (known here), probe (answered the interceptor's own probe) or ready (said its EndpointSlice), first-byte (of the response).",
			Buckets: []float64{.1, .25, .5, .75, 1, 1.5, 2.5, 5, 10, 30, 60, 120},
		}, append(app, "stage")),
	}
	r.MustRegister(m.requests, m.duration, m.rejections, m.starts, &countsCollector{counters: counters})
	return m
}

// Forget drops the series of an app that is gone.
func (m *Metrics) Forget(app types.NamespacedName) {
	labels := prometheus.Labels{"namespace": app.Namespace, "app": app.Name}
	m.requests.DeletePartialMatch(labels)
	m.duration.DeletePartialMatch(labels)
	m.rejections.DeletePartialMatch(labels)
	m.starts.DeletePartialMatch(labels)
}

func (m *Metrics) routed(app types.NamespacedName, status int, reason string, took time.Duration) {
	m.requests.WithLabelValues(app.Namespace, app.Name, class(status)).Inc()
	m.duration.WithLabelValues(app.Namespace, app.Name).Observe(took.Seconds())
	if reason != "" {
		m.rejections.WithLabelValues(app.Namespace, app.Name, reason).Inc()
	}
}

func (m *Metrics) started(app types.NamespacedName, stages coldstart.Stages) {
	for _, s := range stages {
		m.starts.WithLabelValues(app.Namespace, app.Name, s.Name).Observe(s.After.Seconds())
	}
}

func (m *Metrics) unrouted(status int, reason string) {
	m.requests.WithLabelValues("", "", class(status)).Inc()
	m.rejections.WithLabelValues("", "", reason).Inc()
}

// class is 2xx and so on; a status that no server may send is other.
func class(status int) string {
	if status < 100 || status > 599 {
		return "other"
	}
	return strconv.Itoa(status/100) + "xx"
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
