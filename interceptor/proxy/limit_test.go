package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// crowd counts the requests that a pod has at the same time. Those whose client left are not the pod's any more, though it may
// not have heard of it yet.
type crowd struct {
	mu   sync.Mutex
	now  map[string]int // by id
	most int
	left *sync.Map
}

func (c *crowd) enter(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now[id]++
	n := 0
	for id, times := range c.now {
		if _, left := c.left.Load(id); !left {
			n += times
		}
	}
	c.most = max(c.most, n)
}

func (c *crowd) leave(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now[id]--; c.now[id] == 0 {
		delete(c.now, id)
	}
}

func (c *crowd) atMost() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most
}

func limited(limit int32) func(*v1alpha1.HTTPApp) {
	return func(a *v1alpha1.HTTPApp) { a.Spec.ConcurrencyLimit, a.Generation = limit, 1 }
}

func TestAPodGetsNoMoreRequestsThanTheLimitAndTheOthersWaitInOrder(t *testing.T) {
	const limit, pods, first, later = 2, 2, 20, 20
	w := newWorld(t)
	w.app("shop", limited(limit))
	finish := make(chan struct{})
	arrivals := make(chan string, first+later)
	var addresses []string
	var crowds []*crowd
	for range pods {
		c := &crowd{now: map[string]int{}, left: new(sync.Map)}
		crowds = append(crowds, c)
		addresses = append(addresses, at(w.pod(func(_ http.ResponseWriter, r *http.Request) {
			c.enter(r.URL.Path)
			defer c.leave(r.URL.Path)
			arrivals <- r.URL.Path
			w.awaitInPod(finish)
		})))
	}
	w.ready("shop", "", addresses...)
	b, _ := w.routes.Table().Match("shop.test", "/", nil)
	w.eventually("all pods are ready", func() bool { return b.Pods.Ready() == pods })
	// A request is counted before it stands in the line.
	standing := func(n int) { w.eventually("they stand in the line", func() bool { return b.Line.Len() == n }) }
	var answers []<-chan answer
	ask := func() {
		answers = append(answers, background(w.request("GET", "shop", fmt.Sprint("/", len(answers)), nil)))
	}
	for n := range first {
		ask()
		inFlight := min(n+1, pods*limit)
		w.is("shop", int64(n+1-inFlight), int64(inFlight))
		standing(n + 1 - inFlight)
	}
	for range pods * limit {
		await(t, arrivals)
	}
	for n := pods * limit; n < first+later; n++ {
		give(t, finish, struct{}{})
		// One that comes when there is room is behind those that wait all the same.
		if len(answers) < first+later {
			ask()
		}
		require.Equal(t, fmt.Sprint("/", n), await(t, arrivals), "the one that came first")
		w.is("shop", int64(len(answers)-n-1), pods*limit)
		standing(len(answers) - n - 1)
	}
	close(finish)
	for _, a := range answers {
		require.Equal(t, 200, await(t, a).status)
	}
	for _, c := range crowds {
		require.Equal(t, limit, c.atMost())
	}
	w.is("shop", 0, 0)
}

func TestALimitThatChangesIsObeyed(t *testing.T) {
	w := newWorld(t)
	app := w.app("shop", limited(1))
	change := func(limit int32) {
		app = app.DeepCopy()
		app.Spec.ConcurrencyLimit, app.Generation = limit, app.Generation+1
		w.apps.Modify(app)
	}
	finish := make(chan struct{})
	w.ready("shop", "", at(w.pod(func(http.ResponseWriter, *http.Request) { w.awaitInPod(finish) })))
	var answers []<-chan answer
	for range 8 {
		answers = append(answers, background(w.request("GET", "shop", "/", nil)))
	}
	w.is("shop", 7, 1)
	change(4)
	w.is("shop", 4, 4)
	change(2)
	w.eventually("the limit is known", func() bool {
		b, _ := w.routes.Table().Match("shop.test", "/", nil)
		return b.Settings().ConcurrencyLimit == 2
	})
	for _, inFlight := range []int64{3, 2} {
		give(t, finish, struct{}{})
		w.is("shop", 4, inFlight)
	}
	give(t, finish, struct{}{})
	w.is("shop", 3, 2)
	change(0)
	w.is("shop", 0, 5)
	close(finish)
	for _, a := range answers {
		require.Equal(t, 200, await(t, a).status)
	}
}

func TestARefusalSaysThatThePodsAreBusy(t *testing.T) {
	w := newWorld(t)
	w.app("shop", limited(1), func(a *v1alpha1.HTTPApp) {
		a.Spec.Queue.MaxPending = ptr.To[int32](1)
		a.Spec.Queue.MaxWait = &metav1.Duration{Duration: time.Second}
	})
	finish := make(chan struct{})
	w.ready("shop", "", at(w.pod(func(http.ResponseWriter, *http.Request) { w.awaitInPod(finish) })))
	served := background(w.request("GET", "shop", "/", nil))
	w.is("shop", 0, 1)
	held := background(w.request("GET", "shop", "/", nil))
	w.is("shop", 1, 1)
	for _, a := range []answer{do(w.request("GET", "shop", "/", nil)), await(t, held)} {
		require.Equal(t, http.StatusServiceUnavailable, a.status)
		require.Contains(t, a.body, "no pod with room, as spec.concurrencyLimit allows each 1 at a time,")
	}
	close(finish)
	require.Equal(t, 200, await(t, served).status)
}

// Clients leave, pods cannot be connected to, come and go, break off, and the limit changes. When all of that ends, every request
// that was not given up is answered.
func TestTheLimitHoldsAndNothingWaitsForeverWhateverHappens(t *testing.T) {
	for what, limits := range map[string][]int32{"the limit stays": {2}, "the limit changes": {1, 2, 3}} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			app := w.app("shop", limited(limits[0]), func(a *v1alpha1.HTTPApp) {
				a.Spec.Queue.MaxPending = ptr.To[int32](1000)
				a.Spec.Queue.MaxWait = &metav1.Duration{Duration: patience / 2}
			})
			var left sync.Map
			var crowds []*crowd
			var pods []string
			for range 3 {
				c := &crowd{now: map[string]int{}, left: &left}
				crowds = append(crowds, c)
				pods = append(pods, at(w.pod(func(_ http.ResponseWriter, r *http.Request) {
					c.enter(r.URL.Path)
					defer c.leave(r.URL.Path)
					if rand.IntN(8) == 0 {
						panic(http.ErrAbortHandler)
					}
					select {
					case <-time.After(time.Duration(rand.IntN(5)) * time.Millisecond):
					case <-r.Context().Done():
					}
				})))
			}
			dead := deadAddress(t)
			// A connection for each, so that clients that leave do not concern others.
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for round := range 3 {
				var wg sync.WaitGroup
				for i := range 40 {
					wg.Go(func() {
						<-time.After(time.Duration(rand.IntN(40)) * time.Millisecond) // not all at once
						id := fmt.Sprintf("/%d-%d", round, i)
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						leaves := rand.IntN(3) == 0
						if leaves {
							timer := time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() {
								left.Store(id, true)
								cancel()
							})
							defer timer.Stop()
						}
						a := doWith(client, w.request("GET", "shop", id, nil).WithContext(ctx))
						switch {
						case a.err != nil && !leaves:
							t.Errorf("%s: %v", id, a.err)
						case a.err == nil && a.status != 200 && a.status != http.StatusBadGateway:
							t.Errorf("%s: %d %s", id, a.status, a.body)
						}
					})
				}
				for range 8 {
					now := []string{}
					for _, p := range append(pods, dead) {
						if rand.IntN(2) == 0 {
							now = append(now, p)
						}
					}
					w.ready("shop", "", now...)
					app = app.DeepCopy()
					app.Spec.ConcurrencyLimit, app.Generation = limits[rand.IntN(len(limits))], app.Generation+1
					w.apps.Modify(app)
					<-time.After(5 * time.Millisecond) // so long does each state last
				}
				w.ready("shop", "", pods...)
				wg.Wait()
				if t.Failed() {
					return
				}
				w.is("shop", 0, 0)
			}
			highest := int(limits[len(limits)-1])
			most := 0
			for _, c := range crowds {
				most = max(most, c.atMost())
			}
			require.LessOrEqual(t, most, highest)
			require.Positive(t, most)
			b, _ := w.routes.Table().Match("shop.test", "/", nil)
			w.eventually("all places are free", func() bool {
				places := 0
				for e := b.Pods.Pick(nil); e != nil; e = b.Pods.Pick(nil) {
					defer e.Release()
					places++
				}
				return places == len(pods)*int(app.Spec.ConcurrencyLimit)
			})
			require.False(t, b.Line.Busy())
		})
	}
}
