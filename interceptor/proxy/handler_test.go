package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/hold"
)

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") } //nolint:errcheck // the test sees

// Clients and pods may have addresses of IPv6.
func TestRequestsComeAndGoByIPv6(t *testing.T) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp6", "[::1]:0")
		if err != nil {
			t.Skipf("there is no IPv6: %v", err)
		}
		return l
	}
	w := newWorld(t, func(c *Config) { c.Forwarded = true })
	w.app("shop")
	pod := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, r.Host, " ", r.Header["X-Forwarded-For"], " ", r.Header["Forwarded"])
	}))
	_ = pod.Listener.Close()
	pod.Listener = listen()
	pod.Start()
	t.Cleanup(pod.Close)
	w.ready("shop", "", at(pod))
	listener := listen()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server, err := NewServer(w.server.handler, &http.Server{Protocols: protocols})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, await(t, served), http.ErrServerClosed)
	})
	for how, client := range map[string]*http.Client{"HTTP/1.1": {Transport: &http.Transport{}}, "HTTP/2": h2cClient(t)} {
		for _, header := range []http.Header{{}, {"Expect": {"100-continue"}}} { // in place, and by the standard library
			r, err := http.NewRequest(http.MethodPost, "http://"+listener.Addr().String(), strings.NewReader("hello"))
			require.NoError(t, err)
			r.Host, r.Header = "shop.test", header
			res, err := client.Do(r)
			require.NoError(t, err, how)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, `shop.test [::1] [for="[::1]";host=shop.test;proto=http]`, string(body), how)
		}
		client.CloseIdleConnections()
	}
}

func TestARequestWithoutARouteIsToldSo(t *testing.T) {
	w := newWorld(t)
	a := do(w.request("GET", "nobody", "/x", nil))
	require.NoError(t, a.err)
	require.Equal(t, http.StatusNotFound, a.status)
	require.Contains(t, a.body, `"nobody.test"`)
}

func TestARequestIsForwardedAsItCame(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	seen := make(chan *http.Request, 1)
	w.ready("shop", "", at(w.pod(func(_ http.ResponseWriter, r *http.Request) { seen <- r })))
	r := w.request("DELETE", "shop", "/a%2Fb//c?x=1;y=%zz&z", nil)
	r.Header.Set("X-Forwarded-For", "6.6.6.6")
	r.Header.Set("X-Forwarded-Proto", "gopher")
	r.Header.Set("X-Other", "kept")
	require.Equal(t, 200, do(r).status)
	got := await(t, seen)
	require.Equal(t, "DELETE", got.Method)
	require.Equal(t, "shop.test", got.Host)
	require.Equal(t, "/a%2Fb//c?x=1;y=%zz&z", got.RequestURI)
	require.Equal(t, "kept", got.Header.Get("X-Other"))
	require.Equal(t, []string{"127.0.0.1"}, got.Header["X-Forwarded-For"], "a stranger's word is not taken")
	require.Equal(t, "http", got.Header.Get("X-Forwarded-Proto"))
	require.Equal(t, "shop.test", got.Header.Get("X-Forwarded-Host"))
}

func TestATrustedProxysForwardedHeadersAreExtended(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	w.app("shop")
	seen := make(chan *http.Request, 1)
	w.ready("shop", "", at(w.pod(func(_ http.ResponseWriter, r *http.Request) { seen <- r })))
	r := w.request("GET", "shop", "/", nil)
	r.Header.Set("X-Forwarded-For", "6.6.6.6")
	r.Header.Set("X-Forwarded-Proto", "https")
	require.Equal(t, 200, do(r).status)
	got := await(t, seen)
	require.Equal(t, "6.6.6.6, 127.0.0.1", got.Header.Get("X-Forwarded-For"))
	require.Equal(t, "https", got.Header.Get("X-Forwarded-Proto"))
	require.Equal(t, "shop.test", got.Header.Get("X-Forwarded-Host"))
}

func TestRequestsWaitForAPodAndAreAllAnsweredWhenItIsReady(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	const n = 50
	answers := make([]<-chan answer, n)
	for i := range answers {
		answers[i] = background(w.request("GET", "shop", "/", nil))
	}
	w.is("shop", n, 0)
	w.eventually("all found no pod", func() bool { return w.counts("shop").Read().ColdStarts == n })
	w.ready("shop", "", at(w.pod(hello)))
	for _, a := range answers {
		a := await(t, a)
		require.NoError(t, a.err)
		require.Equal(t, "hello", a.body)
	}
	w.is("shop", 0, 0)
	r := w.counts("shop").Read()
	require.Equal(t, int64(n), r.Requests)
	require.Positive(t, r.ConcurrencySeconds)
}

func TestABodyHeldOverAColdStartArrivesWholeAndOnce(t *testing.T) {
	for _, size := range []int{1, 3000, bufferEach, 5*bufferEach + 17} {
		for _, chunked := range []bool{false, true} {
			for _, proto := range []string{"HTTP/1.1", "h2c"} {
				t.Run(fmt.Sprintf("size=%d chunked=%v %s", size, chunked, proto), func(t *testing.T) {
					w := newWorld(t)
					w.app("shop")
					body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
					var from io.Reader = strings.NewReader(body)
					if chunked {
						from = io.MultiReader(from)
					}
					client := http.DefaultClient
					if proto == "h2c" {
						client = h2cClient(t)
					}
					answered := make(chan answer, 1)
					r := w.request("POST", "shop", "/", from)
					go func() { answered <- doWith(client, r) }()
					w.is("shop", 1, 0)
					pod := &recorder{}
					w.ready("shop", "", deadAddress(t)) // the first try reaches nobody
					w.ready("shop", "", at(w.pod(pod.ServeHTTP)))
					a := await(t, answered)
					require.NoError(t, a.err)
					require.Equal(t, fmt.Sprintf("got %d", size), a.body)
					require.Equal(t, []string{body}, pod.got())
					w.is("shop", 0, 0)
				})
			}
		}
	}
}

func h2cClient(t *testing.T) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestAClientThatLeavesWhileItWaitsIsForgottenAtOnce(t *testing.T) {
	for what, c := range map[string]struct{ request string }{
		"no body":                           {"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"},
		"a body that arrived":               {"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhello"},
		"a chunked body that arrived":       {"POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"a body that did not arrive":        {"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 500\r\n\r\nhello"},
		"a body that waits for 100":         {"POST / HTTP/1.1\r\nHost: shop.test\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n"},
		"a chunked body that did not":       {"POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"},
		"a body that is longer":             {fmt.Sprintf("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: %d\r\n\r\n", 2*bufferEach) + strings.Repeat("x", bufferEach+1)},
		"a body as long as what is read of": {fmt.Sprintf("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: %d\r\n\r\n", bufferEach) + strings.Repeat("x", bufferEach)},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.app("shop")
			conn, err := net.Dial("tcp", w.address)
			require.NoError(t, err)
			_, err = io.WriteString(conn, c.request)
			require.NoError(t, err)
			w.is("shop", 1, 0)
			require.NoError(t, conn.Close())
			w.is("shop", 0, 0)
			pod := &recorder{}
			w.ready("shop", "", at(w.pod(pod.ServeHTTP)))
			require.Equal(t, 200, do(w.request("POST", "shop", "/", strings.NewReader("another"))).status)
			require.Equal(t, []string{"another"}, pod.got(), "the app hears nothing of a client that left")
		})
	}
}

// How much is read of a body while its request waits is bounded for all of them together, too.
func TestAClientThatLeavesIsForgottenAlsoWhenNothingMoreIsReadOfItsBody(t *testing.T) {
	w := newWorldIn(t, hold.NewSpace(1000, 64<<10), &http.Server{})
	w.app("shop")
	conn, err := net.Dial("tcp", w.address)
	require.NoError(t, err)
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 50000\r\n\r\n"+strings.Repeat("x", 40000))
	require.NoError(t, err)
	w.is("shop", 1, 0)
	require.NoError(t, conn.Close())
	w.is("shop", 0, 0)
}

// A client that says no more has left, whoever answers it: it gets no answer that could be taken for the app's.
func TestAClientThatSaysNoMoreWhileItWaitsIsToldNothing(t *testing.T) {
	for what, request := range map[string]string{"in place": inPlace, "by net/http": byNetHTTP} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.app("shop")
			conn, err := net.Dial("tcp", w.address)
			require.NoError(t, err)
			defer conn.Close() //nolint:errcheck // the test is over
			_, err = io.WriteString(conn, request)
			require.NoError(t, err)
			w.is("shop", 1, 0)
			require.NoError(t, closeWrite(conn))
			w.is("shop", 0, 0)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
			said, err := io.ReadAll(conn)
			require.NoError(t, err)
			require.Empty(t, said)
		})
	}
}

func TestARequestTooManyIsRefusedAtOnce(t *testing.T) {
	w := newWorld(t)
	w.app("shop", func(a *v1alpha1.HTTPApp) { a.Spec.Queue.MaxPending = ptr.To[int32](2) })
	first, second := background(w.request("GET", "shop", "/", nil)), background(w.request("GET", "shop", "/", nil))
	w.is("shop", 2, 0)

	a := do(w.request("GET", "shop", "/", nil))
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Equal(t, "text/plain; charset=utf-8", a.header.Get("Content-Type"))
	require.Contains(t, a.body, "app default/shop")
	require.Contains(t, a.body, "2 requests wait")

	r := w.request("POST", "shop", "/", strings.NewReader("with a body"))
	r.Header.Set("Accept", "application/json, text/plain, */*")
	a = do(r)
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	var said struct {
		Reason string
		App    struct{ Namespace, Name string }
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &said))
	require.Equal(t, "queue_full", said.Reason)
	require.Equal(t, "shop", said.App.Name)

	w.is("shop", 2, 0)
	w.ready("shop", "", at(w.pod(hello)))
	require.Equal(t, 200, await(t, first).status)
	require.Equal(t, 200, await(t, second).status)
	require.NoError(t, testutil.GatherAndCompare(w.registry, strings.NewReader(`
# HELP kedahttp_interceptor_rejections_total Requests that the interceptor answered itself or could not answer, by reason: malformed, no_route, starting, queue_full, interceptor_full, queue_timeout, app_failing, app_asleep, app_gone, response_header_timeout, request_timeout, idle_timeout, backend, client_gone, placeholder, redirect.
# TYPE kedahttp_interceptor_rejections_total counter
kedahttp_interceptor_rejections_total{app="shop",namespace="default",reason="queue_full"} 2
`), "kedahttp_interceptor_rejections_total"))
}

func TestTheRequestsOfAllAppsTogetherMayTakeOnlySoMuch(t *testing.T) {
	w := newWorldIn(t, hold.NewSpace(3, 64<<10), &http.Server{})
	w.app("shop")
	w.app("cafe")
	waiting := []<-chan answer{
		background(w.request("GET", "shop", "/", nil)), background(w.request("GET", "shop", "/", nil)),
		background(w.request("POST", "shop", "/", strings.NewReader("with a body"))),
	}
	w.is("shop", 3, 0)
	refused := func(app, what string, change func(*http.Request)) {
		t.Helper()
		for _, header := range []http.Header{{}, {"Expect": {"100-continue"}}, {"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}} {
			r := w.request("GET", app, "/", nil)
			r.Header = header
			if change != nil {
				change(r)
			}
			a := do(r)
			require.Equal(t, http.StatusServiceUnavailable, a.status, what)
			require.NotEmpty(t, a.header.Get("Retry-After"))
			require.Contains(t, a.body, "--max-held-requests", what)
			require.Contains(t, a.body, "default/"+app)
		}
	}
	refused("cafe", "as many requests wait as may", nil)
	w.ready("shop", "", at(w.pod(hello)))
	for _, c := range waiting {
		require.Equal(t, 200, await(t, c).status)
	}
	w.is("shop", 0, 0)
	refused("cafe", "its head takes more than an app's quarter of a half", func(r *http.Request) {
		r.Header.Set("X-Long", strings.Repeat("x", 9<<10))
	})
	last := background(w.request("GET", "cafe", "/", nil))
	w.is("cafe", 1, 0)
	w.ready("cafe", "", at(w.pod(hello)))
	require.Equal(t, 200, await(t, last).status)
}

func TestARequestThatWaitedForTooLongIsRefused(t *testing.T) {
	w := newWorld(t)
	w.app("shop", func(a *v1alpha1.HTTPApp) { a.Spec.Queue.MaxWait = &metav1.Duration{Duration: 50 * time.Millisecond} })
	a := do(w.request("GET", "shop", "/", nil))
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Contains(t, a.body, "default/shop")
	require.Contains(t, a.body, "50ms")
	w.is("shop", 0, 0)
}

func TestAnAnswerDoesNotWaitForASlowUpload(t *testing.T) {
	w := newWorld(t)
	w.app("shop", func(a *v1alpha1.HTTPApp) { a.Spec.Queue.MaxWait = &metav1.Duration{Duration: 50 * time.Millisecond} })
	conn, err := net.Dial("tcp", w.address)
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // the test is over
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 500\r\n\r\nhello")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	w.is("shop", 0, 0)
}

func TestAPodThatCannotBeReachedCostsNoRequest(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	pod := &recorder{}
	w.ready("shop", "", deadAddress(t), deadAddress(t), at(w.pod(pod.ServeHTTP)))
	for i := range 30 {
		a := do(w.request("POST", "shop", "/", strings.NewReader(fmt.Sprint("body ", i))))
		require.NoError(t, a.err)
		require.Equal(t, 200, a.status)
	}
	require.Len(t, pod.got(), 30)
	w.is("shop", 0, 0)
}

func TestARequestThatArrivesWhileTheLastPodGoesWaitsForTheNext(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	old := w.pod(hello)
	w.ready("shop", "", at(old))
	require.Equal(t, 200, do(w.request("GET", "shop", "/", nil)).status)
	// The pod is gone, and nobody has said so yet.
	old.CloseClientConnections()
	old.Close()
	held := background(w.request("POST", "shop", "/", strings.NewReader("important")))
	w.is("shop", 1, 0)
	w.ready("shop", "")
	pod := &recorder{}
	w.ready("shop", "", at(w.pod(pod.ServeHTTP)))
	a := await(t, held)
	require.NoError(t, a.err)
	require.Equal(t, 200, a.status)
	require.Equal(t, []string{"important"}, pod.got())
}

func TestABrokenConnectionIsRepeatedOnceWhenThatMakesNoDifference(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	var seen atomic.Int64
	breaking := func(times int64) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if seen.Add(1) <= times {
				panic(http.ErrAbortHandler)
			}
			hello(w, r)
		}
	}
	w.ready("shop", "", at(w.pod(breaking(1))))
	require.Equal(t, 200, do(w.request("GET", "shop", "/", nil)).status)
	require.Equal(t, int64(2), seen.Load())

	seen.Store(0)
	a := do(w.request("POST", "shop", "/", nil))
	require.Equal(t, http.StatusBadGateway, a.status)
	require.Contains(t, a.body, "default/shop")
	require.Equal(t, int64(1), seen.Load(), "a POST is not repeated")
	w.is("shop", 0, 0)
}

func TestAClientThatLeavesWhileItIsServedIsForgottenAtOnce(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	arrived, left := make(chan struct{}), make(chan struct{})
	w.ready("shop", "", at(w.pod(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(left)
	})))
	ctx, cancel := context.WithCancelCause(t.Context())
	served := background(w.request("GET", "shop", "/", nil).WithContext(ctx))
	await(t, arrived)
	w.is("shop", 0, 1)
	cancel(errTest)
	w.is("shop", 0, 0)
	await(t, left)
	require.ErrorIs(t, await(t, served).err, errTest)
}

func TestAnUpgradedConnectionCountsForItsLifetime(t *testing.T) {
	w := newWorld(t)
	w.app("chat", func(a *v1alpha1.HTTPApp) { a.Spec.Timeouts.Request = &metav1.Duration{Duration: 50 * time.Millisecond} })
	upgrader := websocket.Upgrader{}
	w.ready("chat", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(rw, r, nil)
		if err != nil {
			return
		}
		defer c.Close() //nolint:errcheck // the test is over
		for {
			kind, m, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, append([]byte("echo "), m...)) != nil {
				return
			}
		}
	})))
	dialer := websocket.Dialer{NetDial: func(network, _ string) (net.Conn, error) { return net.Dial(network, w.address) }}
	c, _, err := dialer.Dial("ws://chat.test/", nil)
	require.NoError(t, err)
	w.is("chat", 0, 1)
	for i := range 3 {
		// Longer than a request may take.
		require.NoError(t, c.WriteMessage(websocket.TextMessage, fmt.Append(nil, i)))
		_, m, err := c.ReadMessage()
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("echo ", i), string(m))
		<-time.After(40 * time.Millisecond)
	}
	w.is("chat", 0, 1)
	require.NoError(t, c.Close())
	w.is("chat", 0, 0)
}

func TestEventsArePassedOnAsTheyCome(t *testing.T) {
	w := newWorld(t)
	w.app("news")
	next := make(chan string)
	w.ready("news", "", at(w.pod(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for e := range next {
			fmt.Fprintf(w, "data: %s\n\n", e) //nolint:errcheck // the test sees
			w.(http.Flusher).Flush()
		}
	})))
	res, err := patient.Do(w.request("GET", "news", "/", nil))
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // read to its end
	lines := bufio.NewReader(res.Body)
	for _, e := range []string{"one", "two"} {
		give(t, next, e)
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "data: "+e+"\n", line)
		_, err = lines.ReadString('\n')
		require.NoError(t, err)
	}
	close(next)
	w.is("news", 0, 0)
}

func TestTrailersArriveInBothDirections(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "of "+r.Trailer.Get("X-Asked"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
	})))
	r := w.request("POST", "shop", "/", io.MultiReader(strings.NewReader("body")))
	r.Trailer = http.Header{"X-Asked": {"me"}}
	res, err := patient.Do(r)
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "body", string(body))
	require.Equal(t, "of me", res.Trailer.Get("X-Sum"))
	require.Equal(t, "unannounced", res.Trailer.Get("X-Late"))
}

func TestTrailersOfARequestThatWaitedArrive(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	pod := w.pod(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s of %s", body, r.Trailer.Get("X-Asked")) //nolint:errcheck // the test sees
	})
	for range 20 {
		w.ready("shop", "")
		w.eventually("there is no pod", func() bool { return !w.backend("shop").Pods.Available() })
		end := make(chan struct{})
		r := w.request("POST", "shop", "/", io.MultiReader(strings.NewReader("bo"), readerFunc(func([]byte) (int, error) {
			<-end
			return 0, io.EOF
		})))
		r.Trailer = http.Header{"X-Asked": {"me"}}
		answered := background(r)
		w.is("shop", 1, 0)
		// The end of the body and the pod come at the same time.
		close(end)
		w.ready("shop", "", at(pod))
		require.Equal(t, "bo of me", await(t, answered).body)
		w.is("shop", 0, 0)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestHTTP2WithoutTLSIsSpokenOnBothSides(t *testing.T) {
	w := newWorld(t)
	w.app("by-service")
	w.app("by-spec", func(a *v1alpha1.HTTPApp) { a.Spec.Protocol = v1alpha1.ProtocolH2C })
	w.app("by-default")
	pod := w.pod(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }) //nolint:errcheck // the test sees
	w.ready("by-service", "kubernetes.io/h2c", at(pod))
	w.ready("by-spec", "", at(pod))
	w.ready("by-default", "", at(pod))
	for app, want := range map[string]string{"by-service": "HTTP/2.0", "by-spec": "HTTP/2.0", "by-default": "HTTP/1.1"} {
		for _, client := range []*http.Client{http.DefaultClient, h2cClient(t)} {
			a := doWith(client, w.request("GET", app, "/", nil))
			require.NoError(t, a.err)
			require.Equal(t, want, a.body, app)
		}
	}
}

func TestGRPCPassesThroughAlsoFromZero(t *testing.T) {
	w := newWorld(t)
	w.app("grpc", func(a *v1alpha1.HTTPApp) { a.Spec.Protocol = v1alpha1.ProtocolH2C })
	conn, err := grpc.NewClient("passthrough:///"+w.address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("grpc.test"))
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // the test is over
	client := grpc_health_v1.NewHealthClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	type reply struct {
		res *grpc_health_v1.HealthCheckResponse
		err error
	}
	first := make(chan reply, 1)
	go func() {
		res, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		first <- reply{res, err}
	}()
	w.is("grpc", 1, 0)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, status := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, status)
	go server.Serve(listener) //nolint:errcheck // it ends when the test does
	defer server.Stop()
	w.ready("grpc", "", listener.Addr().String())
	got := await(t, first)
	require.NoError(t, got.err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, got.res.GetStatus())

	_, err = client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "nobody"})
	require.ErrorContains(t, err, "NotFound", "a status in trailers only")

	stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	res, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, res.GetStatus())
	w.is("grpc", 0, 1)
	status.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	res, err = stream.Recv()
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_NOT_SERVING, res.GetStatus())
	cancel()
	w.is("grpc", 0, 0)
}

func TestRequestsGoToTheLeastBusyPod(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	const pods, each = 3, 4
	var busy [pods]atomic.Int64
	release := make(chan struct{})
	var addresses []string
	for i := range pods {
		addresses = append(addresses, at(w.pod(func(http.ResponseWriter, *http.Request) {
			busy[i].Add(1)
			w.awaitInPod(release)
		})))
	}
	w.ready("shop", "", addresses...)
	w.eventually("all pods are ready", func() bool { return w.backend("shop").Pods.Ready() == pods })
	var answers []<-chan answer
	for n := range pods * each {
		answers = append(answers, background(w.request("GET", "shop", "/", nil)))
		w.is("shop", 0, int64(n+1))
	}
	w.eventually("all arrived", func() bool { return busy[0].Load()+busy[1].Load()+busy[2].Load() == pods*each })
	close(release)
	for _, a := range answers {
		require.Equal(t, 200, await(t, a).status)
	}
	for i := range busy {
		require.Equal(t, int64(each), busy[i].Load())
	}
}

func TestTheRequestsOfADeletedAppDoNotWaitOn(t *testing.T) {
	w := newWorld(t)
	app := w.app("shop")
	held := background(w.request("GET", "shop", "/", nil))
	w.is("shop", 1, 0)
	w.apps.Delete(app)
	a := await(t, held)
	require.Equal(t, http.StatusNotFound, a.status)
	require.Contains(t, a.body, "deleted")
	w.eventually("its counts are gone", func() bool { return w.counts("shop") == nil })
}
