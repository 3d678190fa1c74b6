package queue

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

var shop = types.NamespacedName{Namespace: "default", Name: "shop"}

func TestARequestMovesThroughTheCountsExactlyOnce(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	a := NewCounters(clk).App(shop, "1")

	var tick Ticket
	tick.Forward() // before it was accepted: no request
	tick.Done()
	require.Zero(t, a.Read())

	tick.Accept(a)
	tick.Accept(a)
	require.Equal(t, int64(1), a.Read().Pending)
	tick.Cold()
	tick.Cold()
	require.Equal(t, int64(1), a.Read().ColdStarts)
	tick.Forward()
	tick.Forward()
	require.Equal(t, int64(0), a.Read().Pending)
	require.Equal(t, int64(1), a.Read().InFlight)
	tick.Hold()
	tick.Hold()
	require.Equal(t, int64(1), a.Read().Pending)
	require.Equal(t, int64(0), a.Read().InFlight)
	tick.Forward()
	tick.Done()
	tick.Done()
	tick.Forward()
	tick.Hold()
	tick.Accept(a)
	tick.Cold()
	r := a.Read()
	require.Equal(t, Reading{Requests: 1, ColdStarts: 1, LastRequest: time.Unix(1000, 0)}, r)
}

func TestATicketThatWasPassedOnIsTheSameRequest(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	a := NewCounters(clk).App(shop, "1")
	var tick Ticket
	tick.Accept(a)
	tick.Cold()
	before := a.Read()
	heir := tick.Pass()
	tick.Forward()
	tick.Done()
	heir.Cold()
	require.Equal(t, before, a.Read())
	heir.Done()
	require.Equal(t, Reading{Requests: 1, ColdStarts: 1, LastRequest: time.Unix(1000, 0)}, a.Read())
}

func TestTheIntegralIsTheTimeThatRequestsSpent(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	a := NewCounters(clk).App(shop, "1")
	var x, y Ticket
	x.Accept(a)
	clk.Step(1500 * time.Millisecond)
	y.Accept(a)
	x.Forward()
	clk.Step(time.Second)
	require.InDelta(t, 3.5, a.Read().ConcurrencySeconds, 1e-9)
	x.Done()
	clk.Step(time.Hour)
	require.InDelta(t, 3603.5, a.Read().ConcurrencySeconds, 1e-9)
	y.Done()
	clk.Step(time.Hour)
	require.InDelta(t, 3603.5, a.Read().ConcurrencySeconds, 1e-9)
}

func TestTheIntegralOutlivesTheRangeOfItsWords(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	a := NewCounters(clk).App(shop, "1")
	tickets := make([]Ticket, 1000)
	for i := range tickets {
		tickets[i].Accept(a)
	}
	const years = 5
	for range years * 365 {
		clk.Step(24 * time.Hour)
		a.Read() // as a scrape would, far more often
	}
	for i := range tickets {
		tickets[i].Done()
	}
	require.InEpsilon(t, 1000*years*365*24*3600.0, a.Read().ConcurrencySeconds, 1e-9)
}

func TestCountsAreExactWhenManyRequestsMoveAtTheSameTime(t *testing.T) {
	c := NewCounters(clock.RealClock{})
	a := c.App(shop, "1")
	const workers, each = 8, 2000
	spent := make([]time.Duration, workers)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		var before Reading
		for {
			select {
			case <-stop:
				return
			default:
			}
			r := a.Read()
			if r.Pending < 0 || r.InFlight < 0 || r.Requests < before.Requests || r.ConcurrencySeconds < before.ConcurrencySeconds-1e-3 {
				t.Errorf("counts went from %+v to %+v", before, r)
				return
			}
			before = r
		}
	})
	for w := range workers {
		wg.Go(func() {
			for range each {
				var tick Ticket
				from := time.Now()
				tick.Accept(a)
				if rand.IntN(2) == 0 {
					tick.Forward()
				}
				tick.Done()
				spent[w] += time.Since(from)
			}
		})
	}
	wg.Wait()
	close(stop)
	reader.Wait()
	r := a.Read()
	require.Zero(t, r.Pending)
	require.Zero(t, r.InFlight)
	require.Equal(t, int64(workers*each), r.Requests)
	var most time.Duration
	for _, s := range spent {
		most += s
	}
	require.Positive(t, r.ConcurrencySeconds)
	require.LessOrEqual(t, r.ConcurrencySeconds, most.Seconds())
}

func TestAnAppThatWasDeletedAndMadeAgainStartsFromZero(t *testing.T) {
	c := NewCounters(clock.RealClock{})
	old := c.App(shop, "1")
	var tick Ticket
	tick.Accept(old)
	c.Remove(shop, "1")
	require.Len(t, c.Apps(), 1, "its request is not done")

	fresh := c.App(shop, "2")
	require.NotSame(t, old, fresh)
	require.Zero(t, fresh.Read())
	require.False(t, c.published(old))
	require.True(t, c.published(fresh))
	require.Equal(t, int64(1), c.Open())

	tick.Done()
	require.Equal(t, []*App{fresh}, c.Apps())
	require.Zero(t, c.Open())
}

func TestAnAppThatComesBackWithTheSameUIDKeepsItsCounts(t *testing.T) {
	c := NewCounters(clock.RealClock{})
	a := c.App(shop, "1")
	var tick Ticket
	tick.Accept(a)
	c.Remove(shop, "1")
	require.Same(t, a, c.App(shop, "1"))
	tick.Done()
	require.Same(t, a, c.App(shop, "1"))
	require.Equal(t, int64(1), a.Read().Requests)
}

func TestCountingAllocatesNothing(t *testing.T) {
	a := NewCounters(clock.RealClock{}).App(shop, "1")
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		var tick Ticket
		tick.Accept(a)
		tick.Forward()
		tick.Done()
	}))
}

func BenchmarkCountingARequest(b *testing.B) {
	for _, apps := range []int{1, 16} {
		b.Run(fmt.Sprintf("apps=%d", apps), func(b *testing.B) {
			c := NewCounters(clock.RealClock{})
			all := make([]*App, apps)
			for i := range all {
				all[i] = c.App(types.NamespacedName{Namespace: "default", Name: fmt.Sprint(i)}, "1")
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				i := rand.IntN(apps)
				for pb.Next() {
					var tick Ticket
					tick.Accept(all[i])
					tick.Forward()
					tick.Done()
					i = (i + 1) % apps
				}
			})
		})
	}
}
