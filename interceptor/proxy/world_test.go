package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/endpoints"
	"github.com/kedahttp/kedahttp/interceptor/hold"
	"github.com/kedahttp/kedahttp/interceptor/host/hosttest"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// patience is far above what anything here takes.
const patience = 30 * time.Second

// silence is for servers that have much to say.
var silence = log.New(io.Discard, "", 0)

// zone is the interceptor's.
const zone = "east"

// world is an interceptor's data path with a cluster of a test's making: apps and EndpointSlices come through informers, pods
// are servers on loopback.
type world struct {
	t        testing.TB
	apps     *fcache.FakeControllerSource
	client   *fake.Clientset
	counters *queue.Counters
	routes   Routes
	registry *prometheus.Registry
	server   *Server
	address  string
	// told is how many requests of apps were told to be done.
	told atomic.Int64
}

// told counts what is told.
type told struct {
	backend.Tallies
	n *atomic.Int64
}

func (t told) Of(app types.NamespacedName) backend.Tally { return toldOf{t.Tallies.Of(app), t.n} }

type toldOf struct {
	backend.Tally
	n *atomic.Int64
}

func (t toldOf) Done(status int, reason string, took time.Duration) {
	t.n.Add(1)
	t.Tally.Done(status, reason, took)
}

func newWorld(t testing.TB, change ...func(*Config)) *world {
	return newWorldWith(t, &http.Server{}, change...)
}

// newWorldWith makes one with the timeouts of a server.
func newWorldWith(t testing.TB, others *http.Server, change ...func(*Config)) *world {
	return newWorldIn(t, hold.NewSpace(1000, 64<<20), others, change...)
}

// newWorldIn makes one with a space for requests that wait.
func newWorldIn(t testing.TB, space *hold.Space, others *http.Server, change ...func(*Config)) *world {
	w := &world{
		t: t, apps: fcache.NewFakeControllerSource(), client: fake.NewClientset(),
		counters: queue.NewCounters(clock.RealClock{}), registry: prometheus.NewRegistry(),
	}
	transports := NewTransports()
	slices, err := endpoints.NewSlices(hosttest.EndpointSlices(w.client, metav1.NamespaceAll, endpoints.OfServices))
	require.NoError(t, err)
	metrics := NewMetrics(w.registry, w.counters)
	informer := cache.NewSharedIndexInformer(w.apps, &v1alpha1.HTTPApp{}, 0, cache.Indexers{})
	directory := backend.NewDirectory(backend.Config{
		Apps: informer, Slices: slices, Prober: coldstart.NewProber(w.read, transports.Probes(), transports.SecureProbes()), Space: space, Zone: zone,
		Counters: w.counters, Tallies: told{metrics, &w.told}, Clock: clock.RealClock{},
	})
	w.routes = directory
	config := Config{Transports: transports, Routes: directory, Metrics: metrics, Clock: clock.RealClock{}}
	for _, c := range change {
		c(&config)
	}
	handler := NewHandler(config)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- directory.Run(ctx) }()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	others.Protocols = protocols
	server, err := NewServer(handler, others)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.address, w.server = listener.Addr().String(), server
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, await(t, served), http.ErrServerClosed)
		handler.Close()
		cancel()
		require.NoError(t, await(t, ended))
	})
	w.eventually("the routes are known", directory.Ready)
	return w
}

// read reads a pod from the test's cluster.
func (w *world) read(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return w.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	require.Eventually(w.t, is, patience, time.Millisecond, what)
}

// app makes an app with the host NAME.test and waits until it is routed to.
func (w *world) app(name string, change ...func(*v1alpha1.HTTPApp)) *v1alpha1.HTTPApp {
	w.t.Helper()
	a := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), ResourceVersion: "1"},
		Spec:       v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{{Hosts: []string{name + ".test"}, PathPrefix: "/"}}},
	}
	for _, c := range change {
		c(a)
	}
	w.apps.Add(a)
	w.eventually("the app is routed to", func() bool {
		b, ok := w.routes.Table().Match(name+".test", "/", nil)
		return ok && b.UID == a.UID
	})
	return a
}

func (w *world) backend(name string) *backend.Backend {
	route, _ := w.routes.Table().Match(name+".test", "/", nil)
	return route.Backend
}

func (w *world) counts(name string) *queue.App {
	for _, a := range w.counters.Apps() {
		if a.Name().Name == name {
			return a
		}
	}
	return nil
}

// is waits until an app has so many requests.
func (w *world) is(name string, pending, inFlight int64) {
	w.t.Helper()
	var r queue.Reading
	ok := func() bool {
		r = w.counts(name).Read()
		return r.Pending == pending && r.InFlight == inFlight
	}
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			require.Failf(w.t, "counts", "want %d pending and %d in flight, have %+v", pending, inFlight, r)
		}
		time.Sleep(time.Millisecond) // between two looks
	}
}

// ready says which addresses of an app are ready, with the port's appProtocol if any.
func (w *world) ready(app, appProtocol string, addresses ...string) {
	w.t.Helper()
	ctx := w.t.Context()
	slices := w.client.DiscoveryV1().EndpointSlices("default")
	wanted := map[string]*discoveryv1.EndpointSlice{}
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		require.NoError(w.t, err)
		number, err := strconv.ParseInt(port, 10, 32)
		require.NoError(w.t, err)
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: app + "-" + port, Labels: map[string]string{discoveryv1.LabelServiceName: app}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(number))}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}},
		}
		if strings.Contains(host, ":") {
			slice.AddressType = discoveryv1.AddressTypeIPv6
		}
		if appProtocol != "" {
			slice.Ports[0].AppProtocol = &appProtocol
		}
		wanted[slice.Name] = slice
	}
	have, err := slices.List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + app})
	require.NoError(w.t, err)
	for _, s := range have.Items {
		if wanted[s.Name] == nil {
			require.NoError(w.t, slices.Delete(ctx, s.Name, metav1.DeleteOptions{}))
		}
		delete(wanted, s.Name)
	}
	for _, s := range wanted {
		if _, err := slices.Create(ctx, s, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
			require.NoError(w.t, err)
		}
	}
}

// pod is a server that an app's requests are forwarded to.
func (w *world) pod(h http.HandlerFunc) *httptest.Server {
	return w.podWith(func(s *http.Server) { s.Handler = h })
}

func (w *world) podWith(configure func(*http.Server)) *httptest.Server {
	s := httptest.NewUnstartedServer(nil)
	configure(s.Config)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	w.t.Cleanup(func() { _ = w.server.Close(); s.CloseClientConnections(); s.Close() })
	return s
}

// awaitInPod is how a pod waits for its test: when the test is over, so is the wait, for a server does not close before.
func (w *world) awaitInPod(c <-chan struct{}) {
	select {
	case <-c:
	case <-w.t.Context().Done():
	}
}

// bytePod is a pod that says just what it is made to say on each connection; it returns where it listens.
func bytePod(t testing.TB, serve func(net.Conn)) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // it has said all
				serve(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

func at(s *httptest.Server) string { return s.Listener.Addr().String() }

// deadAddress is one that nobody listens on. Its port is kept: were it free, it would soon be that of a server of another test.
func deadAddress(t testing.TB) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
}

// request makes a request for an app.
func (w *world) request(method, app, path string, body io.Reader) *http.Request {
	r, err := http.NewRequest(method, "http://"+w.address+path, body)
	require.NoError(w.t, err)
	r.Host = app + ".test"
	return r
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

var errNoAnswer = fmt.Errorf("no whole answer came in %v", patience)

// patient is a client that ends what does not.
var patient = &http.Client{Timeout: patience}

func do(r *http.Request) answer { return doWith(http.DefaultClient, r) }

func doWith(c *http.Client, r *http.Request) answer {
	ctx, cancel := context.WithTimeoutCause(r.Context(), patience, errNoAnswer)
	defer cancel()
	res, err := c.Do(r.WithContext(ctx))
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body), err}
}

// background does a request and gives its answer later.
func background(r *http.Request) <-chan answer {
	c := make(chan answer, 1)
	go func() { c <- do(r) }()
	return c
}

func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

// give is how a test hands something to whoever waits for it.
func give[T any](t testing.TB, c chan<- T, v T) {
	t.Helper()
	select {
	case c <- v:
	case <-time.After(patience):
		require.Fail(t, "nobody waits")
	}
}

// requireBroken says that a request was broken off: it is no answer, and not the end of the test's patience either.
func requireBroken(t testing.TB, a answer) {
	t.Helper()
	require.Error(t, a.err)
	require.NotErrorIs(t, a.err, errNoAnswer)
}

// recorder is a pod that keeps what it is sent.
type recorder struct {
	mu     sync.Mutex
	bodies []string
}

func (p *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.bodies = append(p.bodies, "broken: "+err.Error())
		return
	}
	p.bodies = append(p.bodies, string(body))
	fmt.Fprintf(w, "got %d", len(body)) //nolint:errcheck // the test sees
}

func (p *recorder) got() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.bodies...)
}

var errTest = errors.New("the client gave up")
