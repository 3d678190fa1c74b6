package server

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/cert"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

type two struct{}

func (two) Sample(types.NamespacedName, time.Duration) queue.Sample {
	return queue.Sample{Reporting: 1, Expected: 2}
}

func TestMetricsTellWhatThereIs(t *testing.T) {
	app := &v1alpha1.HTTPApp{Status: v1alpha1.HTTPAppStatus{Replicas: 3, ReadyReplicas: 2}}
	app.Namespace, app.Name = "default", "hello"
	leads := &atomic.Bool{}
	served, _, err := cert.GenerateSelfSignedCertKey("a", nil, nil)
	require.NoError(t, err)
	parsed, err := cert.ParseCertsPEM(served)
	require.NoError(t, err)
	m := metrics{
		serving: func() (cert, key []byte) { return served, nil },
		counts:  two{}, leads: leads, apps: func() []any { return []any{app} },
		expiries: func() map[string]time.Time { return map[string]time.Time{"kedahttp-ca": time.Unix(1000, 0)} },
	}
	for _, leading := range []float64{0, 1} {
		leads.Store(leading == 1)
		registry := prometheus.NewRegistry()
		require.NoError(t, registry.Register(m))
		families, err := registry.Gather()
		require.NoError(t, err)
		values := map[string]float64{}
		for _, f := range families {
			require.Len(t, f.GetMetric(), 1, f.GetName())
			values[strings.TrimPrefix(f.GetName(), "kedahttp_apiserver_")] = f.GetMetric()[0].GetGauge().GetValue()
		}
		require.Equal(t, map[string]float64{
			"app_ready_replicas": 2, "app_replicas": 3, "certificate_expiry_timestamp_seconds": 1000,
			"serving_certificate_expiry_timestamp_seconds": float64(parsed[0].NotAfter.Unix()),
			"interceptors_expected":                        2, "interceptors_reporting": 1, "leader": leading,
		}, values)
	}
}
