package server

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/cert"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/storage/recordstore"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// metrics are what the library does not tell of this server.
type metrics struct {
	counts queue.Sampler
	// apps are all *v1alpha1.HTTPApp.
	apps func() []any
	// expiries are when certificates end, by the name of their Secret.
	expiries func() map[string]time.Time
	// serving is the certificate that this server serves with, in PEM.
	serving func() (cert, key []byte)
	leads   *atomic.Bool
}

var _ prometheus.Collector = metrics{}

var (
	reportingDesc = prometheus.NewDesc("kedahttp_apiserver_interceptors_reporting", "Interceptors whose counts are current.", nil, nil)
	expectedDesc  = prometheus.NewDesc("kedahttp_apiserver_interceptors_expected", "Interceptors that there are.", nil, nil)
	leaderDesc    = prometheus.NewDesc("kedahttp_apiserver_leader", "1 in the replica that leads: that makes apps into workloads, and has them sleep. 0 in all others.", nil, nil)
	expiryDesc    = prometheus.NewDesc("kedahttp_apiserver_certificate_expiry_timestamp_seconds",
		"When the certificates end that this server makes for kedahttp's own parts, by their Secret. They are renewed when a third of their life is left.", []string{"secret"}, nil)
	servingDesc = prometheus.NewDesc("kedahttp_apiserver_serving_certificate_expiry_timestamp_seconds",
		"When the certificate ends that this server serves with, be it made here or read from files.", nil, nil)
	replicasDesc = prometheus.NewDesc("kedahttp_apiserver_app_replicas", "Pods of an app, ready or not. All replicas of the API server tell the same.", []string{"namespace", "app"}, nil)
	readyDesc    = prometheus.NewDesc("kedahttp_apiserver_app_ready_replicas", "Ready pods of an app. All replicas of the API server tell the same.", []string{"namespace", "app"}, nil)
)

// Describe implements prometheus.Collector.
func (m metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{reportingDesc, expectedDesc, leaderDesc, expiryDesc, servingDesc, replicasDesc, readyDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	sample := m.counts.Sample(types.NamespacedName{}, time.Second)
	gauge(reportingDesc, float64(sample.Reporting))
	gauge(expectedDesc, float64(sample.Expected))
	leads := 0.0
	if m.leads.Load() {
		leads = 1
	}
	gauge(leaderDesc, leads)
	for secret, at := range m.expiries() {
		gauge(expiryDesc, float64(at.Unix()), secret)
	}
	if at, ok := endOf(m.serving()); ok {
		gauge(servingDesc, float64(at.Unix()))
	}
	for _, obj := range m.apps() {
		if app, ok := obj.(*v1alpha1.HTTPApp); ok {
			gauge(replicasDesc, float64(app.Status.Replicas), app.Namespace, app.Name)
			gauge(readyDesc, float64(app.Status.ReadyReplicas), app.Namespace, app.Name)
		}
	}
}

// endOf is when the first certificate of a chain in PEM ends.
func endOf(chain, _ []byte) (at time.Time, ok bool) {
	all, err := cert.ParseCertsPEM(chain)
	if err != nil {
		return at, false
	}
	return all[0].NotAfter, true
}

func (m metrics) register(r prometheus.Registerer) error {
	if err := r.Register(m); err != nil {
		return err
	}
	return r.Register(recordstore.BrokenRecords)
}

// Metrics is the registry of a server that has something of everything, for whoever describes its metrics. Those of the library, which
// a server serves with them, are not in it.
func Metrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	app := &v1alpha1.HTTPApp{}
	app.Namespace, app.Name = "default", "hello"
	selfSigned, _, err := cert.GenerateSelfSignedCertKey("kedahttp", nil, nil)
	if err != nil {
		panic(err) // there are no random numbers
	}
	m := metrics{
		counts:   nobody{},
		apps:     func() []any { return []any{app} },
		expiries: func() map[string]time.Time { return map[string]time.Time{"kedahttp-ca": time.Now()} },
		serving:  func() (cert, key []byte) { return selfSigned, nil },
		leads:    &atomic.Bool{},
	}
	if err := m.register(r); err != nil {
		panic(err) // of names that are in this package
	}
	return r
}

type nobody struct{}

// Sample implements queue.Sampler.
func (nobody) Sample(types.NamespacedName, time.Duration) queue.Sample { return queue.Sample{} }
