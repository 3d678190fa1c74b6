package command

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/interceptor/queue"
)

func newRegistry(counts queue.Sampler, calls *calls) *prometheus.Registry {
	r := prometheus.NewRegistry()
	interceptors := func(name, help string, value func(queue.Sample) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			return float64(value(counts.Sample(types.NamespacedName{}, time.Second)))
		})
	}
	r.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		interceptors("kedahttp_scaler_interceptors_reporting", "Interceptors whose counts are current.", func(s queue.Sample) int { return s.Reporting }),
		interceptors("kedahttp_scaler_interceptors_expected", "Interceptors that there are.", func(s queue.Sample) int { return s.Expected }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kedahttp_scaler_streams", Help: "Streams by which KEDA, or whoever asks, is told of apps.",
		}, func() float64 { return float64(calls.streams.Load()) }),
		calls.refused,
	)
	return r
}

// Metrics is the registry of a scaler that knows of nobody, for whoever describes its metrics.
func Metrics() *prometheus.Registry { return newRegistry(nobody{}, newCalls(1)) }

type nobody struct{}

// Sample implements queue.Sampler.
func (nobody) Sample(types.NamespacedName, time.Duration) queue.Sample { return queue.Sample{} }
