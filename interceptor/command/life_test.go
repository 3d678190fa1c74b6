package command

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/endpoints"
	"github.com/kedahttp/kedahttp/interceptor/proxy"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// patience is far above what anything here takes.
const patience = 30 * time.Second

// life is an interceptor that runs, in front of an app with a pod and one without.
type life struct {
	t               *testing.T
	slices          *fcache.FakeControllerSource
	requests, admin string
	pod             *httptest.Server
	// answer lets the pod answer.
	answer chan struct{}
	// end is the signal to end, and ended has the error when that is done.
	end   func()
	ended <-chan error
	*interceptor
}

func live(t *testing.T, delay, drain time.Duration) *life {
	l := &life{t: t, slices: fcache.NewFakeControllerSource(), answer: make(chan struct{})}
	apps := fcache.NewFakeControllerSource()
	for _, name := range []string{"warm", "cold"} {
		apps.Add(&v1alpha1.HTTPApp{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), ResourceVersion: "1"},
			Spec:       v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{{Hosts: []string{name + ".test"}}}},
		})
	}
	l.pod = httptest.NewServer(http.HandlerFunc(l.serve))
	t.Cleanup(func() { l.pod.CloseClientConnections(); l.pod.Close() })
	l.ready("warm")

	slices, err := endpoints.NewSlices(l.slices)
	require.NoError(t, err)
	clk := clock.RealClock{}
	counters, registry, transports := queue.NewCounters(clk), prometheus.NewRegistry(), proxy.NewTransports()
	metrics := proxy.NewMetrics(registry, counters)
	nobody := func(context.Context, string, string) (*corev1.Pod, error) { return nil, context.Canceled }
	l.interceptor = &interceptor{
		options: &Options{ShutdownDelay: delay, DrainTimeout: drain}, creds: insecure.NewCredentials(),
		registry: registry, counters: counters, publisher: queue.NewPublisher(counters, clk), ending: make(chan struct{}),
		directory: backend.NewDirectory(backend.Config{
			Apps: cache.NewSharedIndexInformer(apps, &v1alpha1.HTTPApp{}, 0, cache.Indexers{}), Slices: slices,
			Prober: coldstart.NewProber(nobody, transports.Probes(), transports.SecureProbes()), Counters: counters, Tallies: metrics, Clock: clk,
		}),
	}
	l.handler = proxy.NewHandler(proxy.Config{Transports: transports, Routes: l.directory, Metrics: metrics, Clock: clk})

	listen := func() net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return listener
	}
	requests, admin, counts := listen(), listen(), listen()
	l.requests, l.admin = requests.Addr().String(), admin.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx, requests, admin, counts, nil, nil) }()
	l.end, l.ended = cancel, ended
	t.Cleanup(cancel)
	l.eventually("it is ready", func() bool { return l.readiness() == http.StatusOK })
	l.eventually("the app has a pod", func() bool {
		route, ok := l.directory.Table().Match("warm.test", "/", nil)
		return ok && route.Backend.Pods.Available()
	})
	return l
}

// serve answers for the pod.
func (l *life) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/wait":
		select {
		case <-l.answer:
		case <-r.Context().Done():
		}
	case "/upgrade":
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()                                                                                              //nolint:errcheck // all was said
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n") // the test sees
		_, _ = io.Copy(conn, rw)
		return
	}
	fmt.Fprint(w, "hello") //nolint:errcheck // the test sees
}

// ready makes the pod one of an app.
func (l *life) ready(app string) {
	host, port, err := net.SplitHostPort(l.pod.Listener.Addr().String())
	require.NoError(l.t, err)
	number, err := strconv.ParseInt(port, 10, 32)
	require.NoError(l.t, err)
	l.slices.Add(&discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: app, Labels: map[string]string{discoveryv1.LabelServiceName: app}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(number))}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}},
	})
}

func (l *life) eventually(what string, is func() bool) {
	l.t.Helper()
	require.Eventually(l.t, is, patience, time.Millisecond, what)
}

// readiness is what the kubelet is told.
func (l *life) readiness() int {
	res, err := (&http.Client{Timeout: patience}).Get("http://" + l.admin + "/readyz")
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// told is a response, or why there is none.
type told struct {
	status int
	close  bool
	body   string
	err    error
}

// ask asks an app, on a connection of its own.
func (l *life) ask(app, path string) told {
	r, err := http.NewRequest(http.MethodGet, "http://"+l.requests+path, nil)
	require.NoError(l.t, err)
	r.Host = app + ".test"
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	res, err := client.Do(r)
	if err != nil {
		return told{err: err}
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(res.Body)
	return told{res.StatusCode, res.Close, string(body), err}
}

func (l *life) askMeanwhile(app, path string) <-chan told {
	c := make(chan told, 1)
	go func() { c <- l.ask(app, path) }()
	return c
}

// has waits until so many requests are waiting and with pods.
func (l *life) has(pending, inFlight int64) {
	l.t.Helper()
	l.eventually(fmt.Sprintf("%d pending, %d in flight", pending, inFlight), func() bool {
		var p, f int64
		for _, a := range l.counters.Apps() {
			r := a.Read()
			p, f = p+r.Pending, f+r.InFlight
		}
		return p == pending && f == inFlight
	})
}

// upgrade opens a connection that echoes.
func (l *life) upgrade(target string) (net.Conn, *bufio.Reader) {
	conn, err := net.Dial("tcp", l.requests)
	require.NoError(l.t, err)
	l.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(l.t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: warm.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	require.NoError(l.t, err)
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	require.NoError(l.t, err)
	require.Equal(l.t, http.StatusSwitchingProtocols, res.StatusCode)
	return conn, in
}

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

func TestAnInterceptorThatIsToldToEndFinishesWhatItHas(t *testing.T) {
	t.Parallel()
	l := live(t, 2*time.Second, patience)
	held, answered := l.askMeanwhile("cold", "/"), l.askMeanwhile("warm", "/wait")
	conn, in := l.upgrade("/upgrade")
	echoes := func(what string) {
		t.Helper()
		_, err := io.WriteString(conn, what+"\n")
		require.NoError(t, err)
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, what+"\n", line)
	}
	echoes("before")
	l.has(1, 2)

	l.end()
	l.eventually("it is not ready any more", func() bool { return l.readiness() == http.StatusServiceUnavailable })
	// Not everybody has heard of it.
	late := l.ask("warm", "/")
	require.NoError(t, late.err)
	require.Equal(t, told{status: http.StatusOK, close: true, body: "hello"}, late, "the client is to come back by another connection")
	l.eventually("no connection is taken any more", func() bool {
		c, err := net.Dial("tcp", l.requests)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	require.Equal(t, http.StatusServiceUnavailable, l.readiness())
	require.Empty(t, l.ended, "requests wait and are being answered")

	l.ready("cold")
	require.Equal(t, told{status: http.StatusOK, close: true, body: "hello"}, await(t, held))
	close(l.answer)
	require.Equal(t, told{status: http.StatusOK, close: true, body: "hello"}, await(t, answered))
	l.has(0, 1)
	require.Empty(t, l.ended, "a connection carries something else")
	echoes("after")
	require.NoError(t, conn.Close())
	require.NoError(t, await(t, l.ended))
	require.Zero(t, l.counters.Open())
}

func TestAnInterceptorCutsRequestsThatDoNotEndInTime(t *testing.T) {
	t.Parallel()
	l := live(t, 0, 300*time.Millisecond)
	held, stuck := l.askMeanwhile("cold", "/"), l.askMeanwhile("warm", "/wait")
	_, inPlace := l.upgrade("/upgrade")
	_, byNetHTTP := l.upgrade("http://warm.test/upgrade")
	l.has(1, 3)
	l.end()
	for _, upgraded := range []*bufio.Reader{inPlace, byNetHTTP} {
		_, err := upgraded.ReadByte()
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	require.NoError(t, await(t, l.ended))
	require.Error(t, await(t, held).err)
	require.Error(t, await(t, stuck).err)
	l.has(0, 0)
}
