package hold

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/utils/clock"
)

func TestAllLinesTogetherHaveABoundAndGiveBackWhatTheyTook(t *testing.T) {
	space := NewSpace(3, 800)
	a, b := NewLine(clock.RealClock{}, space), NewLine(clock.RealClock{}, space)
	var r room
	places := []*Place{{Bytes: 40}, {Bytes: 40}, {Bytes: 60}}
	released := make(chan error, 3)
	done := func(err error) { released <- err }
	stand(t, a, places[0], r.take, done)
	require.ErrorIs(t, a.Wait(t.Context(), &Place{Bytes: 61}, 10, time.Hour, never), ErrCrowded, "a line has a quarter of a half of the bytes")
	require.ErrorIs(t, b.Wait(t.Context(), &Place{Bytes: 101}, 10, time.Hour, never), ErrCrowded)
	stand(t, a, places[1], r.take, done)
	stand(t, b, places[2], r.take, done)
	c := NewLine(clock.RealClock{}, space)
	for _, l := range []*Line{a, b, c} {
		require.ErrorIs(t, l.Wait(t.Context(), &Place{}, 10, time.Hour, never), ErrCrowded)
	}
	require.NoError(t, c.Wait(t.Context(), &Place{Bytes: 1000}, 10, time.Hour, always), "one that need not wait takes nothing")
	r.give(a, 2)
	r.give(b, 1)
	for range places {
		require.NoError(t, <-released)
	}
	require.Zero(t, space.requests.Load())
	require.Zero(t, space.heads.Load())

	// Those that were there before are let in again, and counted.
	others := []*Place{{Bytes: 50}, {Bytes: 50}, {}}
	for _, p := range others {
		stand(t, b, p, r.take, done)
	}
	stand(t, a, places[0], r.take, done)
	require.Equal(t, int64(4), space.requests.Load())
	r.give(b, 3)
	r.give(a, 1)
	for range 4 {
		require.NoError(t, <-released)
	}
	require.Zero(t, space.requests.Load())
	require.Zero(t, space.heads.Load())
	require.Zero(t, a.heads.Load()+b.heads.Load())
}

func TestBodiesHaveABoundOfTheirOwn(t *testing.T) {
	space := NewSpace(1, 800)
	var lines []*Line
	for range 5 {
		lines = append(lines, NewLine(clock.RealClock{}, space))
	}
	var wg sync.WaitGroup
	for _, l := range lines[:4] {
		wg.Go(func() {
			for range 1000 {
				if l.Buffer(100) {
					l.Unbuffer(100)
				}
			}
		})
	}
	wg.Wait()
	for _, l := range lines[:4] {
		require.True(t, l.Buffer(60))
		require.False(t, l.Buffer(41), "a quarter of a half is one line's")
		require.True(t, l.Buffer(40))
	}
	require.False(t, lines[4].Buffer(1), "a half is all lines'")
	lines[0].Unbuffer(100)
	require.True(t, lines[4].Buffer(100))
	require.Zero(t, space.heads.Load())
}
