package balance

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

func addresses(n int) (pods []Pod) {
	for i := range n {
		pods = append(pods, Pod{Address: fmt.Sprint("10.0.0.", i, ":80")})
	}
	return pods
}

func TestTheLeastBusyPodIsPicked(t *testing.T) {
	p := NewPool(clock.RealClock{}, func() {})
	require.Nil(t, p.Pick(nil))
	p.Set(addresses(5))
	for range 50 {
		p.Pick(nil)
	}
	for _, e := range p.all {
		require.Equal(t, int64(10), e.InFlight(), e.Address)
	}
}

func TestOfManyPodsTheLoadIsNearlyEven(t *testing.T) {
	p := NewPool(clock.RealClock{}, func() {})
	p.Set(addresses(100))
	for range 100 * 100 {
		p.Pick(nil)
	}
	for _, e := range p.all {
		require.InDelta(t, 100, e.InFlight(), 15, e.Address)
	}
}

func TestAPodKeepsItsRequestsWhenOthersComeAndGo(t *testing.T) {
	p := NewPool(clock.RealClock{}, func() {})
	p.Set(addresses(1))
	e := p.Pick(nil)
	p.Set(addresses(2))
	require.NotEqual(t, e, p.Pick(nil))
	p.Set(addresses(1))
	require.Equal(t, int64(1), p.all[e.Address].InFlight())
	e.Release()
	require.Zero(t, p.all[e.Address].InFlight())
}

func TestAPodThatFailedIsLeftOutForALongerTimeEachTimeAndComesBack(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(0, 0))
	var mu sync.Mutex
	told := 0
	p := NewPool(clk, func() { mu.Lock(); told++; mu.Unlock() })
	heard := func() int { mu.Lock(); defer mu.Unlock(); return told }
	p.Set(addresses(1))
	require.Equal(t, 1, heard())
	once := p.Pick(nil)
	once.Succeeded()
	once.Release()
	for i, wait := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
		e := p.Pick(nil)
		require.NotNil(t, e)
		e.Release()
		e.Failed()
		e.Failed() // two requests at the same time: one failure
		require.Nil(t, p.Pick(nil))
		require.False(t, p.Available())
		require.Equal(t, 1, p.Ready(), "it is ready all the same")
		clk.Step(wait - time.Millisecond)
		require.Nil(t, p.Pick(nil), i)
		clk.Step(time.Millisecond)
		require.Eventually(t, func() bool { return p.Available() && heard() == i+2 }, 20*time.Second, time.Millisecond)
	}
	e := p.Pick(nil)
	e.Succeeded()
	e.Failed()
	clk.Step(100 * time.Millisecond)
	require.Eventually(t, p.Available, 20*time.Second, time.Millisecond, "from the beginning again")
}

func TestAPodThatBreaksConnectionsInARowIsLeftOutIfThereIsAnother(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(0, 0))
	p := NewPool(clk, func() {})
	p.Set(addresses(2))
	bad := p.Pick(nil)
	for range 10 {
		bad.Broke()
		bad.Succeeded()
	}
	require.Len(t, p.pickable.Load().all, 2, "not in a row")
	bad.Broke()
	bad.Broke()
	good := p.Pick(nil)
	require.NotEqual(t, bad, good)
	good.Broke()
	good.Broke()
	require.Equal(t, []*Endpoint{good}, p.pickable.Load().all, "better than none")
	clk.Step(quarantineFirst)
	require.Eventually(t, func() bool { return len(p.pickable.Load().all) == 2 }, 20*time.Second, time.Millisecond)
	bad.Broke()
	clk.Step(2*quarantineFirst - time.Millisecond)
	require.Equal(t, []*Endpoint{good}, p.pickable.Load().all, "for longer, and at once")
}

func TestAFailureOfAPodThatIsGoneDoesNotHitItsSuccessor(t *testing.T) {
	p := NewPool(clock.RealClock{}, func() {})
	p.Set(addresses(1))
	e := p.Pick(nil)
	p.Set(nil)
	p.Set(addresses(1))
	e.Failed()
	require.True(t, p.Available())
}

func TestAnotherPodIsPreferredToTheOneThatFailed(t *testing.T) {
	p := NewPool(clock.RealClock{}, func() {})
	p.Set(addresses(1))
	only := p.Pick(nil)
	require.Equal(t, only, p.Pick(only), "better than none")
	p.Set(addresses(3))
	for range 20 {
		require.NotEqual(t, only, p.Pick(only))
	}
}

func TestToPickAPodNothingIsAllocated(t *testing.T) {
	for _, n := range []int{1, few, 100} {
		for _, limit := range []int{0, 1000} {
			p := NewPool(clock.RealClock{}, func() {})
			p.SetLimit(limit)
			p.Set(addresses(n))
			require.Zero(t, testing.AllocsPerRun(100, func() { p.Pick(nil).Release() }), "%d pods that take %d requests", n, limit)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{1, 8, 100} {
		b.Run(fmt.Sprint("pods=", n), func(b *testing.B) {
			p := NewPool(clock.RealClock{}, func() {})
			p.Set(addresses(n))
			b.ReportAllocs()
			for b.Loop() {
				p.Pick(nil).Release()
			}
		})
	}
}

func TestNoPodGetsMoreThanItsLimit(t *testing.T) {
	for _, n := range []int{1, 3, 20} {
		p := NewPool(clock.RealClock{}, func() {})
		p.SetLimit(4)
		p.Set(addresses(n))
		var picked atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for p.Pick(nil) != nil {
					picked.Add(1)
				}
			})
		}
		wg.Wait()
		require.Equal(t, int64(4*n), picked.Load(), "every place is taken, and no more")
		for _, e := range p.all {
			require.Equal(t, int64(4), e.InFlight())
		}
		require.False(t, p.Available())
	}
}

func TestWhatBecomesFreeIsToldOf(t *testing.T) {
	told := 0
	p := NewPool(clock.RealClock{}, func() { told++ })
	p.SetLimit(2)
	require.Zero(t, told)
	p.Set(addresses(2))
	require.Equal(t, 1, told, "pods came")
	var es []*Endpoint
	for e := p.Pick(nil); e != nil; e = p.Pick(nil) {
		es = append(es, e)
	}
	require.Len(t, es, 4)
	es[0].Release()
	require.Equal(t, 2, told, "a request ended")
	require.NotNil(t, p.Pick(nil))
	p.SetLimit(3)
	require.Equal(t, 3, told, "the limit was raised")
	require.True(t, p.Available())
	p.SetLimit(1)
	es[1].Release()
	require.Equal(t, 3, told, "there are more requests than the limit allows now")
	require.False(t, p.Available())
	require.Nil(t, p.Pick(nil))
	p.SetLimit(0)
	require.Equal(t, 4, told, "there is no limit any more")
	require.True(t, p.Available())
}

func TestAnAddressThatComesBackHasItsRequestsStill(t *testing.T) {
	p := NewPool(clock.RealClock{}, func() {})
	p.SetLimit(1)
	p.Set(addresses(1))
	e := p.Pick(nil)
	p.Set(nil)
	p.Set(addresses(1))
	require.Nil(t, p.Pick(nil))
	e.Release()
	require.NotNil(t, p.Pick(nil))
	require.Empty(t, p.leaving)
}

func TestAPickThatStillKnowsAPodThatLeftDoesNotTakeIt(t *testing.T) {
	p := NewPool(clock.RealClock{}, func() {})
	p.SetLimit(1)
	p.Set(addresses(1))
	known := p.pickable.Load().all
	p.Set(nil)
	p.Set(addresses(1))
	require.NotNil(t, p.Pick(nil))
	require.Nil(t, pick(known, 1), "the pod would have two")
}

func TestALimitHoldsWhilePodsComeAndGo(t *testing.T) {
	p := NewPool(clock.RealClock{}, func() {})
	p.SetLimit(2)
	p.Set(addresses(3))
	var now sync.Map // address -> *atomic.Int64
	for _, a := range addresses(3) {
		now.Store(a.Address, new(atomic.Int64))
	}
	stop := make(chan struct{})
	var coming sync.WaitGroup
	coming.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				p.Set(addresses(3)[i%3:])
				p.Set(nil)
			}
		}
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				e := p.Pick(nil)
				if e == nil {
					continue
				}
				n, _ := now.Load(e.Address)
				if got := n.(*atomic.Int64).Add(1); got > 2 {
					t.Errorf("%d requests at %s", got, e.Address)
				}
				n.(*atomic.Int64).Add(-1)
				e.Release()
			}
		})
	}
	wg.Wait()
	close(stop)
	coming.Wait()
	p.Set(addresses(3))
	for _, e := range p.all {
		require.Zero(t, e.InFlight())
	}
	require.Empty(t, p.leaving)
}

func TestAPodThatIsStartingIsLeftOutForATenthOfItsAge(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(0, 0))
	p := NewPool(clk, func() {})
	p.Set(addresses(1))
	for i, c := range []struct{ age, wait time.Duration }{
		{0, 50 * time.Millisecond}, {time.Second, 100 * time.Millisecond}, {10 * time.Second, time.Second}, {time.Hour, 5 * time.Second},
	} {
		clk.SetTime(time.Unix(0, 0).Add(c.age))
		e := p.Pick(nil)
		e.Release()
		e.Failed()
		clk.Step(c.wait - time.Millisecond)
		require.False(t, p.Available(), i)
		clk.Step(time.Millisecond)
		require.Eventually(t, p.Available, 20*time.Second, time.Millisecond, i)
	}
}

func TestPodsInTheSameZoneGoFirstAsLongAsTheyCanCarryIt(t *testing.T) {
	for _, limit := range []int{0, 5} {
		p := NewPool(clock.RealClock{}, func() {})
		pods := addresses(3)
		pods[0].Near = true
		p.SetTarget(3)
		p.SetLimit(limit)
		p.Set(pods)
		load := func() (n []int64) {
			for _, pod := range pods {
				n = append(n, p.all[pod.Address].InFlight())
			}
			return n
		}
		for range 3 {
			p.Pick(nil)
		}
		require.Equal(t, []int64{3, 0, 0}, load())
		for range 6 {
			p.Pick(nil)
		}
		require.Equal(t, []int64{3, 3, 3}, load(), "what it is not for, others get, until they have as much")
		require.NotEqual(t, pods[0].Address, p.Pick(p.all[pods[0].Address]).Address)
		require.NotNil(t, p.Pick(nil), "limit %d", limit)
	}
}

func TestAnEmptyZoneOrATargetThatIsNotKnownIsNoReasonToWait(t *testing.T) {
	p := NewPool(clock.RealClock{}, func() {})
	pods := addresses(2)
	p.Set(pods)
	require.NotNil(t, p.Pick(nil), "no pod is near")
	pods[0].Near, pods[1].Near = true, true
	p.Set(pods)
	for range 11 {
		require.NotNil(t, p.Pick(nil), "all are")
	}
	require.Equal(t, int64(6), p.all[pods[0].Address].InFlight())
	pods = pods[:1]
	p.Set(pods)
	near := p.all[pods[0].Address]
	require.Equal(t, near, p.Pick(near), "it is the only one")
}
