package recordstore

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"
)

// BrokenRecords counts records that could not be read.
var BrokenRecords = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "kedahttp_apiserver_broken_records_total",
	Help: "Times that a record was left out of a list or watch because it could not be read.",
})

// leftOut notes that a record was left out. One broken record must not take all others with it.
func leftOut(err error) {
	BrokenRecords.Inc()
	klog.ErrorS(err, "Leaving out an object that cannot be read")
}
