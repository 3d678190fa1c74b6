package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/host/hosttest"
	"github.com/kedahttp/kedahttp/interceptor/queue"
	"github.com/kedahttp/kedahttp/interceptor/queue/wire"
)

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

func withPlaceholder(p v1alpha1.Placeholder) func(*v1alpha1.HTTPApp) {
	return withColdStart(v1alpha1.ColdStart{Placeholder: &p})
}

func withFallback(after time.Duration) func(*v1alpha1.HTTPApp) {
	return withColdStart(v1alpha1.ColdStart{Fallback: &v1alpha1.FallbackService{ServiceName: "static", Port: 80, After: &metav1.Duration{Duration: after}}})
}

func withColdStart(c v1alpha1.ColdStart) func(*v1alpha1.HTTPApp) {
	return func(a *v1alpha1.HTTPApp) { a.Spec.ColdStart = &c }
}

// onBothPaths runs a test with a client whose requests are answered in place, and one whose requests net/http has.
func onBothPaths(t *testing.T, test func(t *testing.T, client *http.Client)) {
	t.Run("HTTP/1.1", func(t *testing.T) {
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		test(t, &http.Client{Transport: transport})
	})
	t.Run("h2c", func(t *testing.T) { test(t, h2cClient(t)) })
}

// listen follows what the interceptor publishes, as the API server and the scaler do.
func (w *world) listen() *queue.Collector {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	server, publisher := grpc.NewServer(), queue.NewPublisher(w.counters, clock.RealClock{})
	wire.RegisterCountsServer(server, publisher)
	collector, err := queue.NewCollector(queue.CollectorConfig{
		Interceptors: hosttest.EndpointSlices(fake.NewClientset(&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "counts-1", Labels: map[string]string{discoveryv1.LabelServiceName: "counts"}},
			Ports:      []discoveryv1.EndpointPort{{Name: ptr.To("counts"), Port: ptr.To(int32(1))}},
			Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}},
		}), "system", queue.SlicesOf("counts")),
		Credentials: insecure.NewCredentials(),
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
		},
	})
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	published, collected, served := make(chan struct{}), make(chan error, 1), make(chan error, 1)
	go func() { publisher.Run(ctx); close(published) }()
	go func() { collected <- collector.Run(ctx) }()
	go func() { served <- server.Serve(listener) }()
	w.t.Cleanup(func() {
		cancel()
		require.NoError(w.t, await(w.t, collected))
		await(w.t, published)
		server.Stop()
		require.NoError(w.t, await(w.t, served))
	})
	w.eventually("the counts are known", collector.Synced)
	return collector
}

func (w *world) requireWoken(a *v1alpha1.HTTPApp, c *queue.Collector) {
	w.t.Helper()
	w.eventually("the counts call for a replica", func() bool {
		s := c.Sample(types.NamespacedName{Namespace: a.Namespace, Name: a.Name}, time.Second)
		return s.Waiting() && !s.LastRequest.IsZero() && demand.Replicas(a, s.Pending, s.InFlight) == 1
	})
}

func TestAPlaceholderIsTheAnswerAtOnceAndTheAppIsWoken(t *testing.T) {
	onBothPaths(t, func(t *testing.T, client *http.Client) {
		w := newWorld(t)
		app := w.app("shop", withPlaceholder(v1alpha1.Placeholder{Body: "<p>soon"}))
		get := func() answer {
			r := w.request("GET", "shop", "/", nil)
			r.Header.Set("Accept", browser)
			return doWith(client, r)
		}
		for range 3 {
			a := get()
			require.NoError(t, a.err)
			require.Equal(t, 503, a.status)
			require.Equal(t, "<p>soon", a.body)
			require.Equal(t, "text/html; charset=utf-8", a.header.Get("Content-Type"))
			require.Equal(t, "2", a.header.Get("Retry-After"))
			require.Equal(t, "no-store", a.header.Get("Cache-Control"))
			require.Equal(t, "placeholder", a.header.Get(coldstart.Header))
		}
		// Whoever begins to listen now, when all requests have been answered, hears of it too.
		w.requireWoken(app, w.listen())
		w.is("shop", 1, 0)
		require.Equal(t, int64(3), w.counts("shop").Read().Requests)
		require.Equal(t, int64(3), w.counts("shop").Read().ColdStarts)

		w.ready("shop", "", at(w.pod(hello)))
		w.is("shop", 0, 0)
		a := get()
		require.Equal(t, "hello", a.body)
		require.Empty(t, a.header.Get(coldstart.Header))
	})
}

func TestWhoIsShownAPlaceholderIsDecidedByAccept(t *testing.T) {
	page := v1alpha1.Placeholder{StatusCode: 200, Body: "<p>soon"}
	json := v1alpha1.Placeholder{StatusCode: 425, ContentType: "application/json", Body: `{"soon":true}`}
	for what, c := range map[string]struct {
		placeholder v1alpha1.Placeholder
		method      string
		accept      string
		status      int
		media       string
		body        string // what it contains
	}{
		"a browser":                            {page, "GET", browser, 200, "text/html; charset=utf-8", "<p>soon"},
		"a browser, of the page by default":    {v1alpha1.Placeholder{}, "GET", browser, 503, "text/html; charset=utf-8", `http-equiv="refresh"`},
		"curl":                                 {page, "GET", "*/*", 200, "text/html; charset=utf-8", "<p>soon"},
		"one that says nothing":                {page, "GET", "", 200, "text/html; charset=utf-8", "<p>soon"},
		"HEAD":                                 {page, "HEAD", browser, 200, "text/html; charset=utf-8", ""},
		"a client of an API":                   {page, "GET", "application/json", 503, "application/json", `"reason":"placeholder"`},
		"one that would rather have JSON":      {page, "GET", "application/json, text/plain, */*", 503, "application/json", `"reason":"placeholder"`},
		"one that excludes HTML":               {page, "GET", "text/html;q=0, */*", 503, "text/plain; charset=utf-8", "default/shop has no ready pod"},
		"an image":                             {page, "GET", "image/*", 503, "text/plain; charset=utf-8", "default/shop has no ready pod"},
		"a client of an API, by a placeholder": {json, "GET", "application/json", 425, "application/json", `{"soon":true}`},
		"a browser, by an API's placeholder":   {json, "GET", "text/html", 503, "text/plain; charset=utf-8", "default/shop has no ready pod"},
		"a status without a body":              {v1alpha1.Placeholder{StatusCode: 204, Body: "x"}, "GET", "", 204, "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			onBothPaths(t, func(t *testing.T, client *http.Client) {
				w := newWorld(t)
				w.app("shop", withPlaceholder(c.placeholder))
				for range 2 { // the second time on the same connection
					r := w.request(c.method, "shop", "/", nil)
					if c.accept != "" {
						r.Header.Set("Accept", c.accept)
					}
					a := doWith(client, r)
					require.NoError(t, a.err)
					require.Equal(t, c.status, a.status)
					require.Equal(t, c.media, a.header.Get("Content-Type"))
					require.Equal(t, "placeholder", a.header.Get(coldstart.Header))
					require.Equal(t, "2", a.header.Get("Retry-After"))
					if c.body == "" {
						require.Empty(t, a.body)
					}
					require.Contains(t, a.body, c.body)
				}
			})
		})
	}
}

func TestWhatWouldBeLostByAPlaceholderWaits(t *testing.T) {
	w := newWorld(t)
	w.app("shop", withPlaceholder(v1alpha1.Placeholder{}))
	post := background(w.request("POST", "shop", "/", strings.NewReader("order")))
	upgrade := w.request("GET", "shop", "/", nil)
	upgrade.Header.Set("Connection", "Upgrade")
	upgrade.Header.Set("Upgrade", "other")
	upgraded := background(upgrade)
	w.is("shop", 2, 0)
	w.ready("shop", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) { _, _ = io.Copy(rw, r.Body) })))
	require.Equal(t, "order", await(t, post).body)
	require.Equal(t, 200, await(t, upgraded).status)
	w.is("shop", 0, 0)
}

func TestAPodIsAskedWhetherItIsReadyWhenAllCallersGotPlaceholders(t *testing.T) {
	w := newWorld(t)
	w.app("shop", withPlaceholder(v1alpha1.Placeholder{}))
	require.Equal(t, 503, do(w.request("GET", "shop", "/", nil)).status)
	var ready atomic.Bool
	probed := make(chan struct{}, 1000)
	w.fresh("shop", "shop-1", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" {
			probed <- struct{}{}
			if !ready.Load() {
				rw.WriteHeader(http.StatusServiceUnavailable)
			}
		}
	})))
	await(t, probed)
	require.Equal(t, 503, do(w.request("GET", "shop", "/", nil)).status)
	ready.Store(true)
	w.is("shop", 0, 0)
	require.Equal(t, 200, do(w.request("GET", "shop", "/", nil)).status)
}

// fallbackAnswers waits until a pod of the app's fallback is known.
func (w *world) fallbackAnswers(app string) {
	w.t.Helper()
	w.eventually("the fallback's pod is known", func() bool {
		pod := w.backend(app).Fallback().Pick(nil)
		if pod != nil {
			pod.Release()
		}
		return pod != nil
	})
}

func TestTheFallbackAnswersUntilThereIsAPodAndTheAppIsWoken(t *testing.T) {
	for _, protocol := range []string{"", "kubernetes.io/h2c"} {
		t.Run("fallback "+protocol, func(t *testing.T) {
			onBothPaths(t, func(t *testing.T, client *http.Client) {
				w := newWorld(t)
				app := w.app("shop", withFallback(0))
				goOn := make(chan struct{})
				static := w.pod(func(rw http.ResponseWriter, r *http.Request) {
					w.awaitInPod(goOn)
					body, _ := io.ReadAll(r.Body)
					_, _ = io.WriteString(rw, "static "+r.Host+" "+r.Proto+" "+string(body))
				})
				w.ready("static", protocol, at(static))
				w.fallbackAnswers("shop")
				post := func() answer { return doWith(client, w.request("POST", "shop", "/", strings.NewReader("order"))) }
				answered := make(chan answer, 1)
				go func() { answered <- post() }()
				w.is("shop", 1, 0) // it waits for the app, whoever answers it
				collector := w.listen()
				w.requireWoken(app, collector)
				close(goOn)
				a := await(t, answered)
				require.NoError(t, a.err)
				require.Equal(t, map[string]string{"": "static shop.test HTTP/1.1 order", "kubernetes.io/h2c": "static shop.test HTTP/2.0 order"}[protocol], a.body)
				require.Equal(t, "fallback", a.header.Get(coldstart.Header))
				w.is("shop", 1, 0)
				w.requireWoken(app, collector)

				w.ready("shop", "", at(w.pod(hello)))
				w.is("shop", 0, 0)
				a = post()
				require.Equal(t, "hello", a.body)
				require.Empty(t, a.header.Get(coldstart.Header))
				r := w.counts("shop").Read()
				require.Equal(t, []int64{2, 1}, []int64{r.Requests, r.ColdStarts})
			})
		})
	}
}

func TestWithoutAReadyPodOfTheFallbackRequestsWait(t *testing.T) {
	for what, prepare := range map[string]func(*testing.T, *world){
		"it has none":         func(*testing.T, *world) {},
		"it is not reachable": func(t *testing.T, w *world) { w.ready("static", "", deadAddress(t)) },
		"it is not ready":     func(_ *testing.T, w *world) { w.fresh("static", "static-1", at(w.pod(hello))) },
		"it is another namespace's": func(t *testing.T, w *world) {
			_, port, err := net.SplitHostPort(at(w.pod(hello)))
			require.NoError(t, err)
			number, err := strconv.ParseInt(port, 10, 32)
			require.NoError(t, err)
			_, err = w.client.DiscoveryV1().EndpointSlices("other").Create(t.Context(), &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Namespace: "other", Name: "static-1", Labels: map[string]string{discoveryv1.LabelServiceName: "static"}},
				AddressType: discoveryv1.AddressTypeIPv4,
				Ports:       []discoveryv1.EndpointPort{{Port: ptr.To(int32(number))}},
				Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
			}, metav1.CreateOptions{})
			require.NoError(t, err)
		},
	} {
		t.Run(what, func(t *testing.T) {
			onBothPaths(t, func(t *testing.T, client *http.Client) {
				w := newWorld(t)
				w.app("shop", withFallback(0))
				prepare(t, w)
				w.app("last", func(a *v1alpha1.HTTPApp) { a.Spec.ServiceName = "last" })
				w.ready("last", "", at(w.pod(hello)))
				w.eventually("what was said before is known", func() bool { return w.backend("last").Pods.Ready() == 1 })
				answered := make(chan answer, 1)
				r := w.request("GET", "shop", "/", nil)
				go func() { answered <- doWith(client, r) }()
				w.is("shop", 1, 0)
				w.eventually("it waits", func() bool { return w.backend("shop").Line.Len() == 1 })
				w.ready("shop", "", at(w.pod(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "the app") })))
				a := await(t, answered)
				require.Equal(t, "the app", a.body)
				require.Contains(t, a.header.Get(coldstart.Header), "total=")
				w.is("shop", 0, 0)
			})
		})
	}
}

func TestTheFallbackWaitsForTheAppFirst(t *testing.T) {
	onBothPaths(t, func(t *testing.T, client *http.Client) {
		w := newWorld(t)
		w.app("shop", withFallback(time.Hour))
		w.app("blog", withFallback(50*time.Millisecond))
		w.ready("static", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(rw, "static "+string(body))
		})))
		w.fallbackAnswers("blog")
		began := time.Now()
		a := doWith(client, w.request("POST", "blog", "/", strings.NewReader("order")))
		require.Equal(t, "static order", a.body)
		require.GreaterOrEqual(t, time.Since(began), 50*time.Millisecond)
		require.Equal(t, "fallback", a.header.Get(coldstart.Header))
		w.is("blog", 1, 0)

		answered := make(chan answer, 1)
		r := w.request("GET", "shop", "/", nil)
		go func() { answered <- doWith(client, r) }()
		w.eventually("it waits", func() bool { return w.backend("shop").Line.Len() == 1 })
		w.ready("shop", "", at(w.pod(hello)))
		require.Equal(t, "hello", await(t, answered).body)
		w.is("shop", 0, 0)
	})
}

func TestAFullLineIsNoReasonToRefuseWhatTheFallbackAnswers(t *testing.T) {
	w := newWorld(t)
	w.app("shop", withFallback(time.Hour), func(a *v1alpha1.HTTPApp) { a.Spec.Queue.MaxPending = ptr.To(int32(1)) })
	w.ready("static", "", at(w.pod(hello)))
	w.fallbackAnswers("shop")
	first := background(w.request("GET", "shop", "/", nil))
	w.eventually("it waits", func() bool { return w.backend("shop").Line.Len() == 1 })
	require.Equal(t, "hello", do(w.request("GET", "shop", "/", nil)).body)
	w.ready("shop", "", at(w.pod(hello)))
	require.Equal(t, "hello", await(t, first).body)
}

func TestThePlaceholderIsForWhenTheFallbackHasNoPod(t *testing.T) {
	onBothPaths(t, func(t *testing.T, client *http.Client) {
		w := newWorld(t)
		w.app("shop", withFallback(0), func(a *v1alpha1.HTTPApp) { a.Spec.ColdStart.Placeholder = &v1alpha1.Placeholder{} })
		get := func() string { return doWith(client, w.request("GET", "shop", "/", nil)).header.Get(coldstart.Header) }
		require.Equal(t, "placeholder", get())
		w.ready("static", "", at(w.pod(hello)))
		w.eventually("the fallback answers", func() bool { return get() == "fallback" })
		w.ready("static", "")
		w.eventually("it is gone", func() bool { return get() == "placeholder" })
	})
}

func TestABrokenFallbackIsNamedInTheAnswer(t *testing.T) {
	w := newWorld(t)
	w.app("shop", withFallback(0))
	w.ready("static", "", at(w.pod(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })))
	w.fallbackAnswers("shop")
	a := do(w.request("POST", "shop", "/", nil))
	require.Equal(t, 502, a.status)
	require.Equal(t, "Service default/static, which answers while app default/shop has no ready pod, broke the connection before it began its response\n", a.body)
	w.is("shop", 1, 0)
}

func TestAFallbackThatIsTakenOutOfTheSpecAnswersNoMore(t *testing.T) {
	w := newWorld(t)
	app := w.app("shop", withFallback(0))
	w.ready("static", "", at(w.pod(hello)))
	w.fallbackAnswers("shop")
	changed := app.DeepCopy()
	changed.Generation++
	changed.Spec.ColdStart = nil
	w.apps.Modify(changed)
	w.eventually("it is known", func() bool { return w.backend("shop").Fallback() == nil })
	waits := background(w.request("GET", "shop", "/", nil))
	w.eventually("it waits", func() bool { return w.backend("shop").Line.Len() == 1 })
	w.apps.Delete(changed)
	require.Equal(t, 404, await(t, waits).status)
}

func TestNothingIsLeftInTheCountsOfAnInterceptorThatEnds(t *testing.T) {
	w := newWorld(t)
	w.app("shop", withPlaceholder(v1alpha1.Placeholder{}))
	require.Equal(t, 503, do(w.request("GET", "shop", "/", nil)).status)
	w.is("shop", 1, 0)
	w.routes.(interface{ Drain() }).Drain()
	w.is("shop", 0, 0)
	require.Equal(t, 503, do(w.request("GET", "shop", "/", nil)).status)
	w.is("shop", 0, 0)
}
