package proxy

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// metric is the sum of the series of a metric that have these labels, NAME=VALUE each, and how many those are.
func (w *world) metric(name string, labels ...string) (sum float64, series int) {
	w.t.Helper()
	families, err := w.registry.Gather()
	require.NoError(w.t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			has := map[string]bool{}
			for _, l := range m.GetLabel() {
				has[l.GetName()+"="+l.GetValue()] = true
			}
			for _, l := range labels {
				if !has[l] {
					continue series
				}
			}
			series++
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum, series
}

// shows waits until a metric has a value.
func (w *world) shows(want float64, name string, labels ...string) {
	w.t.Helper()
	w.eventually(fmt.Sprint(name, labels, " is ", want), func() bool {
		sum, _ := w.metric(name, labels...)
		return sum == want
	})
}

// inPlace has a request answered in place, and byNetHTTP by net/http.
const (
	inPlace   = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"
	byNetHTTP = "GET / HTTP/1.1\r\nHost: shop.test\r\nExpect: 100-continue\r\n\r\n"
)

func TestRetriesAreCountedByTheirReason(t *testing.T) {
	for path, request := range map[string]string{"in place": inPlace, "by net/http": byNetHTTP} {
		t.Run(path, func(t *testing.T) {
			w := newWorld(t)
			shop := w.app("shop")
			const name = "kedahttp_interceptor_retries_total"
			dead := deadAddress(t)
			var broken atomic.Bool
			pod := bytePod(t, func(conn net.Conn) {
				r := bufio.NewReader(conn)
				for {
					if _, err := http.ReadRequest(r); err != nil {
						return
					}
					if !broken.Swap(true) { // the connection, before the response
						return
					}
					fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") //nolint:errcheck // the test sees
				}
			})
			w.ready("shop", "", pod)
			w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
			d := w.dial(t)
			d.say(request)
			require.Equal(t, 200, d.hear("GET").status)
			w.shows(1, name, "namespace=default", "app=shop", "reason=repeated")

			// One of two cannot be connected to.
			w.ready("shop", "", pod, dead)
			w.eventually("the one that cannot be connected to was tried", func() bool {
				d.say(request)
				require.Equal(t, 200, d.hear("GET").status)
				sum, _ := w.metric(name, "namespace=default", "app=shop", "reason=connect")
				return sum > 0
			})
			_, series := w.metric(name)
			require.Equal(t, 2, series)

			w.apps.Delete(shop)
			w.eventually("the series are gone with the app", func() bool {
				_, series := w.metric(name)
				return series == 0
			})
		})
	}
}

// Its status would be 499.
func TestAClientThatLeftIsCountedAsOne(t *testing.T) {
	for path, request := range map[string]string{"in place": inPlace, "by net/http": byNetHTTP} {
		t.Run(path, func(t *testing.T) {
			w := newWorld(t)
			w.app("shop")
			d := w.dial(t)
			d.say(request)
			w.is("shop", 1, 0)
			require.NoError(t, d.Close())
			w.shows(1, "kedahttp_interceptor_rejections_total", "namespace=default", "app=shop", "reason=client_gone")
			w.shows(1, "kedahttp_interceptor_requests_total", "namespace=default", "app=shop", "code=4xx")
			w.shows(1, "kedahttp_interceptor_requests_total")
		})
	}
}

func TestOpenConnectionsAreCountedByWhatTheyDo(t *testing.T) {
	for path, request := range map[string]string{"in place": inPlace, "by net/http": byNetHTTP} {
		t.Run(path, func(t *testing.T) {
			w := newWorld(t)
			w.app("shop")
			end := make(chan struct{})
			w.ready("shop", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) { w.awaitInPod(end) })))
			const name = "kedahttp_interceptor_open_connections"
			is := func(peer, state string, n float64) { w.t.Helper(); w.shows(n, name, "peer="+peer, "state="+state) }
			is("client", "idle", 0)
			d := w.dial(t)
			is("client", "idle", 1)
			d.say(request)
			is("client", "busy", 1)
			is("client", "idle", 0)
			is("pod", "busy", 1)
			is("pod", "idle", 0)
			close(end)
			require.Equal(t, 200, d.hear("GET").status)
			is("client", "busy", 0)
			is("client", "idle", 1)
			is("pod", "busy", 0)
			is("pod", "idle", 1)
			require.NoError(t, d.Close())
			is("client", "idle", 0)
		})
	}
}

func TestUpgradedConnectionsAreCounted(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", bytePod(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		if _, err := http.ReadRequest(r); err == nil {
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n") //nolint:errcheck // the test sees
			_, _ = r.ReadByte()
		}
	}))
	d := w.dial(t)
	d.say("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n")
	w.shows(1, "kedahttp_interceptor_open_connections", "peer=client", "state=upgraded")
	w.shows(0, "kedahttp_interceptor_open_connections", "peer=client", "state=busy")
	w.shows(1, "kedahttp_interceptor_open_connections", "peer=pod", "state=busy")
	require.NoError(t, d.Close())
	w.shows(0, "kedahttp_interceptor_open_connections", "peer=client", "state=upgraded")
	w.shows(0, "kedahttp_interceptor_open_connections", "peer=pod")
}

// Clients can ask for whatever hosts, paths and methods they like: there are no more series for that.
func TestClientsCannotMakeSeries(t *testing.T) {
	w := newWorld(t)
	ask := func(i int) {
		r := w.request(fmt.Sprint("M", i), fmt.Sprint("nobody-", i), fmt.Sprint("/", i), nil)
		r.Header.Set("X-Request-Id", fmt.Sprint(i))
		require.Equal(t, http.StatusNotFound, do(r).status)
	}
	ask(0)
	w.shows(1, "kedahttp_interceptor_rejections_total", "namespace=", "app=") // which may be after the answer
	total := func() (n int) {
		families, err := w.registry.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() != "kedahttp_interceptor_open_connections" { // which are those of this moment
				n += len(f.GetMetric())
			}
			for _, m := range f.GetMetric() {
				require.NotContains(t, strings.ToLower(m.String()), "nobody")
			}
		}
		return n
	}
	before := total()
	for i := range 50 {
		ask(i)
	}
	require.Equal(t, before, total())
	w.shows(51, "kedahttp_interceptor_requests_total", "namespace=", "app=", "code=4xx")
}

// The requests of an app that is deleted end when it is gone already.
func TestNothingIsLeftOfAnAppThatIsGone(t *testing.T) {
	for what, request := range map[string]string{"in place": inPlace, "by net/http": byNetHTTP} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			shop := w.app("shop")
			waiting := w.dial(t)
			waiting.say(request)
			w.is("shop", 1, 0)
			w.apps.Delete(shop)
			require.Equal(t, http.StatusNotFound, waiting.hear(http.MethodGet).status)
			w.eventually("the request is told", func() bool { return w.told.Load() == 1 })
			// Requests are told before their app is forgotten.
			for _, name := range []string{"requests_total", "request_duration_seconds", "rejections_total", "retries_total", "cold_start_seconds"} {
				w.eventually("no series of "+name, func() bool {
					_, series := w.metric("kedahttp_interceptor_"+name, "app=shop")
					return series == 0
				})
			}
			shop = shop.DeepCopy()
			shop.UID = "another"
			w.app("shop", func(a *v1alpha1.HTTPApp) { *a = *shop })
			w.ready("shop", "", at(w.pod(hello)))
			require.Equal(t, 200, do(w.request("GET", "shop", "/", nil)).status)
			w.shows(1, "kedahttp_interceptor_requests_total", "app=shop")
		})
	}
}
