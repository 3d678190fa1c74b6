package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// request is one that comes at a moment of the trace, and how long a pod works on it.
type request struct{ at, takes time.Duration }

const (
	// length is that of the trace.
	length = 2 * time.Hour
	// A request takes as long as this on average, exponentially distributed, and at least the shortest.
	meanWork, leastWork = 400 * time.Millisecond, 20 * time.Millisecond
)

// burst is a time of so many times more requests than usual.
type burst struct {
	at, lasts time.Duration
	times     float64
}

// spike is so many requests within a second.
type spike struct {
	at       time.Duration
	requests int
}

// The trace is a day in two hours: a night with a request now and then, a morning, noon and evening, and a night again; on top of that
// bursts, as of a campaign, and spikes, as of a cron job elsewhere. Two spikes come in the night.
var (
	day    = struct{ begins, ends time.Duration }{20 * time.Minute, 100 * time.Minute}
	noon   = 80.0      // requests a second
	night  = 1 / 150.0 // the same
	bursts = []burst{
		{30 * time.Minute, time.Minute, 3}, {42 * time.Minute, 30 * time.Second, 2.5}, {58 * time.Minute, time.Minute, 2},
		{75 * time.Minute, 2 * time.Minute, 2.5}, {90 * time.Minute, time.Minute, 3},
	}
	spikes = []spike{
		{7*time.Minute + 3*time.Second, 100}, {25*time.Minute + 8*time.Second, 100}, {49*time.Minute + 1*time.Second, 150},
		{66*time.Minute + 11*time.Second, 120}, {97*time.Minute + 5*time.Second, 100}, {112*time.Minute + 9*time.Second, 60},
	}
)

// rate is how many requests a second come at a moment, without spikes.
func rate(at time.Duration) float64 {
	r := night
	if at >= day.begins && at < day.ends {
		s := math.Sin(math.Pi * float64(at-day.begins) / float64(day.ends-day.begins))
		r += noon * s * s
	}
	for _, b := range bursts {
		if at >= b.at && at < b.at+b.lasts {
			r *= b.times
		}
	}
	return r
}

// trace makes the requests, the same ones for the same seed.
func trace(seed uint64) []request {
	random := rand.New(rand.NewPCG(seed, seed))
	work := func() time.Duration {
		return max(leastWork, time.Duration(random.ExpFloat64()*float64(meanWork)))
	}
	var requests []request
	// A Poisson process whose rate changes is one at the highest rate of which some are left out.
	highest := 3*noon + night
	for at := time.Duration(0); ; {
		at += time.Duration(random.ExpFloat64() / highest * float64(time.Second))
		if at >= length {
			break
		}
		if random.Float64() < rate(at)/highest {
			requests = append(requests, request{at, work()})
		}
	}
	for _, s := range spikes {
		for range s.requests {
			requests = append(requests, request{s.at + time.Duration(random.Float64()*float64(time.Second)), work()})
		}
	}
	slices.SortStableFunc(requests, func(a, b request) int { return int(a.at - b.at) })
	return requests
}
