package demand

import (
	"math"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func TestRequestsCallForReplicas(t *testing.T) {
	app := func(metric v1alpha1.Metric, target string, bounds ...int32) *v1alpha1.HTTPApp {
		a := &v1alpha1.HTTPApp{}
		a.Spec.Scaling.Metric = metric
		if target != "" {
			a.Spec.Scaling.Target = ptr.To(resource.MustParse(target))
		}
		if len(bounds) == 2 {
			a.Spec.Scaling.MinReplicas, a.Spec.Scaling.MaxReplicas = &bounds[0], &bounds[1]
		}
		return a
	}
	const concurrency, rate = v1alpha1.MetricConcurrency, v1alpha1.MetricRequestRate
	for name, c := range map[string]struct {
		app               *v1alpha1.HTTPApp
		pending, inFlight int64
		want              int32
	}{
		"no request calls for nothing":                   {app(concurrency, "10", 0, 8), 0, 0, 0},
		"no request leaves the fewest":                   {app(concurrency, "10", 2, 8), 0, 0, 2},
		"one request calls for one":                      {app(concurrency, "10", 0, 8), 1, 0, 1},
		"a request in flight counts like one that waits": {app(concurrency, "10", 0, 8), 6, 5, 2},
		"exactly the target needs no more":               {app(concurrency, "10", 0, 8), 10, 0, 1},
		"one more than the target does":                  {app(concurrency, "10", 0, 8), 11, 0, 2},
		"a burst goes straight to what it needs":         {app(concurrency, "10", 0, 8), 80, 0, 8},
		"never more than the most":                       {app(concurrency, "10", 0, 8), 1000, 0, 8},
		"never fewer than the fewest":                    {app(concurrency, "10", 3, 8), 1, 0, 3},
		"a target below one":                             {app(concurrency, "500m", 0, 8), 2, 0, 4},
		"a target that is no whole number":               {app(concurrency, "2500m", 0, 8), 5, 0, 2},
		"the default target is 100":                      {app(concurrency, ""), 101, 0, 2},
		"the default most is 10":                         {app(concurrency, ""), 100_000, 0, 10},
		"the default metric is concurrency":              {app("", "10", 0, 8), 20, 0, 2},
		"the default most is not below the fewest": {
			&v1alpha1.HTTPApp{Spec: v1alpha1.HTTPAppSpec{Scaling: v1alpha1.Scaling{MinReplicas: ptr.To[int32](20)}}}, 1, 0, 20},
		"a request rate is not known from a queue":   {app(rate, "1", 0, 8), 50, 0, 1},
		"a request rate keeps the fewest":            {app(rate, "1", 2, 8), 50, 0, 2},
		"more requests than a replica count can say": {app(concurrency, "1m", 0, math.MaxInt32), math.MaxInt64 / 2, 0, math.MaxInt32},
		"a target that makes no sense is taken for the default": {
			app(concurrency, "0", 0, 8), 100, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Replicas(c.app, c.pending, c.inFlight); got != c.want {
				t.Errorf("%d pending and %d in flight call for %d, not %d", c.pending, c.inFlight, got, c.want)
			}
		})
	}
}

func TestTheRequestsThemselvesScaleAnAppUpThatSleepsStartsOrIsRushedAt(t *testing.T) {
	grows := func(p *autoscalingv2.HPAScalingRules) *autoscalingv2.HorizontalPodAutoscalerBehavior {
		return &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: p}
	}
	for name, c := range map[string]struct {
		scaling     v1alpha1.Scaling
		replicas    int32
		serves      bool
		now, lately int32
		want        int32
	}{
		"asleep":                                {v1alpha1.Scaling{}, 0, false, 4, 1, 4},
		"asleep, and nobody scales it":          {v1alpha1.Scaling{Autoscaler: v1alpha1.AutoscalerNone}, 0, false, 4, 1, 4},
		"asleep, its last pod is going":         {v1alpha1.Scaling{}, 0, true, 4, 1, 4},
		"starting, with fewer":                  {v1alpha1.Scaling{}, 2, false, 3, 1, 3},
		"starting, with as many":                {v1alpha1.Scaling{}, 3, false, 3, 1, 0},
		"serving":                               {v1alpha1.Scaling{}, 3, true, 9, 5, 0},
		"serving, rushed at":                    {v1alpha1.Scaling{}, 3, true, 9, 6, 6},
		"starting, rushed at":                   {v1alpha1.Scaling{}, 3, false, 1, 7, 7},
		"rushed at, and nobody scales it":       {v1alpha1.Scaling{Autoscaler: v1alpha1.AutoscalerNone}, 3, true, 9, 6, 0},
		"rushed at, and says how fast it grows": {v1alpha1.Scaling{Behavior: grows(&autoscalingv2.HPAScalingRules{})}, 3, true, 9, 6, 0},
		"rushed at, and says how it shrinks":    {v1alpha1.Scaling{Behavior: grows(nil)}, 3, true, 9, 6, 6},
	} {
		t.Run(name, func(t *testing.T) {
			app := &v1alpha1.HTTPApp{Spec: v1alpha1.HTTPAppSpec{Scaling: c.scaling}}
			if got := Rise(app, c.replicas, c.serves, true, c.now, c.lately); got != c.want {
				t.Errorf("%d replicas become %d, not %d", c.replicas, got, c.want)
			}
			if got := Rise(app, c.replicas, c.serves, false, c.now, c.lately); c.replicas > 0 && got != c.want || c.replicas == 0 && got != 0 {
				t.Errorf("%d replicas become %d when none waits", c.replicas, got)
			}
		})
	}
}
