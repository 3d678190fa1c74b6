package recordstore

import (
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
)

var brokenRecords = metrics.NewCounter(&metrics.CounterOpts{
	Name:           "kedahttp_apiserver_broken_records_total",
	Help:           "How many times a record was left out of a list or watch because it could not be read.",
	StabilityLevel: metrics.ALPHA,
})

func init() { legacyregistry.MustRegister(brokenRecords) }

// leftOut notes that a record was left out. One broken record must not take all others with it.
func leftOut(err error) {
	brokenRecords.Inc()
	klog.ErrorS(err, "Leaving out an object that cannot be read")
}
