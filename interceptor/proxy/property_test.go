package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// faultyClock panics now and then, in whatever asks it for the time.
type faultyClock struct {
	clock.RealClock
	panics atomic.Int64
	calm   atomic.Bool
}

func (c *faultyClock) Now() time.Time {
	if !c.calm.Load() && rand.IntN(200) == 0 {
		c.panics.Add(1)
		panic(http.ErrAbortHandler)
	}
	return c.RealClock.Now()
}

// reset ends a connection so that the other end hears of an error.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// faulty is an app that does whatever apps do wrong.
func faulty(w http.ResponseWriter, r *http.Request) {
	if websocket.IsWebSocketUpgrade(r) {
		c, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		for range rand.IntN(4) {
			kind, m, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, m) != nil {
				break
			}
		}
		if rand.IntN(2) == 0 {
			reset(c.NetConn())
		}
		_ = c.Close()
		return
	}
	half := func() {
		fmt.Fprint(w, "half") //nolint:errcheck // whatever happens
		w.(http.Flusher).Flush()
	}
	switch rand.IntN(10) {
	case 0:
		panic(http.ErrAbortHandler)
	case 1:
		w.WriteHeader(500)
	case 2:
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	case 3:
		half()
		panic(http.ErrAbortHandler)
	case 4:
		half()
		<-r.Context().Done()
	case 5:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			reset(conn)
		}
	default:
		_, _ = io.Copy(w, r.Body)
	}
}

// Requests of all kinds, whose clients leave in all ways, come to an app whose pods fail, come and go, whose routes and limits change,
// and that is deleted and made again, while the interceptor itself panics now and then. In the end nobody waits and nothing is in
// flight, of any of the apps that there were, and every request that was counted was told to be done, but for panics.
func TestCountsAddUpWhateverHappens(t *testing.T) {
	clk := &faultyClock{}
	w := newWorldWith(t, &http.Server{ErrorLog: silence}, func(c *Config) { c.Clock = clk })
	shape := func(a *v1alpha1.HTTPApp) {
		a.Generation++
		a.Spec.Routes[0].PathPrefix = []string{"/", "/a"}[rand.IntN(2)]
		a.Spec.ConcurrencyLimit = int32(rand.IntN(3) * 3)
		a.Spec.Queue.MaxPending = ptr.To[int32](20)
		a.Spec.Queue.MaxWait = &metav1.Duration{Duration: 100 * time.Millisecond}
		a.Spec.Timeouts = v1alpha1.Timeouts{}
		timed([]time.Duration{0, 60 * time.Millisecond}[rand.IntN(2)], 30*time.Millisecond, 50*time.Millisecond)(a)
		a.Spec.ColdStart = nil
		if rand.IntN(4) == 0 {
			a.Spec.ColdStart = &v1alpha1.ColdStart{Placeholder: &v1alpha1.Placeholder{}}
		}
	}
	app := w.app("shop", shape, func(a *v1alpha1.HTTPApp) { a.Spec.Routes[0].PathPrefix = "/" })
	w.app("cafe") // has what the other does not
	lives := map[types.UID]*queue.App{app.UID: w.backend("shop").Counts}
	pods := []string{at(w.pod(faulty)), at(w.pod(faulty)), deadAddress(t)}
	w.ready("cafe", "", pods[:2]...)

	stop := make(chan struct{})
	var chaos sync.WaitGroup
	chaos.Go(func() {
		for {
			var now []string
			for _, p := range pods {
				if rand.IntN(2) == 0 {
					now = append(now, p)
				}
			}
			w.ready("shop", []string{"", "kubernetes.io/h2c"}[rand.IntN(2)], now...)
			before := app
			app = app.DeepCopy()
			shape(app)
			if rand.IntN(4) == 0 {
				w.apps.Delete(before.DeepCopy()) // it changes what it is given
				app.UID = types.UID(fmt.Sprint("uid-", len(lives)))
				w.apps.Add(app)
			} else {
				w.apps.Modify(app)
			}
			// One that is not routed to in time is missed at the end.
			for deadline := time.Now().Add(patience); lives[app.UID] == nil && time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
				if r, ok := w.routes.Table().Match("shop.test", "/a", nil); ok && r.Backend.UID == app.UID {
					lives[app.UID] = r.Backend.Counts
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	var wg sync.WaitGroup
	clients := []*http.Client{{Transport: &http.Transport{}}, {Transport: &http.Transport{}}, h2cClient(t)}
	for i := range 16 {
		wg.Go(func() {
			for range 40 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rand.IntN(150))*time.Millisecond)
				w.misbehave(ctx, clients[i%len(clients)])
				cancel()
			}
		})
	}
	wg.Wait()
	close(stop)
	chaos.Wait()
	clk.calm.Store(true)
	app = app.DeepCopy()
	app.Generation++
	app.Spec.Routes[0].PathPrefix = "/"
	app.Spec.ConcurrencyLimit = 100 // as none before: what came before may still be on its way
	w.apps.Modify(app)
	w.eventually("it has its route again", func() bool {
		r, ok := w.routes.Table().Match("shop.test", "/", nil)
		return ok && r.Backend.UID == app.UID && r.Backend.Settings().ConcurrencyLimit == 100
	})
	w.ready("shop", "", pods...) // whoever waits in the place of one that was answered is relieved

	counted := func() (pending, inFlight, requests int64) {
		for _, life := range slices.AppendSeq([]*queue.App{w.counts("cafe")}, maps.Values(lives)) {
			r := life.Read()
			pending, inFlight, requests = pending+r.Pending, inFlight+r.InFlight, requests+r.Requests
		}
		return pending, inFlight, requests
	}
	w.eventually("nothing is left", func() bool {
		pending, inFlight, _ := counted()
		return pending == 0 && inFlight == 0
	})
	_, _, requests := counted()
	require.Greater(t, requests, int64(16))
	require.Greater(t, len(lives), 1)
	missing := func() int64 {
		told := w.told.Load() // first: a request whose client has long left may come up only now
		_, _, requests := counted()
		return requests - told
	}
	w.eventually("each is told", func() bool { return missing() <= clk.panics.Load() })
	require.GreaterOrEqual(t, missing(), int64(0))
	for _, name := range []string{"shop", "cafe"} {
		for address, e := range w.backend(name).Pods.Describe() {
			require.Zero(t, e.InFlight, "%s: %s", name, address)
		}
	}
}

// misbehave does one request in one of many ways, most of which are wrong.
func (w *world) misbehave(ctx context.Context, c *http.Client) {
	app := []string{"shop", "shop", "shop", "cafe"}[rand.IntN(4)]
	path := []string{"/", "/a"}[rand.IntN(2)]
	switch rand.IntN(6) {
	case 0: // an upgrade
		d := websocket.Dialer{NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, w.address)
		}}
		ws, _, err := d.DialContext(ctx, "ws://"+app+".test"+path, nil)
		if err != nil {
			return
		}
		_ = ws.WriteMessage(websocket.TextMessage, []byte("hello"))
		if rand.IntN(2) == 0 {
			reset(ws.NetConn())
			return
		}
		_ = ws.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, _, _ = ws.ReadMessage()
		_ = ws.Close()
	case 1: // a part of a request, then a reset
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.address)
		if err != nil {
			return
		}
		request := "POST " + path + " HTTP/1.1\r\nHost: " + app + ".test\r\nContent-Length: 50000\r\n\r\n" + string(make([]byte, rand.IntN(60000)))
		_, _ = io.WriteString(conn, request[:min(len(request), rand.IntN(60000))])
		<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond)
		reset(conn)
	default:
		method, body := "GET", io.Reader(nil)
		if rand.IntN(2) == 0 {
			method, body = "POST", bytes.NewReader(make([]byte, rand.IntN(bufferEach/4)))
		}
		doWith(c, w.request(method, app, path, body).WithContext(ctx))
	}
}
