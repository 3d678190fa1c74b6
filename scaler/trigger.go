package scaler

import (
	"strconv"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// trigger is what a ScaledObject says of itself.
type trigger struct {
	// app is the app, or queue.AllApps for the interceptors themselves.
	app       types.NamespacedName
	activeFor time.Duration
	// metric and target go before the app's; empty and zero: as the app says.
	metric v1alpha1.Metric
	target float64
}

func (s *Server) trigger(ref *externalscaler.ScaledObjectRef) (t trigger, err error) {
	m := ref.GetScalerMetadata()
	wrong := func(key, what string) error {
		return status.Errorf(codes.InvalidArgument, "the trigger of ScaledObject %s/%s has metadata.%s %q, which is no %s", ref.GetNamespace(), ref.GetName(), key, m[key], what)
	}
	positive := func(key string) (float64, error) {
		v, err := strconv.ParseFloat(m[key], 64)
		if err != nil || !(v > 0) {
			return 0, wrong(key, "number of requests")
		}
		return v, nil
	}
	if m["interceptorTarget"] != "" {
		t.app = queue.AllApps
		t.target, err = positive("interceptorTarget")
		return t, err
	}
	t = trigger{app: types.NamespacedName{Namespace: m["namespace"], Name: m["httpApp"]}, activeFor: s.config.ActiveFor}
	if t.app.Name == "" {
		return t, status.Errorf(codes.InvalidArgument,
			"the trigger of ScaledObject %s/%s does not say which HTTPApp it is for: set metadata.httpApp to the name of one", ref.GetNamespace(), ref.GetName())
	}
	if t.app.Namespace == "" {
		t.app.Namespace = ref.GetNamespace()
	}
	if v := m["activeFor"]; v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return t, wrong("activeFor", "duration such as 10s")
		}
		t.activeFor = d
	}
	switch t.metric = v1alpha1.Metric(m["metric"]); t.metric {
	case "", v1alpha1.MetricConcurrency, v1alpha1.MetricRequestRate:
	default:
		return t, wrong("metric", "metric: there are concurrency and requestRate")
	}
	if m["target"] != "" {
		t.target, err = positive("target")
	}
	return t, err
}
