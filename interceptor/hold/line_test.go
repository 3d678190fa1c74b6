package hold

import (
	"context"
	"errors"
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

// stand lets one more request wait, and returns when it does.
func stand(t *testing.T, l *Line, p *Place, done func(error)) {
	t.Helper()
	n := l.Len()
	go func() { done(l.Wait(context.Background(), p, 1000, time.Hour, never)) }()
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
	l := NewLine(clock.RealClock{})
	places := make([]Place, 5)
	released := make(chan error, 10)
	done := func(err error) { released <- err }
	for i := range places {
		stand(t, l, &places[i], done)
	}
	require.Equal(t, []uint64{1, 2, 3, 4, 5}, standing(l))
	l.Release()
	for range places {
		require.NoError(t, <-released)
	}
	// The pod was none: all are back, in any order, behind a new one.
	var late Place
	stand(t, l, &late, done)
	for _, i := range []int{3, 0, 4, 2, 1} {
		stand(t, l, &places[i], done)
	}
	require.Equal(t, []uint64{1, 2, 3, 4, 5, 6}, standing(l))
	l.Release()
	for range 6 {
		require.NoError(t, <-released)
	}
	require.Zero(t, l.Len())
}

func TestNobodyWaitsWhenThereIsNoNeedTo(t *testing.T) {
	l := NewLine(clock.RealClock{})
	var p Place
	require.NoError(t, l.Wait(t.Context(), &p, 0, time.Hour, func() bool { return true }))
}

func TestALineHasABoundThatDoesNotHitThoseWhoWaitedBefore(t *testing.T) {
	l := NewLine(clock.RealClock{})
	var first, second, third Place
	released := make(chan error, 3)
	done := func(err error) { released <- err }
	stand(t, l, &first, done)
	l.Release()
	require.NoError(t, <-released)
	stand(t, l, &second, done)
	require.ErrorIs(t, l.Wait(t.Context(), &third, 1, time.Hour, never), ErrFull)
	require.ErrorIs(t, l.Wait(t.Context(), &third, 0, time.Hour, never), ErrFull)
	go func() { done(l.Wait(context.Background(), &first, 1, time.Hour, never)) }()
	require.Eventually(t, func() bool { return l.Len() == 2 }, patience, time.Millisecond)
	l.Release()
	require.NoError(t, <-released)
	require.NoError(t, <-released)
}

func TestTheTimeOfAllWaitsOfARequestCounts(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(0, 0))
	l := NewLine(clk)
	var p Place
	result := make(chan error, 1)
	wait := func() { result <- l.Wait(context.Background(), &p, 10, time.Minute, never) }
	go wait()
	require.Eventually(t, clk.HasWaiters, patience, time.Millisecond)
	clk.Step(40 * time.Second)
	l.Release()
	require.NoError(t, <-result)
	go wait()
	require.Eventually(t, func() bool { return l.Len() == 1 && clk.HasWaiters() }, patience, time.Millisecond)
	clk.Step(20 * time.Second)
	require.ErrorIs(t, <-result, ErrTooLong)
	require.Zero(t, l.Len())
}

func TestAClientThatLeavesMakesRoomAtOnce(t *testing.T) {
	l := NewLine(clock.RealClock{})
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
	l := NewLine(clock.RealClock{})
	gone := errors.New("gone")
	result := make(chan error, 1)
	var p, q Place
	stand(t, l, &p, func(err error) { result <- err })
	l.Close(gone)
	require.ErrorIs(t, <-result, gone)
	require.ErrorIs(t, l.Wait(t.Context(), &q, 1, time.Hour, never), gone)
}

func TestNoReleaseIsMissed(t *testing.T) {
	l := NewLine(clock.RealClock{})
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
