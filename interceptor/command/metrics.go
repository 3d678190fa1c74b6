package command

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/interceptor/accesslog"
	"github.com/kedahttp/kedahttp/interceptor/certificates"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/proxy"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

func registerLog(r prometheus.Registerer, log *accesslog.Log) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "kedahttp_interceptor_access_log_dropped_total",
		Help: "Lines of the access log that were dropped because they were not taken fast enough.",
	}, func() float64 { return float64(log.Dropped()) }))
}

// Metrics is the registry of an interceptor that has everything and has seen something of everything, for whoever describes its metrics.
func Metrics() *prometheus.Registry {
	r, counters, app := newRegistry(), queue.NewCounters(clock.RealClock{}), types.NamespacedName{Namespace: "default", Name: "hello"}
	metrics := proxy.NewMetrics(r, counters)
	counters.App(app, "")
	tally := metrics.Of(app)
	tally.Done(503, "queue_full", time.Second)
	tally.Retried("connect")
	tally.Started(coldstart.Stages{{Name: "first-byte", After: time.Second}})
	registerLog(r, accesslog.New(accesslog.Config{}))
	r.MustRegister(certificates.Expiries{app: time.Now()})
	return r
}
