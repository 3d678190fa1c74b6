package queue

import (
	"slices"
	"sort"
	"time"
)

// point is an app's counts in one interceptor at one moment, on that interceptor's clock.
type point struct {
	at time.Time
	// integral is that of the open requests over time, in request-seconds.
	integral float64
	requests int64
	open     int64
}

// history is what is known of an app's past in one interceptor, back to the longest window that is asked for.
//
// It keeps the first and the last point of each second. Every change is told within milliseconds, so between the last point of
// one second and the first of a later one nothing changed: the past is exact there, and within a second that had more than
// two points it is a straight line between exact ends.
type history struct {
	points []point
}

const grain = time.Second

func (h *history) add(p point, keep time.Duration) {
	n := len(h.points)
	switch {
	case n > 0 && p.at.Before(h.points[n-1].at):
		return // older than what is known
	case n > 1 && sameSecond(h.points[n-2], p):
		h.points[n-1] = p
	default:
		h.points = append(h.points, p)
	}
	h.prune(p.at.Add(-keep))
}

// prune forgets what is not needed to know the past since a moment.
func (h *history) prune(since time.Time) {
	// The last point at or before that moment says what it was like then.
	first := sort.Search(len(h.points), func(i int) bool { return h.points[i].at.After(since) }) - 1
	if first <= 0 {
		return
	}
	h.points = slices.Delete(h.points, 0, first)
	if cap(h.points) > 64 && len(h.points) < cap(h.points)/4 {
		h.points = slices.Clone(h.points)
	}
}

func sameSecond(a, b point) bool { return a.at.Truncate(grain).Equal(b.at.Truncate(grain)) }

// last is the latest point; there is always one.
func (h *history) last() point { return h.points[len(h.points)-1] }

// at returns the integral and the number of requests at a moment. Before the first point they are those of the first point:
// what came before is not known and is left out of every difference.
func (h *history) at(t time.Time) (integral, requests float64) {
	i := sort.Search(len(h.points), func(i int) bool { return h.points[i].at.After(t) }) - 1
	if i < 0 {
		return h.points[0].integral, float64(h.points[0].requests)
	}
	a := h.points[i]
	passed := t.Sub(a.at).Seconds()
	if i == len(h.points)-1 {
		return a.integral + float64(a.open)*passed, float64(a.requests)
	}
	b := h.points[i+1]
	if sameSecond(a, b) {
		share := passed / b.at.Sub(a.at).Seconds()
		return a.integral + share*(b.integral-a.integral), float64(a.requests) + share*float64(b.requests-a.requests)
	}
	return min(a.integral+float64(a.open)*passed, b.integral), float64(a.requests)
}
