package queue

import (
	"math"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// past is an app of which one knows averages over some windows, and what there is now.
type past struct {
	now      Sample
	averages map[time.Duration]float64
	observed time.Duration
}

func (p past) Sample(_ types.NamespacedName, window time.Duration) Sample {
	s := p.now
	s.Concurrency, s.RequestRate, s.Observed = p.averages[window], 10*p.averages[window], min(window, p.observed)
	return s
}

func TestTheLoadRisesWithABurstAndDoesNotFallWithAPause(t *testing.T) {
	for what, c := range map[string]struct {
		window, burst, longer, wake float64
		observed                    time.Duration
		pending, inFlight           int64
		want                        float64
	}{
		"steady":                         {5, 5, 5, 6, time.Hour, 0, 5, 5},
		"a burst goes before the window": {5, 50, 27, 90, time.Hour, 0, 90, 50},
		"a pause does not take away":     {50, 0, 10, 0, time.Hour, 0, 0, 50},
		"just woken, all waiting":        {2.7, 16, 8, 80, time.Hour, 80, 0, 80},
		"just woken, the first moment":   {0.03, 0.16, 0.08, 0.8, time.Hour, 80, 0, 80},
		"just woken, being served":       {4, 24, 12, 80, time.Hour, 0, 80, 80},
		"new, nothing before":            {80, 80, 80, 80, 3 * time.Second, 0, 80, 80},
	} {
		t.Run(what, func(t *testing.T) {
			p := past{
				now: Sample{Pending: c.pending, InFlight: c.inFlight}, observed: c.observed,
				averages: map[time.Duration]float64{time.Minute: c.window, Burst: c.burst, 2 * Burst: c.longer, wake: c.wake},
			}
			if got := Load(p, types.NamespacedName{}, Concurrency, time.Minute); math.Abs(got-c.want) > 1e-9 {
				t.Errorf("the load is %v, not %v", got, c.want)
			}
		})
	}
}

func TestRequestsThatWaitAreNoRate(t *testing.T) {
	p := past{now: Sample{Pending: 80}, observed: time.Hour, averages: map[time.Duration]float64{Burst: 0.2, 2 * Burst: 0.1, wake: 1}}
	if got := Load(p, types.NamespacedName{}, RequestRate, time.Minute); got != 10 {
		t.Errorf("the load is %v requests per second, not the 10 of the last two seconds", got)
	}
}
