package hold

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

const patience = 20 * time.Second

func never() bool { return false }

func always() bool { return true }

// room is what requests wait for.
type room struct{ left atomic.Int64 }

// take is called with the line locked, so never twice at the same time.
func (r *room) take() bool {
	if r.left.Load() == 0 {
		return false
	}
	r.left.Add(-1)
	return true
}

// give makes room for n requests.
func (r *room) give(l *Line, n int64) {
	r.left.Add(n)
	l.Release()
}

// stand lets one more request wait, and returns when it does.
func stand(t *testing.T, l *Line, p *Place, take func() bool, done func(error)) {
	t.Helper()
	n := l.Len()
	go func() { done(l.Wait(context.Background(), p, 1000, time.Hour, take)) }()
	require.Eventually(t, func() bool { return l.Len() == n+1 }, patience, time.Millisecond)
}

// standing is the arrivals of those that wait, the first first.
func standing(l *Line) (arrivals []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.waiting.Front(); e != nil; e = e.Next() {
		arrivals = append(arrivals, e.Value.(*Place).arrival)
	}
	return arrivals
}

func TestRequestsWaitInTheOrderOfTheirArrivalAlsoWhenTheyWaitAgain(t *testing.T) {
	l := NewLine(clock.RealClock{}, nil)
	var r room
	places := make([]Place, 5)
	released := make(chan error, 10)
	done := func(err error) { released <- err }
	for i := range places {
		stand(t, l, &places[i], r.take, done)
	}
	require.Equal(t, []uint64{1, 2, 3, 4, 5}, standing(l))
	r.give(l, 5)
	for range places {
		require.NoError(t, <-released)
	}
	// The pod was none: all are back, in any order, behind a new one.
	var late Place
	stand(t, l, &late, r.take, done)
	for _, i := range []int{3, 0, 4, 2, 1} {
		stand(t, l, &places[i], r.take, done)
	}
	require.Equal(t, []uint64{1, 2, 3, 4, 5, 6}, standing(l))
	r.give(l, 6)
	for range 6 {
		require.NoError(t, <-released)
	}
	require.Zero(t, l.Len())
}

func TestNobodyWaitsWhenThereIsNoNeedTo(t *testing.T) {
	l := NewLine(clock.RealClock{}, nil)
	var p Place
	require.NoError(t, l.Wait(t.Context(), &p, 0, time.Hour, always))
}

func TestALineHasABoundThatDoesNotHitThoseWhoWaitedBefore(t *testing.T) {
	l := NewLine(clock.RealClock{}, nil)
	var r room
	var first, second, third Place
	released := make(chan error, 3)
	done := func(err error) { released <- err }
	stand(t, l, &first, r.take, done)
	r.give(l, 1)
	require.NoError(t, <-released)
	stand(t, l, &second, r.take, done)
	require.ErrorIs(t, l.Wait(t.Context(), &third, 1, time.Hour, never), ErrFull)
	require.ErrorIs(t, l.Wait(t.Context(), &third, 0, time.Hour, never), ErrFull)
	go func() { done(l.Wait(context.Background(), &first, 1, time.Hour, r.take)) }()
	require.Eventually(t, func() bool { return l.Len() == 2 }, patience, time.Millisecond)
	r.give(l, 2)
	require.NoError(t, <-released)
	require.NoError(t, <-released)
}

func TestTheTimeOfAllWaitsOfARequestCounts(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(0, 0))
	l := NewLine(clk, nil)
	var r room
	var p Place
	result := make(chan error, 1)
	wait := func() { result <- l.Wait(context.Background(), &p, 10, time.Minute, r.take) }
	go wait()
	require.Eventually(t, clk.HasWaiters, patience, time.Millisecond)
	clk.Step(40 * time.Second)
	r.give(l, 1)
	require.NoError(t, <-result)
	go wait()
	require.Eventually(t, func() bool { return l.Len() == 1 && clk.HasWaiters() }, patience, time.Millisecond)
	clk.Step(20 * time.Second)
	require.ErrorIs(t, <-result, ErrTooLong)
	require.Zero(t, l.Len())
}

func TestAClientThatLeavesMakesRoomAtOnce(t *testing.T) {
	l := NewLine(clock.RealClock{}, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	left := errors.New("left")
	result := make(chan error, 1)
	var p Place
	go func() { result <- l.Wait(ctx, &p, 1, time.Hour, never) }()
	require.Eventually(t, func() bool { return l.Len() == 1 }, patience, time.Millisecond)
	cancel(left)
	require.ErrorIs(t, <-result, left)
	require.Zero(t, l.Len())
}

func TestAClosedLineEndsEveryWait(t *testing.T) {
	l := NewLine(clock.RealClock{}, nil)
	gone := errors.New("gone")
	result := make(chan error, 1)
	var p, q Place
	stand(t, l, &p, never, func(err error) { result <- err })
	l.Close(gone)
	require.ErrorIs(t, <-result, gone)
	require.ErrorIs(t, l.Wait(t.Context(), &q, 1, time.Hour, always), gone)
}

func TestNoReleaseIsMissed(t *testing.T) {
	l := NewLine(clock.RealClock{}, nil)
	for range 2000 {
		var ready atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			var p Place
			if err := l.Wait(t.Context(), &p, 10, patience, ready.Load); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			ready.Store(true)
			l.Release()
		})
		wg.Wait()
	}
}

// As many as there is room for, those that came first; whoever comes while others wait is behind them.
func TestALineIsPaced(t *testing.T) {
	l := NewLine(clock.RealClock{}, nil)
	var r room
	places := make([]Place, 4)
	released := make(chan int, len(places))
	come := func(i int) {
		stand(t, l, &places[i], r.take, func(err error) {
			if err != nil {
				t.Error(err)
			}
			released <- i
		})
	}
	for i := range 3 {
		come(i)
	}
	r.give(l, 1)
	require.Equal(t, 0, <-released)
	require.Equal(t, []uint64{2, 3}, standing(l))
	r.left.Add(1) // and nobody was told yet
	come(3)
	require.Equal(t, []uint64{2, 3, 4}, standing(l))
	l.Release()
	require.Equal(t, 1, <-released)
	require.Equal(t, []uint64{3, 4}, standing(l))
	r.give(l, 3)
	require.ElementsMatch(t, []int{2, 3}, []int{<-released, <-released})
	require.Eventually(t, func() bool { return !l.Busy() }, patience, time.Millisecond)
	require.Equal(t, int64(1), r.left.Load(), "nobody was there to take it")
}

func TestAClientThatLeavesWhenItIsItsTurnHasWhatItWaitedForOrAnotherGetsIt(t *testing.T) {
	l := NewLine(clock.RealClock{}, nil)
	for range 500 {
		var r room
		ctx, cancel := context.WithCancel(t.Context())
		var leaving, staying Place
		left, stayed := make(chan error, 1), make(chan error, 1)
		go func() { left <- l.Wait(ctx, &leaving, 1000, time.Hour, r.take) }()
		for l.Len() == 0 {
			runtime.Gosched()
		}
		go func() { stayed <- l.Wait(context.Background(), &staying, 1000, time.Hour, r.take) }()
		for l.Len() == 1 {
			runtime.Gosched()
		}
		go cancel()
		r.give(l, 1)
		if err := <-left; err == nil {
			r.give(l, 1) // its request is over
		}
		select {
		case err := <-stayed:
			require.NoError(t, err)
		case <-time.After(patience):
			require.Fail(t, "a release was lost")
		}
		require.Zero(t, r.left.Load())
	}
}
