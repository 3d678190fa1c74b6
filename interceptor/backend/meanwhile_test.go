package backend

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// answered is a request that came and was answered in the app's place.
func answered(b *Backend) {
	var ticket queue.Ticket
	ticket.Accept(b.Counts)
	b.Wish(&ticket)
	ticket.Done()
}

func TestAWishStandsUntilItsTimeAfterTheLastRequestIsOver(t *testing.T) {
	clk := fakeClock{clocktesting.NewFakeClock(time.Unix(0, 0))}
	b := newBackend(&v1alpha1.HTTPApp{}, &Config{Counters: queue.NewCounters(clk), Tallies: noTallies{}, Clock: clk})
	b.settings.Store(&Settings{MaxWait: time.Minute})
	pending := func() int64 { return b.Counts.Read().Pending }
	waits := func() bool { return clk.HasWaiters() && b.wishes.line.Len() == 1 }

	answered(b)
	require.Eventually(t, waits, patience, time.Millisecond)
	clk.Step(40 * time.Second)
	answered(b)
	require.Equal(t, int64(1), pending(), "one for all of them")
	clk.Step(40 * time.Second) // the first one's time is over
	require.Eventually(t, waits, patience, time.Millisecond)
	require.Equal(t, int64(1), pending())
	clk.Step(20 * time.Second)
	require.Eventually(t, func() bool { return pending() == 0 }, patience, time.Millisecond)
	require.Equal(t, queue.Reading{Requests: 2, ConcurrencySeconds: 100, LastRequest: time.Unix(40, 0)}, b.Counts.Read())

	answered(b)
	require.Equal(t, int64(1), pending())
	b.Pods.Set(at("10.0.0.1:80"))
	require.Eventually(t, func() bool { return pending() == 0 }, patience, time.Millisecond)
	answered(b)
	require.Zero(t, pending(), "there is a pod")
}

func TestAWishIsInNobodysWay(t *testing.T) {
	clk := fakeClock{clocktesting.NewFakeClock(time.Unix(0, 0))}
	b := newBackend(&v1alpha1.HTTPApp{}, &Config{Counters: queue.NewCounters(clk), Tallies: noTallies{}, Clock: clk})
	b.settings.Store(&Settings{MaxWait: time.Minute})
	b.Pods.SetLimit(1)
	answered(b)
	require.Eventually(t, func() bool { return b.wishes.line.Len() == 1 }, patience, time.Millisecond)
	require.False(t, b.Line.Busy())
	b.Pods.Set(at("10.0.0.1:80"))
	pod := b.Pick(nil)
	require.NotNil(t, pod, "the only room there is")
	require.Eventually(t, func() bool { return b.Counts.Read().Pending == 0 }, patience, time.Millisecond)
}
