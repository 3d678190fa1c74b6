package coldstart

import (
	"errors"
	"syscall"
	"time"
)

const (
	// often is the time between two attempts at first.
	often = 10 * time.Millisecond
	// seldom is the longest time between two attempts.
	seldom = 250 * time.Millisecond
	// together is how many addresses of an app are asked as often as one is. More share the attempts.
	together = 8
	// firstTimeout is short, because a packet that is lost while a pod's network is being made is sent again after a second.
	firstTimeout = 50 * time.Millisecond
)

// pause is the time until the next attempt: a twentieth of the time that the address has been asked for, which is what a slow
// start loses by it at most.
func pause(asked time.Duration, addresses int) time.Duration {
	return min(max(asked/20, often), seldom) * time.Duration(1+max(addresses-1, 0)/together)
}

// patience is how long an attempt may take. It begins short and adapts to the way to the pod, and to the pod.
type patience struct {
	now, most time.Duration
}

func newPatience(most time.Duration) patience {
	return patience{now: min(firstTimeout, most), most: most}
}

// learn takes in how an attempt failed.
func (p *patience) learn(err error, timedOut bool, took time.Duration) {
	switch {
	case timedOut:
		p.now = min(2*p.now, p.most)
	case errors.Is(err, syscall.ECONNREFUSED):
		// That was one round trip. A request on a new connection takes two, and the app some time.
		p.now = min(max(p.now, 5*took), p.most)
	}
}
