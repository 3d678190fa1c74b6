package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// passed is a request that has got a pod where requests are answered in place, and is for net/http to go on with: how the pod is to be
// asked was not known before there was one.
type passed struct {
	backend *backend.Backend
	ticket  *queue.Ticket
	pod     *balance.Endpoint
	arrived time.Time
	// start is the cold start that it waited for, if it did.
	start *coldstart.Start
	story story
	// timeouts are over, but for how long it may still wait.
	timeouts *timeouts
}

// errOther says that the pod is asked in a way that is not possible in place.
var errOther = errors.New("the pod does not speak HTTP as it is spoken in place")

// drop ends the request if nobody goes on with it: its connection is over.
func (p *passed) drop() {
	if p != nil {
		p.pod.Release()
		p.ticket.Done()
		p.backend.Tally.Done(statusClientGone, reasonClientGone, time.Since(p.arrived))
	}
}

// passedKey is the key of such a request in its context.
type passedKey struct{}

// passedOn takes the request that was passed on, nil if it was not.
func passedOn(ctx context.Context) *passed {
	if p, ok := ctx.Value(passedKey{}).(*passed); ok {
		return p
	}
	if j, ok := ctx.Value(connKey{}).(*judged); ok {
		return j.passed.Swap(nil)
	}
	return nil
}
