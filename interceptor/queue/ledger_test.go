package queue

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kedahttp/kedahttp/interceptor/queue/wire"
)

// teller is an interceptor in a test of the ledger: its clock is wrong by an hour, which must not matter.
type teller struct {
	epoch    string
	sequence uint64
	integral float64
	open     int64
	requests int64
	asOf     time.Time
}

const wrongBy = -time.Hour

// becomes changes how many requests it has.
func (i *teller) becomes(open int64, now time.Time) {
	if !i.asOf.IsZero() {
		i.integral += float64(i.open) * now.Sub(i.asOf).Seconds()
	}
	i.requests += max(0, open-i.open)
	i.open, i.asOf = open, now
}

func (i *teller) update(snapshot bool, now time.Time) *wire.Update {
	i.becomes(i.open, now)
	i.sequence++
	return &wire.Update{
		Epoch: i.epoch, Sequence: i.sequence, Snapshot: snapshot, SampledAt: timestamppb.New(now.Add(wrongBy)),
		Apps: []*wire.App{{
			Namespace: shop.Namespace, Name: shop.Name, Uid: "1", InFlight: i.open, Requests: i.requests,
			ConcurrencySeconds: i.integral, LastRequestAt: timestamppb.New(now.Add(wrongBy)),
		}},
	}
}

func beat(i *teller, now time.Time) *wire.Update {
	return &wire.Update{Epoch: i.epoch, SampledAt: timestamppb.New(now.Add(wrongBy))}
}

var t0 = time.Unix(1e9, 0)

func sec(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

func ledgerOf(addresses ...string) *ledger {
	l := newLedger(30 * time.Second)
	set := map[string]bool{}
	for _, a := range addresses {
		set[a] = true
	}
	l.list(set, t0)
	return l
}

func TestAnAverageIsExactOverTheWindowAndOverWhatWasObserved(t *testing.T) {
	l := ledgerOf("a")
	i := &teller{epoch: "1"}
	l.update("a", beat(i, t0), t0) // not a snapshot: not taken
	require.False(t, l.heardOfAll(t0))
	empty := beat(i, t0)
	empty.Snapshot = true
	l.update("a", empty, t0)
	require.True(t, l.heardOfAll(t0))

	i.becomes(10, sec(0))
	l.update("a", i.update(false, sec(0)), sec(0))
	s := l.sample(shop, time.Minute, sec(3))
	require.InDelta(t, 10, s.Concurrency, 1e-9, "over the three seconds that there were")
	require.Equal(t, 3*time.Second, s.Observed)
	require.WithinDuration(t, t0, s.LastRequest, 0, "by our clock")

	i.becomes(0, sec(5))
	l.update("a", i.update(false, sec(5)), sec(5))
	l.update("a", beat(i, sec(20)), sec(20))
	require.InDelta(t, 50.0/20, l.sample(shop, time.Minute, sec(20)).Concurrency, 1e-9)
	require.InDelta(t, 0, l.sample(shop, 10*time.Second, sec(20)).Concurrency, 1e-9)
	require.InDelta(t, 30.0/18, l.sample(shop, 18*time.Second, sec(20)).Concurrency, 1e-9, "3 of the 5 busy seconds")
	require.InDelta(t, 10.0/20, l.sample(shop, time.Minute, sec(20)).RequestRate, 1e-9)
	require.InDelta(t, 50.0/60, l.sample(shop, time.Minute, sec(60)).Concurrency, 1e-9)
	require.InDelta(t, 0, l.sample(shop, time.Minute, sec(65)).Concurrency, 1e-9)

	before := l.sample(shop, time.Minute, sec(65)).LastRequest
	l.update("a", beat(i, sec(70)), sec(70).Add(3*time.Millisecond))
	require.Equal(t, before, l.sample(shop, time.Minute, sec(71)).LastRequest, "an update that travels longer does not move the past")
}

func TestAveragesAreExactForRandomTrafficOverSeveralInterceptors(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			const interceptors, steps = 3, 4000
			var addresses []string
			tellers := make([]*teller, interceptors)
			for i := range tellers {
				addresses = append(addresses, fmt.Sprint(i))
				tellers[i] = &teller{epoch: fmt.Sprint(i)}
			}
			l := ledgerOf(addresses...)
			now := t0
			// truth is how many requests there were, by hundredth of a second.
			var truth []int64
			for i, a := range addresses {
				l.update(a, tellers[i].update(true, now), now)
			}
			for range steps {
				for i, a := range addresses {
					if rnd.IntN(10) == 0 {
						tellers[i].becomes(rnd.Int64N(20), now)
						l.update(a, tellers[i].update(rnd.IntN(100) == 0, now), now)
					}
				}
				var sum int64
				for _, i := range tellers {
					sum += i.open
				}
				truth = append(truth, sum)
				now = now.Add(10 * time.Millisecond)
			}
			for _, window := range []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second} {
				var want float64
				n := int(window / (10 * time.Millisecond))
				for _, v := range truth[len(truth)-n:] {
					want += float64(v)
				}
				// The window begins within a second of which only the ends are kept.
				require.InDelta(t, want/float64(n), l.sample(shop, window, now).Concurrency, 60*interceptors/window.Seconds()/4)
			}
			for i, a := range addresses {
				tellers[i].becomes(0, now)
				l.update(a, tellers[i].update(false, now), now)
			}
			require.False(t, l.sample(shop, time.Second, now).Waiting())
			later := now.Add(2 * time.Minute)
			s := l.sample(shop, time.Minute, later)
			require.Zero(t, s.Concurrency)
			require.Zero(t, s.RequestRate)
			l.forget(later)
			for _, views := range l.apps {
				for _, entries := range views {
					for _, e := range entries {
						require.Len(t, e.past.points, 1, "the past of an idle app costs nothing")
					}
				}
			}
		})
	}
}

func TestThePastOfABusyAppIsBounded(t *testing.T) {
	l := ledgerOf("a")
	i := &teller{epoch: "1"}
	l.update("a", i.update(true, t0), t0)
	now := t0
	for range 30_000 { // ten minutes
		now = now.Add(20 * time.Millisecond)
		i.becomes(rand.Int64N(9), now)
		l.update("a", i.update(false, now), now)
	}
	for _, views := range l.apps {
		for _, entries := range views {
			for _, e := range entries {
				require.LessOrEqual(t, len(e.past.points), 2*62, "two a second, for the longest window")
			}
		}
	}
}

func TestTheAverageOutlivesAnInterceptorThatHandsItsTrafficToAnother(t *testing.T) {
	l := ledgerOf("a", "b")
	a, b := &teller{epoch: "a"}, &teller{epoch: "b"}
	a.becomes(10, t0)
	l.update("a", a.update(true, t0), t0)
	l.update("b", b.update(true, t0), t0)
	a.becomes(0, sec(60))
	l.update("a", a.update(false, sec(60)), sec(60))
	b.becomes(10, sec(60))
	l.update("b", b.update(false, sec(60)), sec(60))
	require.True(t, l.finish("a", sec(60)).all)
	for _, at := range []float64{60, 75, 119} {
		s := l.sample(shop, time.Minute, sec(at))
		require.Equal(t, int64(10), s.InFlight)
		require.InDelta(t, 10, s.Concurrency, 1e-6, fmt.Sprint("at ", at))
		l.tick(sec(at))
	}
	l.tick(sec(130))
	require.Empty(t, l.ended, "no window reaches it any more")
}

func TestASilentInterceptorIsStaleUntilItIsHeardAgain(t *testing.T) {
	l := ledgerOf("a")
	i := &teller{epoch: "1"}
	i.becomes(5, t0)
	l.update("a", i.update(true, t0), t0)
	l.tick(sec(2.9))
	require.Equal(t, 1, l.sample(shop, time.Second, sec(2.9)).Reporting)
	require.True(t, l.tick(sec(3)).all)
	s := l.sample(shop, time.Second, sec(3))
	require.Equal(t, 0, s.Reporting)
	require.Equal(t, 1, s.Expected)
	require.Equal(t, int64(5), s.InFlight, "the last that is known")
	require.Equal(t, t0, s.SampledAt)
	require.True(t, l.update("a", beat(i, sec(4)), sec(4)).all)
	require.Equal(t, 1, l.sample(shop, time.Second, sec(4)).Reporting)
}

func TestWhatASnapshotDoesNotNameIsZero(t *testing.T) {
	l := ledgerOf("a")
	i := &teller{epoch: "1"}
	i.becomes(5, t0)
	l.update("a", i.update(true, t0), t0)
	l.lose("a", sec(1))
	again := beat(i, sec(2))
	again.Snapshot = true
	c := l.update("a", again, sec(2))
	require.True(t, c.all)
	require.False(t, l.sample(shop, time.Second, sec(2)).Waiting())
}

func TestAnAppThatWasMadeAgainStartsFromZeroForEverybody(t *testing.T) {
	l := ledgerOf("a")
	i := &teller{epoch: "1"}
	i.becomes(5, t0)
	l.update("a", i.update(true, t0), t0)
	u := beat(i, sec(1))
	u.Apps = []*wire.App{
		{Namespace: shop.Namespace, Name: shop.Name, Uid: "1", Removed: true},
		{Namespace: shop.Namespace, Name: shop.Name, Uid: "2", Pending: 1, Requests: 1},
	}
	l.update("a", u, sec(1))
	s := l.sample(shop, time.Minute, sec(1))
	require.Equal(t, int64(1), s.Pending)
	require.Equal(t, int64(0), s.InFlight)
}

func TestAnIdleAppIsToldOfUntilItsAveragesAreBackAtZero(t *testing.T) {
	l := ledgerOf("a")
	i := &teller{epoch: "1"}
	l.update("a", i.update(true, t0), t0)
	i.becomes(3, sec(1))
	l.update("a", i.update(false, sec(1)), sec(1))
	i.becomes(0, sec(2))
	l.update("a", i.update(false, sec(2)), sec(2))
	told := 0
	for s := 3; s < 60; s++ {
		now := sec(float64(s))
		l.update("a", beat(i, now), now)
		if _, ok := l.tick(now).apps[shop]; ok {
			told = s
		}
	}
	require.Zero(t, l.sample(shop, 10*time.Second, sec(float64(told))).Concurrency)
	require.Less(t, told, 20, "and not for ever")
}

func TestWhoeverIsNotListedAnyMoreIsExpectedOnlyWhileItsCountsAreUsed(t *testing.T) {
	l := ledgerOf("a", "b")
	i := &teller{epoch: "1"}
	i.becomes(5, t0)
	l.update("a", i.update(true, t0), t0)
	l.list(map[string]bool{"b": true}, sec(1))
	require.Equal(t, 2, l.sample(shop, time.Second, sec(1)).Expected, "it drains")
	l.lose("a", sec(2))
	require.Equal(t, 2, l.sample(shop, time.Second, sec(3)).Expected)
	l.tick(sec(33))
	s := l.sample(shop, time.Second, sec(33))
	require.Equal(t, 1, s.Expected)
	require.False(t, s.Waiting())
	l.list(nil, sec(34))
	require.Zero(t, l.sample(shop, time.Second, sec(34)).Expected)
}

func TestWhoeverCannotHaveRequestsIsNotExpected(t *testing.T) {
	l := ledgerOf("a")
	expected := func(reporting, expected int, now time.Time) {
		t.Helper()
		s := l.sample(shop, time.Second, now)
		require.Equal(t, []int{reporting, expected}, []int{s.Reporting, s.Expected})
	}
	both := func(b bool, now time.Time) { l.list(map[string]bool{"a": true, "b": b}, now) }
	both(false, t0)
	expected(0, 1, t0) // b starts
	i := &teller{epoch: "1"}
	l.update("b", i.update(true, t0), t0)
	expected(1, 2, t0)
	l.lose("b", sec(1))
	require.True(t, l.list(map[string]bool{"a": true, "b": true}, sec(1)).all)
	l.tick(sec(31))
	expected(0, 2, sec(31)) // it cannot be reached from here, and serves
	both(false, sec(32))
	expected(0, 1, sec(32)) // it crashed
	i = &teller{epoch: "2"}
	l.update("b", i.update(true, sec(33)), sec(33))
	l.lose("b", sec(34))
	expected(0, 2, sec(35)) // its counts are used
	l.tick(sec(64))
	expected(0, 1, sec(64)) // it crashed again
}

func TestAnAppThatNeverHadARequestMayGo(t *testing.T) {
	l := ledgerOf("a", "b")
	a, b := &teller{epoch: "1"}, &teller{epoch: "2"}
	l.update("a", &wire.Update{Epoch: "1", Snapshot: true, SampledAt: timestamppb.New(t0)}, t0)
	gone := func(epoch string) *wire.Update {
		return &wire.Update{Epoch: epoch, SampledAt: timestamppb.New(sec(1)), Apps: []*wire.App{{Namespace: shop.Namespace, Name: shop.Name, Uid: "1", Removed: true}}}
	}
	l.update("a", gone(a.epoch), sec(1))
	require.False(t, l.sample(shop, time.Second, sec(1)).Waiting())
	b.becomes(3, t0)
	l.update("b", b.update(true, t0), sec(1))
	l.update("a", gone(a.epoch), sec(2))
	require.Equal(t, int64(3), l.sample(shop, time.Second, sec(2)).InFlight, "the other interceptor's are as they were")
}

func TestTheRequestsOfAllAppsAreTheSumOfTheirs(t *testing.T) {
	l := ledgerOf("a", "b")
	all := func(pending, inFlight int64) {
		t.Helper()
		s := l.sample(AllApps, time.Second, sec(1))
		require.Equal(t, []int64{pending, inFlight}, []int64{s.Pending, s.InFlight})
		require.Equal(t, float64(pending+inFlight), s.Concurrency)
	}
	told := func(epoch string, snapshot bool, apps ...*wire.App) *wire.Update {
		for _, a := range apps {
			a.Namespace = shop.Namespace
		}
		return &wire.Update{Epoch: epoch, Snapshot: snapshot, SampledAt: timestamppb.New(t0), Apps: apps}
	}
	l.update("a", told("1", true, &wire.App{Name: "x", Uid: "1", Pending: 2, Requests: 1}, &wire.App{Name: "y", Uid: "2", InFlight: 3, Requests: 1}), t0)
	l.update("b", told("2", true, &wire.App{Name: "x", Uid: "1", InFlight: 5, Requests: 1}), t0)
	all(2, 8)
	l.update("a", told("1", false, &wire.App{Name: "x", Uid: "1", Pending: 1, Requests: 2}, &wire.App{Name: "y", Uid: "2", Removed: true}), t0)
	all(1, 5)
	l.update("b", told("3", true), sec(1)) // it started anew
	all(1, 0)
	l.finish("a", sec(1))
	all(0, 0)
}

// coldStart tells of a cold start by a clock that is wrong.
func (i *teller) coldStart(at, now time.Time, wrongBy time.Duration) *wire.Update {
	i.sequence++
	return &wire.Update{
		Epoch: i.epoch, Sequence: i.sequence, Snapshot: i.sequence == 1, SampledAt: timestamppb.New(now.Add(wrongBy)),
		Apps: []*wire.App{{
			Namespace: shop.Namespace, Name: shop.Name, Uid: "1", Requests: 1, LastRequestAt: timestamppb.New(at.Add(wrongBy)), ColdStarts: 1,
			LastColdStart: &wire.ColdStart{At: timestamppb.New(at.Add(wrongBy)), Stages: []*wire.Stage{{Name: i.epoch}}},
		}},
	}
}

func TestWhatHappenedLastIsToldWhateverTheClocksSay(t *testing.T) {
	l := ledgerOf("ahead", "behind")
	ahead, behind := &teller{epoch: "ahead"}, &teller{epoch: "behind"}
	last := func(who string, at time.Time) {
		t.Helper()
		s := l.sample(shop, time.Minute, sec(30))
		require.Equal(t, who, s.LastColdStart.Stages[0].Name)
		require.WithinDuration(t, at, s.LastColdStart.At, 0)
		require.WithinDuration(t, at, s.LastRequest, 0)
	}
	l.update("ahead", ahead.coldStart(sec(1), sec(10), time.Hour), sec(10))
	last("ahead", sec(1))
	l.update("behind", behind.coldStart(sec(2), sec(10), -time.Hour), sec(10))
	last("behind", sec(2))
	l.update("ahead", ahead.coldStart(sec(12), sec(20), time.Hour), sec(20))
	last("ahead", sec(12))
	l.update("ahead", ahead.coldStart(sec(12), sec(30), time.Hour), sec(30).Add(time.Second))
	last("ahead", sec(12)) // an update that travels longer does not move it
}
