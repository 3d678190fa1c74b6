package queue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/interceptor/host/hosttest"
	"github.com/kedahttp/kedahttp/interceptor/queue/wire"
)

const (
	testNamespace = "kedahttp-system"
	testService   = "kedahttp-interceptor-counts"
	patience      = 20 * time.Second
)

// fleet is the interceptors of a test, by address, and the EndpointSlice that lists them.
type fleet struct {
	t      *testing.T
	client *fake.Clientset

	mu    sync.Mutex
	nodes map[string]*node
}

// node is one interceptor's process.
type node struct {
	*Counters
	server   *grpc.Server
	listener *bufconn.Listener

	mu    sync.Mutex
	conns []net.Conn

	finish   context.CancelFunc
	finished chan struct{}
}

func newFleet(t *testing.T) *fleet {
	return &fleet{t: t, client: fake.NewClientset(), nodes: map[string]*node{}}
}

func address(i int) string { return "10.0.0." + strconv.Itoa(i+1) }

// start makes a process at an address, in place of the one that was there.
func (f *fleet) start(i int) *node {
	n := &node{
		Counters: NewCounters(clock.RealClock{}),
		server:   grpc.NewServer(),
		listener: bufconn.Listen(1 << 16),
		finished: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.finish = cancel
	p := NewPublisher(n.Counters, clock.RealClock{})
	wire.RegisterCountsServer(n.server, p)
	go func() { p.Run(ctx); close(n.finished) }()
	go n.server.Serve(n.listener) //nolint:errcheck // it ends when the test says so
	f.mu.Lock()
	f.nodes[net.JoinHostPort(address(i), "9443")] = n
	f.mu.Unlock()
	f.t.Cleanup(n.kill)
	return n
}

// kill ends the process as a crash would.
func (n *node) kill() { n.server.Stop(); n.finish(); <-n.finished }

// drain ends the process as SIGTERM would once nothing is in flight.
func (n *node) drain() { n.finish(); <-n.finished; n.server.GracefulStop() }

// cut breaks all connections of a process that goes on.
func (n *node) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.conns = nil
}

func (f *fleet) dial(ctx context.Context, address string) (net.Conn, error) {
	f.mu.Lock()
	n := f.nodes[address]
	f.mu.Unlock()
	if n == nil {
		return nil, errors.New("no route to host")
	}
	conn, err := n.listener.DialContext(ctx)
	if err == nil {
		n.mu.Lock()
		n.conns = append(n.conns, conn)
		n.mu.Unlock()
	}
	return conn, err
}

// list writes the EndpointSlice.
func (f *fleet) list(nodes ...int) {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: testNamespace, Name: "counts-1", Labels: map[string]string{discoveryv1.LabelServiceName: testService}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("metrics"), Port: ptr.To[int32](1)}, {Name: ptr.To("counts"), Port: ptr.To[int32](9443), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for _, i := range nodes {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{address(i)}})
	}
	slices := f.client.DiscoveryV1().EndpointSlices(testNamespace)
	_, err := slices.Update(f.t.Context(), slice, metav1.UpdateOptions{})
	if err != nil {
		_, err = slices.Create(f.t.Context(), slice, metav1.CreateOptions{})
	}
	require.NoError(f.t, err)
}

func (f *fleet) collector(change ...func(*CollectorConfig)) *Collector {
	config := CollectorConfig{
		Interceptors: hosttest.EndpointSlices(f.client, testNamespace, SlicesOf(testService)),
		Credentials:  insecure.NewCredentials(), Dial: f.dial,
	}
	for _, ch := range change {
		ch(&config)
	}
	c, err := NewCollector(config)
	require.NoError(f.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		require.NoError(f.t, <-ended)
	})
	return c
}

// eventually waits for a sample that fits; it looks whenever the collector says that something changed.
func eventually(t *testing.T, c *Collector, app types.NamespacedName, what string, fits func(Sample) bool) Sample {
	t.Helper()
	sub := c.Subscribe()
	defer sub.Close()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		s := c.Sample(app, 10*time.Second)
		if fits(s) {
			return s
		}
		select {
		case <-sub.Changed():
			sub.Take()
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %v; last %+v", what, patience, s)
		}
	}
}

func TestACollectorWithoutInterceptorsIsSyncedAndKnowsNothing(t *testing.T) {
	c := newFleet(t).collector()
	eventually(t, c, shop, "synced", func(s Sample) bool { return c.Synced() })
	require.Equal(t, Sample{}, c.Sample(shop, time.Minute))
}

func TestCountsOfAllInterceptorsAddUpAndReturnToZero(t *testing.T) {
	f := newFleet(t)
	a, b := f.start(0), f.start(1)
	var early Ticket
	early.Accept(a.App(shop, "1"))
	f.list(0, 1)
	c := f.collector()
	s := eventually(t, c, shop, "the snapshot", func(s Sample) bool { return s.Pending == 1 && s.Reporting == 2 })
	require.Equal(t, 2, s.Expected)
	require.True(t, c.Synced())
	require.WithinDuration(t, time.Now(), s.SampledAt, patience)
	require.WithinDuration(t, time.Now(), s.LastRequest, patience)

	var late Ticket
	late.Accept(b.App(shop, "1"))
	late.Cold()
	eventually(t, c, shop, "the delta", func(s Sample) bool { return s.Pending == 2 && s.ColdStarts == 1 })
	early.Forward()
	late.Forward()
	eventually(t, c, shop, "both forwarded", func(s Sample) bool { return s.Pending == 0 && s.InFlight == 2 })
	early.Done()
	late.Done()
	eventually(t, c, shop, "both done", func(s Sample) bool { return !s.Waiting() })
}

func TestTheLastColdStartOfAllInterceptorsIsTold(t *testing.T) {
	f := newFleet(t)
	a, b := f.start(0), f.start(1)
	first := &ColdStart{At: time.Unix(100, 0).UTC(), Stages: []Stage{{"address", 300 * time.Millisecond}, {"first-byte", 500 * time.Millisecond}}}
	var one, other Ticket
	one.Accept(a.App(shop, "1"))
	a.App(shop, "1").Started(first)
	f.list(0, 1)
	c := f.collector()
	is := func(what string, want *ColdStart) {
		t.Helper()
		eventually(t, c, shop, what, func(s Sample) bool {
			got := s.LastColdStart
			if s.Reporting != 2 || got == nil || want == nil {
				return s.Reporting == 2 && got == want
			}
			// It is told by the clock of who hears of it, less what an update travels.
			return slices.Equal(got.Stages, want.Stages) && got.At.Sub(want.At).Abs() < 500*time.Millisecond
		})
	}
	is("in the snapshot", first)
	second := &ColdStart{At: time.Unix(101, 0).UTC(), Stages: []Stage{{"first-byte", time.Second}}}
	other.Accept(b.App(shop, "1"))
	b.App(shop, "1").Started(second)
	is("a later one, of another interceptor", second)
	a.App(shop, "1").Started(&ColdStart{At: time.Unix(99, 0), Stages: first.Stages})
	third := &ColdStart{At: time.Unix(102, 0).UTC(), Stages: first.Stages}
	a.App(shop, "1").Started(third)
	is("the latest", third)
	other.Done()
	b.Remove(shop, "1")
	one.Done()
	a.Remove(shop, "1")
	is("of an app that is gone", nil)
}

func TestAnInterceptorThatEndsByItselfIsDroppedAtOnce(t *testing.T) {
	f := newFleet(t)
	f.list(0, 1)
	a := f.start(0)
	f.start(1)
	c := f.collector()
	var tick Ticket
	tick.Accept(a.App(shop, "1"))
	eventually(t, c, shop, "both report", func(s Sample) bool { return s.Pending == 1 && s.Reporting == 2 })
	a.drain()
	s := eventually(t, c, shop, "dropped", func(s Sample) bool { return s.Expected == 1 })
	require.Zero(t, s.Pending)
	require.Equal(t, 1, s.Reporting)
}

func TestALostInterceptorKeepsItsCountsForTheGracePeriod(t *testing.T) {
	f := newFleet(t)
	f.list(0)
	a := f.start(0)
	c := f.collector(func(c *CollectorConfig) { c.Grace = 3 * time.Second })
	var tick Ticket
	tick.Accept(a.App(shop, "1"))
	eventually(t, c, shop, "reporting", func(s Sample) bool { return s.Pending == 1 && s.Reporting == 1 })
	a.kill()
	s := eventually(t, c, shop, "lost", func(s Sample) bool { return s.Reporting == 0 })
	require.Equal(t, int64(1), s.Pending)
	require.Equal(t, 1, s.Expected)
	eventually(t, c, shop, "dropped", func(s Sample) bool { return s.Pending == 0 })
}

func TestARestartedInterceptorReplacesItsOldCountsAtOnce(t *testing.T) {
	f := newFleet(t)
	f.list(0)
	a := f.start(0)
	c := f.collector(func(c *CollectorConfig) { c.Grace = time.Hour })
	var lost, kept Ticket
	lost.Accept(a.App(shop, "1"))
	eventually(t, c, shop, "reporting", func(s Sample) bool { return s.Pending == 1 })
	a.kill()
	b := f.start(0)
	kept.Accept(b.App(shop, "1"))
	kept.Forward()
	eventually(t, c, shop, "replaced", func(s Sample) bool { return s.Pending == 0 && s.InFlight == 1 && s.Reporting == 1 })
}

func TestASubscriptionNamesTheAppsWhoseCountsChange(t *testing.T) {
	f := newFleet(t)
	f.list(0)
	a := f.start(0)
	c := f.collector()
	eventually(t, c, shop, "reporting", func(s Sample) bool { return s.Reporting == 1 })
	sub := c.Subscribe()
	defer sub.Close()
	var tick Ticket
	tick.Accept(a.App(shop, "1"))
	select {
	case <-sub.Changed():
	case <-time.After(patience):
		t.Fatal("no change was told")
	}
	require.Equal(t, []types.NamespacedName{shop}, sub.Take())
}

func TestEachChangeOfACountIsSeen(t *testing.T) {
	f := newFleet(t)
	f.list(0)
	a := f.start(0).App(shop, "1")
	c := f.collector()
	eventually(t, c, shop, "reporting", func(s Sample) bool { return s.Reporting == 1 })
	sub := c.Subscribe()
	defer sub.Close()
	var worst time.Duration
	for i := range 50 {
		var tick Ticket
		from := time.Now()
		tick.Accept(a)
		for c.Sample(shop, time.Second).Pending != 1 {
			select {
			case <-sub.Changed():
				sub.Take()
			case <-time.After(patience):
				t.Fatalf("request %d was not seen", i)
			}
		}
		worst = max(worst, time.Since(from))
		tick.Done()
		for c.Sample(shop, time.Second).Pending != 0 {
			select {
			case <-sub.Changed():
				sub.Take()
			case <-time.After(patience):
				t.Fatalf("the end of request %d was not seen", i)
			}
		}
	}
	t.Logf("the slowest of 50 took %v", worst)
}

func TestAnInterceptorThatCannotBeReachedIsExpectedAndDelaysTheSyncForTheGracePeriodOnly(t *testing.T) {
	f := newFleet(t)
	f.start(0)
	f.list(0, 1)
	c := f.collector(func(c *CollectorConfig) { c.Grace = time.Second })
	s := eventually(t, c, shop, "one reports", func(s Sample) bool { return s.Reporting == 1 })
	require.Equal(t, 2, s.Expected)
	eventually(t, c, shop, "synced", func(Sample) bool { return c.Synced() })
}

func TestACollectorSaysWhatItsConfigurationLacks(t *testing.T) {
	for i, config := range []CollectorConfig{
		{},
		{Interceptors: hosttest.EndpointSlices(fake.NewClientset(), "a", SlicesOf("b"))},
		{Credentials: insecure.NewCredentials()},
	} {
		_, err := NewCollector(config)
		require.ErrorContains(t, err, "needs", fmt.Sprint(i))
	}
}

// gap is an interceptor whose first stream leaves out an update, and whose second begins when it is told to.
type gap struct {
	wire.UnimplementedCountsServer
	streams atomic.Int64
	broken  chan struct{}
	again   chan struct{}
}

func (g *gap) Watch(_ *wire.WatchRequest, stream grpc.ServerStreamingServer[wire.Update]) error {
	send := func(sequence uint64, pending int64) error {
		return stream.Send(&wire.Update{Epoch: "1", Sequence: sequence, Snapshot: sequence == 1, Apps: []*wire.App{
			{Namespace: shop.Namespace, Name: shop.Name, Uid: "1", Pending: pending, Requests: 1},
		}})
	}
	if g.streams.Add(1) == 1 {
		if err := errors.Join(send(1, 1), send(3, 3)); err != nil {
			return err
		}
		<-stream.Context().Done()
		close(g.broken)
		return nil
	}
	<-g.again
	if err := send(1, 4); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func TestAStreamThatLeavesSomethingOutIsOpenedAnew(t *testing.T) {
	f := newFleet(t)
	f.list(0)
	n := f.start(0)
	n.server.Stop()
	server, g := grpc.NewServer(), &gap{broken: make(chan struct{}), again: make(chan struct{})}
	n.listener = bufconn.Listen(1 << 16)
	wire.RegisterCountsServer(server, g)
	go server.Serve(n.listener) //nolint:errcheck // it ends with the test
	t.Cleanup(server.Stop)
	c := f.collector()
	select {
	case <-g.broken:
	case <-time.After(patience):
		t.Fatal("the stream goes on")
	}
	s := eventually(t, c, shop, "lost", func(s Sample) bool { return s.Pending == 1 && s.Reporting == 0 })
	require.Equal(t, 1, s.Expected, "what came before the gap is the last that is known")
	close(g.again)
	eventually(t, c, shop, "told everything again", func(s Sample) bool { return s.Pending == 4 && s.Reporting == 1 })
}
