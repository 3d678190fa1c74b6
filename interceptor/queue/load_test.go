package queue

import (
	"math"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// past is how many requests an app had at a time in each of the last seconds, the last one first, and before; and what there is now.
type past struct {
	now    Sample
	lately []float64
	before float64
	// observed is how far back anything is known.
	observed time.Duration
}

func (p past) Sample(_ types.NamespacedName, window time.Duration) Sample {
	s := p.now
	s.Observed = min(window, p.observed)
	sum, seconds := 0.0, int(s.Observed/time.Second)
	for i := range seconds {
		if i < len(p.lately) {
			sum += p.lately[i]
		} else {
			sum += p.before
		}
	}
	s.Concurrency = sum / float64(seconds)
	s.RequestRate = 10 * s.Concurrency
	return s
}

// seconds are so many of them, each with as much.
func seconds(n int, each float64) []float64 { return slices.Repeat([]float64{each}, n) }

func TestTheLoadRisesWithABurstAndDoesNotFallWithAPause(t *testing.T) {
	for what, c := range map[string]struct {
		lately            []float64
		before            float64
		observed          time.Duration
		pending, inFlight int64
		want              float64
	}{
		"steady":                       {nil, 5, time.Hour, 0, 5, 5},
		"unsteady":                     {[]float64{7, 7, 4, 5, 8, 2, 2, 4, 5, 6}, 5, time.Hour, 0, 7, 5},
		"a rise counts in full":        {seconds(10, 8), 5, time.Hour, 0, 8, 8},
		"a rush counts at once":        {seconds(2, 50), 5, time.Hour, 0, 50, 50},
		"a rush is remembered":         {append(seconds(17, 5), 50, 50), 5, time.Hour, 0, 5, 50},
		"and forgotten":                {append(seconds(20, 5), 50, 50), 5, time.Hour, 0, 5, (58*5 + 2*50) / 60.},
		"a pause does not take away":   {seconds(20, 0), 60, time.Hour, 0, 0, 40},
		"just woken, all waiting":      {[]float64{80, 10}, 0, time.Hour, 80, 0, 80},
		"just woken, the first moment": {[]float64{0.8}, 0, time.Hour, 80, 0, 80},
		"just woken, being served":     {seconds(3, 80), 0, time.Hour, 0, 80, 80},
		"new, nothing before":          {seconds(3, 80), 0, 3 * time.Second, 0, 80, 80},
	} {
		t.Run(what, func(t *testing.T) {
			p := past{now: Sample{Pending: c.pending, InFlight: c.inFlight}, lately: c.lately, before: c.before, observed: c.observed}
			if got := Load(p, types.NamespacedName{}, Concurrency, time.Minute); math.Abs(got-c.want) > 1e-9 {
				t.Errorf("the load is %v, not %v", got, c.want)
			}
		})
	}
}

func TestRequestsThatWaitAreNoRate(t *testing.T) {
	p := past{now: Sample{Pending: 80}, observed: time.Hour, lately: []float64{1, 1}}
	if got := Load(p, types.NamespacedName{}, RequestRate, time.Minute); got != 10 {
		t.Errorf("the load is %v requests per second, not the 10 of the last two seconds", got)
	}
}
