package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedahttp/kedahttp/test/bench/report"
)

// openLoop sends requests at a fixed rate, whatever becomes of them, and returns how long after its due time each was answered.
// So a server that stops for a while is charged with all requests that would have come meanwhile, not with one.
//
// One thread does nothing but wait for the next due time and send: the runtime's own timers are as coarse as a millisecond,
// which is more than what is measured.
func openLoop(ctx context.Context, address, host string, rate int, during time.Duration) (report.Times, error) {
	const connections = 64
	type exchange struct {
		*client
		due chan time.Time
	}
	free := make(chan *exchange, connections)
	var mu sync.Mutex
	var times report.Times
	var wg sync.WaitGroup
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	all := make([]*exchange, 0, connections)
	end := func() {
		for _, x := range all {
			close(x.due)
		}
		wg.Wait()
	}
	for range connections {
		c, err := dial(address)
		if err == nil {
			err = c.get(host) // what is measured does not begin with connections
		}
		if err != nil {
			end()
			return nil, err
		}
		x := &exchange{c, make(chan time.Time, 1)}
		all = append(all, x)
		free <- x
		wg.Go(func() {
			defer x.conn.Close() //nolint:errcheck // read to its end
			mine := make(report.Times, 0, 2*rate*int(during/time.Second+1)/connections)
			for due := range x.due {
				status, err := x.receive()
				if err == nil && status != "200" {
					err = fmt.Errorf("%s answers %s", host, status)
				}
				if err != nil {
					fail(err)
					return
				}
				mine = append(mine, time.Since(due))
				free <- x
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
		})
	}

	sent := make(chan struct{})
	go func() {
		defer close(sent)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread() // a thread that ends takes the processes along that were started on it
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) //nolint:errcheck // the default
		what := request(host)
		started := time.Now()
		for n := range rate * int(during) / int(time.Second) {
			due := started.Add(time.Duration(n) * time.Second / time.Duration(rate))
			if wait := time.Until(due); wait > 0 {
				t := unix.NsecToTimespec(int64(wait))
				_ = unix.Nanosleep(&t, nil)
			}
			select {
			case x := <-free:
				x.due <- due
				if err := x.send(what); err != nil {
					fail(err)
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	<-sent
	end()
	return times, context.Cause(ctx)
}
