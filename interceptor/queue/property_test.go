package queue

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
)

// Whatever happens to interceptors and streams, the sums end where the requests do: at zero, with every request counted once.
func TestCountsReturnToZeroAndTotalsAddUpOverRestartsAndLostStreams(t *testing.T) {
	const interceptors, rounds = 3, 12
	apps := []types.NamespacedName{shop, {Namespace: "default", Name: "cart"}, {Namespace: "other", Name: "shop"}}
	f := newFleet(t)
	nodes := make([]*node, interceptors)
	listed := make([]int, interceptors)
	for i := range nodes {
		nodes[i], listed[i] = f.start(i), i
	}
	f.list(listed...)
	c := f.collector(func(c *CollectorConfig) { c.Grace = 500 * time.Millisecond })
	eventually(t, c, shop, "all report", func(s Sample) bool { return s.Reporting == interceptors })

	// served are the requests of the processes that still run.
	served := make([]map[types.NamespacedName]int64, interceptors)
	for i := range served {
		served[i] = map[types.NamespacedName]int64{}
	}
	for range rounds {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i, n := range nodes {
			for range 4 {
				wg.Go(func() {
					for range 20 {
						app := apps[rand.IntN(len(apps))]
						var tick Ticket
						tick.Accept(n.App(app, "1"))
						if rand.IntN(4) == 0 {
							tick.Cold()
						}
						time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond) // the request's work
						if rand.IntN(5) != 0 {
							tick.Forward()
						}
						if rand.IntN(5) == 0 {
							tick.Hold()
						}
						tick.Done()
						mu.Lock()
						served[i][app]++
						mu.Unlock()
					}
				})
			}
		}
		i := rand.IntN(interceptors)
		switch rand.IntN(4) {
		case 0: // a crash, under load: what it had is never heard of again
			nodes[i].kill()
			wg.Wait()
			nodes[i], served[i] = f.start(i), map[types.NamespacedName]int64{}
		case 1: // an orderly restart
			wg.Wait()
			nodes[i].drain()
			nodes[i], served[i] = f.start(i), map[types.NamespacedName]int64{}
		case 2: // the stream breaks, the process goes on
			nodes[i].cut()
			wg.Wait()
		default:
			wg.Wait()
		}
	}
	total := func(app types.NamespacedName) (n int64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, v := range c.ledger.views {
			for _, e := range c.ledger.apps[app][v] {
				n += e.past.last().requests
			}
		}
		return n
	}
	for _, app := range apps {
		var want int64
		for i := range served {
			want += served[i][app]
		}
		s := eventually(t, c, app, "all at rest", func(s Sample) bool {
			return s.Reporting == interceptors && !s.Waiting() && total(app) == want
		})
		require.Zero(t, s.Pending)
		require.Zero(t, s.InFlight)
	}
	for _, n := range nodes {
		require.Zero(t, n.Open())
	}
}
