package scaler

import (
	"io"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

func with(metadata ...string) *externalscaler.ScaledObjectRef {
	r := ref()
	for i := 0; i < len(metadata); i += 2 {
		r.ScalerMetadata[metadata[i]] = metadata[i+1]
	}
	return r
}

func TestATriggersOwnMetricAndTargetGoBeforeTheApps(t *testing.T) {
	s := start(t)
	s.specs.set(scaledBy(v1alpha1.MetricConcurrency, "10", time.Minute))
	s.averages, s.lately = map[time.Duration]float64{time.Minute: 3}, 3
	for what, c := range map[string]struct {
		ref           *externalscaler.ScaledObjectRef
		metric        string
		target, value float64
	}{
		"as the app says":  {ref(), "http-concurrency", 10, 3},
		"its own metric":   {with("metric", "requestRate"), "http-request-rate", 10, 30},
		"its own target":   {with("target", "2.5"), "http-concurrency", 2.5, 3},
		"both of its own":  {with("metric", "requestRate", "target", "7"), "http-request-rate", 7, 30},
		"as the app, said": {with("metric", "concurrency"), "http-concurrency", 10, 3},
	} {
		spec, err := s.client.GetMetricSpec(within(t), c.ref)
		require.NoError(t, err, what)
		require.Equal(t, c.metric, spec.GetMetricSpecs()[0].GetMetricName(), what)
		require.Equal(t, c.target, spec.GetMetricSpecs()[0].GetTargetSizeFloat(), what)
		got, err := s.client.GetMetrics(within(t), &externalscaler.GetMetricsRequest{ScaledObjectRef: c.ref, MetricName: c.metric})
		require.NoError(t, err, what)
		require.Equal(t, c.value, got.GetMetricValues()[0].GetMetricValueFloat(), what)
	}
	for _, wrong := range []*externalscaler.ScaledObjectRef{with("metric", "cpu"), with("target", "0"), with("target", "many"), with("interceptorTarget", "-1")} {
		_, err := s.client.GetMetricSpec(within(t), wrong)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", wrong.GetScalerMetadata())
		require.ErrorContains(t, err, "default/so")
	}
}

func TestInterceptorsAreScaledByTheRequestsOfAllAppsAndNeverAsleep(t *testing.T) {
	s := start(t)
	s.all = 1234.5
	interceptors := &externalscaler.ScaledObjectRef{Name: "so", Namespace: "default", ScalerMetadata: map[string]string{"interceptorTarget": "1000"}}
	active, err := s.client.IsActive(within(t), interceptors)
	require.NoError(t, err)
	require.True(t, active.GetResult())
	spec, err := s.client.GetMetricSpec(within(t), interceptors)
	require.NoError(t, err)
	require.Equal(t, "http-interceptor-requests", spec.GetMetricSpecs()[0].GetMetricName())
	require.Equal(t, 1000., spec.GetMetricSpecs()[0].GetTargetSizeFloat())
	get := func() (*externalscaler.GetMetricsResponse, error) {
		return s.client.GetMetrics(within(t), &externalscaler.GetMetricsRequest{ScaledObjectRef: interceptors, MetricName: "http-interceptor-requests"})
	}
	got, err := get()
	require.NoError(t, err)
	require.Equal(t, 1234.5, got.GetMetricValues()[0].GetMetricValueFloat())
	s.say(func(c *queue.Sample) { c.Reporting = 0 })
	_, err = get()
	require.Equal(t, codes.Unavailable, status.Code(err))

	stream, err := s.client.StreamIsActive(within(t), interceptors)
	require.NoError(t, err)
	s.close()
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}
