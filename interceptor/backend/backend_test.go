package backend

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/hold"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

const patience = 30 * time.Second

func at(addresses ...string) (pods []balance.Pod) {
	for _, a := range addresses {
		pods = append(pods, balance.Pod{Address: a})
	}
	return pods
}

// fakeClock is a fake clock that does not hold its lock while it calls.
type fakeClock struct{ *clocktesting.FakeClock }

func (c fakeClock) AfterFunc(d time.Duration, f func()) clock.Timer {
	return c.FakeClock.AfterFunc(d, func() { go f() })
}

// Many rounds of a storm after which nothing happens any more but that requests end: a release that was lost is not made up for.
func TestNoRequestWaitsWhileThereIsRoom(t *testing.T) {
	clk := fakeClock{clocktesting.NewFakeClock(time.Unix(0, 0))}
	pods := []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}
	var has sync.Map // address -> *atomic.Int64, what the pods have
	for _, p := range pods {
		has.Store(p, new(atomic.Int64))
	}
	for round := range 150 {
		app := &v1alpha1.HTTPApp{}
		app.Name, app.UID = "shop", "uid"
		b := newBackend(app, &Config{Counters: queue.NewCounters(clk), Tallies: noTallies{}, Clock: clk})
		limits := []int{1, 2, 3}
		if round%2 == 0 {
			limits = limits[:1]
		}
		highest := int64(limits[len(limits)-1])
		b.settings.Store(&Settings{MaxPending: 1000, MaxWait: time.Hour})
		b.Pods.SetLimit(limits[0])
		b.Pods.Set(at(pods...))

		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if rand.IntN(3) == 0 {
					go func() {
						for range rand.IntN(50) {
							runtime.Gosched()
						}
						cancel()
					}()
				}
				var place hold.Place
				var avoid *balance.Endpoint
				for {
					pod := b.Pick(avoid)
					if pod == nil {
						var err error
						if pod, _, err = b.Wait(ctx, &place, avoid); err != nil {
							if !errors.Is(err, context.Canceled) {
								t.Error(err)
							}
							return
						}
					}
					n, _ := has.Load(pod.Address)
					if now := n.(*atomic.Int64).Add(1); now > highest {
						t.Errorf("round %d: %s has %d requests", round, pod.Address, now)
					}
					for range rand.IntN(5) {
						runtime.Gosched()
					}
					n.(*atomic.Int64).Add(-1)
					if rand.IntN(8) > 0 {
						pod.Succeeded()
						pod.Release()
						return
					}
					pod.Failed()
					pod.Release()
					avoid = pod
				}
			})
		}
		for range 20 {
			switch rand.IntN(3) {
			case 0:
				b.Pods.Set(at(pods[rand.IntN(len(pods)+1):]...))
			case 1:
				b.Pods.SetLimit(limits[rand.IntN(len(limits))])
			case 2:
				clk.Step(time.Second)
			}
			runtime.Gosched()
		}
		b.Pods.Set(at(pods...))
		ended := make(chan struct{})
		go func() { wg.Wait(); close(ended) }()
		deadline := time.After(patience)
		for alive := true; alive; {
			select {
			case <-ended:
				alive = false
			case <-time.After(time.Millisecond):
				if !b.Pods.Available() { // all are in quarantine, or busy
					clk.Step(time.Second)
				}
			case <-deadline:
				t.Fatalf("round %d: %d wait, and that there is room is %t", round, b.Line.Len(), b.Pods.Available())
			}
		}
		require.False(t, b.Line.Busy(), "round %d", round)
	}
}

func TestOneThatComesNowGoesBehindThoseThatWait(t *testing.T) {
	clk := fakeClock{clocktesting.NewFakeClock(time.Unix(0, 0))}
	b := newBackend(&v1alpha1.HTTPApp{}, &Config{Counters: queue.NewCounters(clk), Tallies: noTallies{}, Clock: clk})
	b.settings.Store(&Settings{MaxPending: 10, MaxWait: time.Hour})
	b.Pods.SetLimit(1)
	b.Pods.Set(at("10.0.0.1:80"))
	first := b.Pick(nil)
	require.NotNil(t, first)
	got := make(chan *balance.Endpoint, 2)
	for n := range 2 {
		go func() {
			var place hold.Place
			pod, _, err := b.Wait(t.Context(), &place, nil)
			if err != nil {
				t.Error(err)
			}
			got <- pod
		}()
		require.Eventually(t, func() bool { return b.Line.Len() == n+1 }, patience, time.Millisecond)
	}
	first.Release()
	second := <-got
	require.Nil(t, b.Pick(nil), "the pod is the one's that waited")
	b.Pods.Set(at("10.0.0.1:80", "10.0.0.2:80"))
	third := <-got
	require.NotEqual(t, second.Address, third.Address)
	require.Eventually(t, func() bool { return !b.Line.Busy() }, patience, time.Millisecond)
	second.Release()
	require.NotNil(t, b.Pick(nil), "nobody waits")
	b.Pods.SetLimit(0)
	require.NotNil(t, b.Pick(nil), "there is room for everybody")
}

// Somebody waits, and there is a free place that it has not been told of yet.
func TestOneThatComesNowLeavesAFreePlaceToThoseThatWait(t *testing.T) {
	clk := fakeClock{clocktesting.NewFakeClock(time.Unix(0, 0))}
	for _, limit := range []int{1, 0} {
		b := newBackend(&v1alpha1.HTTPApp{}, &Config{Counters: queue.NewCounters(clk), Tallies: noTallies{}, Clock: clk})
		b.Pods.SetLimit(limit)
		b.Pods.Set(at("10.0.0.1:80"))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			var place hold.Place
			ended <- b.Line.Wait(ctx, &place, 10, time.Hour, func() bool { return false })
		}()
		require.Eventually(t, func() bool { return b.Line.Len() == 1 }, patience, time.Millisecond)
		require.Equal(t, limit > 0, b.Pick(nil) == nil, "with limit %d", limit)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	}
}

type noTallies struct{}

func (noTallies) Of(types.NamespacedName) Tally { return nil }
func (noTallies) Forget(types.NamespacedName)   {}
