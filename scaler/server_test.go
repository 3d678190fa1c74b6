package scaler

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// longest is far above what anything here takes.
const longest = 30 * time.Second

// within is a test's context, which ends when it lasts too long.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	t.Cleanup(cancel)
	return ctx
}

var shop = types.NamespacedName{Namespace: "default", Name: "shop"}

// counts is a Source whose samples a test says. Averages are by window, and lately over those that are not named.
type counts struct {
	mu       sync.Mutex
	sample   queue.Sample
	averages map[time.Duration]float64
	lately   float64
	// all is the concurrency of all apps together.
	all      float64
	observed time.Duration
	unsynced bool
	looked   int
}

func (c *counts) looks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.looked
}

func (c *counts) Sample(app types.NamespacedName, window time.Duration) queue.Sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked++
	s := c.sample
	if app == queue.AllApps {
		return queue.Sample{Reporting: s.Reporting, Expected: s.Expected, Concurrency: c.all}
	}
	if app != shop {
		return queue.Sample{Reporting: s.Reporting, Expected: s.Expected}
	}
	average, named := c.averages[window]
	if !named {
		average = c.lately
	}
	s.Concurrency, s.RequestRate = average, 10*average
	s.Observed = min(window, c.observed)
	return s
}

func (c *counts) Synced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.unsynced
}

func (c *counts) Subscribe() *queue.Subscription { panic("the test tells of changes itself") }

type specs struct {
	mu   sync.Mutex
	apps map[types.NamespacedName]*v1alpha1.HTTPApp
}

func (s *specs) Get(app types.NamespacedName) *v1alpha1.HTTPApp {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apps[app]
}

func (s *specs) set(app *v1alpha1.HTTPApp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[shop] = app
}

func scaledBy(metric v1alpha1.Metric, target string, window time.Duration) *v1alpha1.HTTPApp {
	q := resource.MustParse(target)
	return &v1alpha1.HTTPApp{Spec: v1alpha1.HTTPAppSpec{Scaling: v1alpha1.Scaling{
		Metric: metric, Target: &q, Window: &metav1.Duration{Duration: window},
	}}}
}

type setup struct {
	*counts
	specs  *specs
	clock  *clocktesting.FakeClock
	server *Server
	client externalscaler.ExternalScalerClient
	close  func()
}

func start(t *testing.T) *setup {
	s := &setup{
		counts: &counts{sample: queue.Sample{Reporting: 2, Expected: 2}, averages: map[time.Duration]float64{}, observed: time.Hour},
		specs:  &specs{apps: map[types.NamespacedName]*v1alpha1.HTTPApp{}},
		clock:  clocktesting.NewFakeClock(time.Unix(1e9, 0)),
	}
	s.server = NewServer(Config{Source: s.counts, Apps: s.specs, Clock: s.clock, ActiveFor: 10 * time.Second})
	s.close = sync.OnceFunc(func() { close(s.server.closing) })
	listener := bufconn.Listen(1 << 16)
	grpcServer := grpc.NewServer()
	externalscaler.RegisterExternalScalerServer(grpcServer, s.server)
	go grpcServer.Serve(listener) //nolint:errcheck // it ends when the test says so
	conn, err := grpc.NewClient("passthrough:///scaler", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() { s.close(); conn.Close(); grpcServer.Stop() })
	s.client = externalscaler.NewExternalScalerClient(conn)
	return s
}

// say changes the counts as a stream of the interceptors would.
func (s *setup) say(change func(*queue.Sample)) {
	s.mu.Lock()
	change(&s.sample)
	s.mu.Unlock()
	s.server.hub.changed(shop)
}

func ref() *externalscaler.ScaledObjectRef {
	return &externalscaler.ScaledObjectRef{Name: "so", Namespace: "default", ScalerMetadata: map[string]string{"httpApp": "shop", "scalerAddress": "x:1"}}
}

func TestATriggerThatNamesNoAppIsToldSo(t *testing.T) {
	s := start(t)
	bad := &externalscaler.ScaledObjectRef{Name: "so", Namespace: "ns"}
	_, err := s.client.IsActive(within(t), bad)
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.ErrorContains(t, err, "ScaledObject ns/so")
	require.ErrorContains(t, err, "metadata.httpApp")
	stream, err := s.client.StreamIsActive(within(t), bad)
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.InvalidArgument, status.Code(err))

	worse := ref()
	worse.ScalerMetadata["activeFor"] = "soon"
	_, err = s.client.GetMetricSpec(within(t), worse)
	require.ErrorContains(t, err, "soon")
}

func TestAnAppThatWasPutToSleepIsWokenByLaterRequestsOnly(t *testing.T) {
	s := start(t)
	active := func() bool {
		res, err := s.client.IsActive(within(t), ref())
		require.NoError(t, err)
		return res.GetResult()
	}
	var scaled *metav1.MicroTime
	replicas := func(n int32) {
		reason := v1alpha1.ReasonScaledToZero
		if n > 0 {
			reason = "Available"
		}
		s.specs.set(&v1alpha1.HTTPApp{Status: v1alpha1.HTTPAppStatus{
			LastScaleToZeroTime: scaled,
			Conditions:          []metav1.Condition{{Type: v1alpha1.ConditionWorkloadReady, Status: metav1.ConditionTrue, Reason: reason}},
		}})
		s.server.AppChanged(shop)
	}
	request := func() {
		s.clock.Step(time.Second)
		s.say(func(c *queue.Sample) { c.LastRequest = s.clock.Now() })
	}
	replicas(1)
	request()
	require.True(t, active(), "the last request was a moment ago")
	s.clock.Step(time.Second)
	replicas(0)
	require.False(t, active(), "it was put to sleep since")
	s.clock.Step(time.Second)
	replicas(0)
	require.False(t, active(), "and still sleeps")

	s.say(func(c *queue.Sample) { c.Pending = 1 })
	require.True(t, active(), "a request waits")
	s.say(func(c *queue.Sample) { c.Pending = 0 })
	require.False(t, active(), "it went away")

	request()
	require.True(t, active(), "a request came and was answered before it was known that the app has a replica")
	s.clock.Step(time.Second)
	scaled = ptr.To(metav1.NewMicroTime(s.clock.Now()))
	replicas(0)
	require.False(t, active(), "it was put to sleep again, and never said to have been awake")
	request()
	replicas(1)
	require.True(t, active())
	s.clock.Step(11 * time.Second)
	require.False(t, active(), "it has been idle for long")

	replicas(0)
	require.False(t, active())
	s.clock.Step(time.Minute)
	replicas(1)
	require.True(t, active(), "somebody woke it without a request")
	s.clock.Step(9 * time.Second)
	replicas(1)
	require.True(t, active(), "a moment ago")
	s.clock.Step(time.Second)
	require.False(t, active(), "nobody wanted it since")
	replicas(0)
	replicas(1)
	replicas(0)
	require.False(t, active(), "it was woken, but is asleep again")

	request()
	replicas(0)
	s.specs.set(nil)
	s.server.AppChanged(shop)
	request()
	require.True(t, active(), "an app that is not known is active by its requests")
}

func TestAnAppIsActiveWhileItHasRequestsAndForAMomentAfter(t *testing.T) {
	s := start(t)
	active := func() bool {
		res, err := s.client.IsActive(within(t), ref())
		require.NoError(t, err)
		return res.GetResult()
	}
	require.False(t, active(), "it never had any")
	s.say(func(c *queue.Sample) { c.Pending, c.LastRequest = 1, s.clock.Now() })
	require.True(t, active())
	s.say(func(c *queue.Sample) { c.Pending, c.InFlight = 0, 1 })
	s.clock.Step(time.Hour)
	require.True(t, active(), "a long request")
	s.say(func(c *queue.Sample) { c.InFlight, c.LastRequest = 0, s.clock.Now() })
	s.clock.Step(9 * time.Second)
	require.True(t, active(), "the last request was a moment ago")
	s.clock.Step(2 * time.Second)
	require.False(t, active())

	other := ref()
	other.ScalerMetadata["activeFor"] = "1m"
	res, err := s.client.IsActive(within(t), other)
	require.NoError(t, err)
	require.True(t, res.GetResult(), "its own activeFor")
	other.ScalerMetadata["namespace"] = "elsewhere"
	res, err = s.client.IsActive(within(t), other)
	require.NoError(t, err)
	require.False(t, res.GetResult(), "an app of another namespace")
}

func TestNothingIsSaidFromIgnorance(t *testing.T) {
	s := start(t)
	refused := func() {
		t.Helper()
		_, err := s.client.IsActive(within(t), ref())
		require.Equal(t, codes.Unavailable, status.Code(err))
		_, err = s.client.GetMetrics(within(t), &externalscaler.GetMetricsRequest{ScaledObjectRef: ref(), MetricName: metricConcurrency})
		require.Equal(t, codes.Unavailable, status.Code(err))
		spec, err := s.client.GetMetricSpec(within(t), ref())
		require.NoError(t, err, "what the target is does not depend on counts")
		require.Len(t, spec.GetMetricSpecs(), 1)
	}
	s.say(func(c *queue.Sample) { c.Reporting = 0 })
	refused()
	s.say(func(c *queue.Sample) { c.Expected = 0 })
	refused()
	s.say(func(c *queue.Sample) { c.Reporting, c.Expected = 2, 2 })
	s.mu.Lock()
	s.unsynced = true
	s.mu.Unlock()
	refused()
	s.say(func(c *queue.Sample) { c.Pending = 1 })
	res, err := s.client.IsActive(within(t), ref())
	require.NoError(t, err)
	require.True(t, res.GetResult(), "that is known")
}

// KEDA scales to zero at the first false after its cooldown, and leaves the replicas alone after an error.
func TestAnAppIsIdleOnlyWhenAllInterceptorsSaySo(t *testing.T) {
	s := start(t)
	active := func() (bool, error) {
		res, err := s.client.IsActive(within(t), ref())
		return res.GetResult(), err
	}
	now, err := active()
	require.NoError(t, err)
	require.False(t, now)
	s.say(func(c *queue.Sample) { c.Reporting = 1 })
	_, err = active()
	require.Equal(t, codes.Unavailable, status.Code(err), "the other may have its requests")
	require.ErrorContains(t, err, "1 of 2 interceptors")
	s.say(func(c *queue.Sample) { c.InFlight = 1 })
	now, err = active()
	require.NoError(t, err)
	require.True(t, now, "one is enough to know that")
}

// Of what is missing it is not known that it is nothing: the replicas stay at least as many as they are.
func TestNoReplicaIsTakenAwayForWhatIsNotKnown(t *testing.T) {
	s := start(t)
	app := scaledBy("", "10", time.Minute)
	app.Status.Replicas = 4
	s.specs.set(app)
	s.averages, s.lately = map[time.Duration]float64{time.Minute: 15}, 15
	get := func(metric string, r *externalscaler.ScaledObjectRef) float64 {
		t.Helper()
		res, err := s.client.GetMetrics(within(t), &externalscaler.GetMetricsRequest{ScaledObjectRef: r, MetricName: metric})
		require.NoError(t, err)
		return res.GetMetricValues()[0].GetMetricValueFloat()
	}
	require.Equal(t, 15.0, get(metricConcurrency, ref()))
	s.say(func(c *queue.Sample) { c.Reporting = 1 })
	require.Equal(t, 40.0, get(metricConcurrency, ref()), "four replicas of ten each")
	require.Equal(t, 150.0, get(metricRequestRate, ref()), "of what it is not scaled by, the number alone")
	s.averages, s.lately = map[time.Duration]float64{time.Minute: 55}, 55
	require.Equal(t, 55.0, get(metricConcurrency, ref()), "what is known may call for more")
	s.specs.set(nil)
	require.Equal(t, 55.0, get(metricConcurrency, ref()))

	interceptors := &externalscaler.ScaledObjectRef{Name: "so", Namespace: "default", ScalerMetadata: map[string]string{"interceptorTarget": "200"}}
	s.mu.Lock()
	s.all = 90
	s.mu.Unlock()
	require.Equal(t, 400.0, get(metricInterceptors, interceptors), "nor one of the two interceptors")
}

func TestTheTargetIsKnownFromTheFirstMomentAndFollowsTheApp(t *testing.T) {
	s := start(t)
	spec := func() *externalscaler.MetricSpec {
		res, err := s.client.GetMetricSpec(within(t), ref())
		require.NoError(t, err)
		require.Len(t, res.GetMetricSpecs(), 1)
		return res.GetMetricSpecs()[0]
	}
	m := spec()
	require.Equal(t, "http-concurrency", m.GetMetricName())
	require.Equal(t, 100.0, m.GetTargetSizeFloat())

	stream, err := s.client.StreamMetricSpec(within(t), ref())
	require.NoError(t, err)
	first, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, 100.0, first.GetMetricSpecs()[0].GetTargetSizeFloat())

	s.specs.set(scaledBy(v1alpha1.MetricRequestRate, "2500m", time.Minute))
	s.server.AppChanged(shop)
	next, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "http-request-rate", next.GetMetricSpecs()[0].GetMetricName())
	require.Equal(t, 2.5, next.GetMetricSpecs()[0].GetTargetSizeFloat())
	m = spec()
	require.Equal(t, "http-request-rate", m.GetMetricName())
	require.Equal(t, 2.5, m.GetTargetSizeFloat())
	require.Equal(t, int64(3), m.GetTargetSize())

	s.close()
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func TestOnlyTheMetricThatWasAskedForIsAnswered(t *testing.T) {
	s := start(t)
	s.specs.set(scaledBy("", "10", time.Minute))
	s.averages, s.lately = map[time.Duration]float64{time.Minute: 4.00049}, 3
	get := func(metric string) *externalscaler.MetricValue {
		res, err := s.client.GetMetrics(within(t), &externalscaler.GetMetricsRequest{ScaledObjectRef: ref(), MetricName: metric})
		require.NoError(t, err)
		require.Len(t, res.GetMetricValues(), 1)
		return res.GetMetricValues()[0]
	}
	require.Equal(t, 4.0, get("http-concurrency").GetMetricValueFloat())
	require.InDelta(t, 40.005, get("http-request-rate").GetMetricValueFloat(), 1e-9)
	_, err := s.client.GetMetrics(within(t), &externalscaler.GetMetricsRequest{ScaledObjectRef: ref(), MetricName: "cpu"})
	require.Equal(t, codes.InvalidArgument, status.Code(err))

	s.averages, s.lately = map[time.Duration]float64{time.Minute: 0.0004}, 0
	v := get("http-concurrency")
	require.Zero(t, v.GetMetricValueFloat())
	require.Zero(t, v.GetMetricValue(), "an integer would be taken instead of a float of zero")
}

func TestTheStreamTellsTheEdgeAndRepeatsItWhileRequestsWait(t *testing.T) {
	s := start(t)
	stream, err := s.client.StreamIsActive(within(t), ref())
	require.NoError(t, err)
	told := make(chan error)
	go func() {
		for {
			res, err := stream.Recv()
			if err == nil && !res.GetResult() {
				err = status.Error(codes.Internal, "told that it is not active")
			}
			told <- err
			if err != nil {
				return
			}
		}
	}()
	heard := func() {
		t.Helper()
		select {
		case err := <-told:
			require.NoError(t, err)
		case <-time.After(longest):
			t.Fatal("nothing was told")
		}
	}
	// The stream is there when it listens; nothing is told of an app that nobody knows.
	require.Eventually(t, func() bool {
		s.server.hub.mu.Lock()
		defer s.server.hub.mu.Unlock()
		return len(s.server.hub.waiting[shop]) == 1
	}, longest, time.Millisecond)
	s.say(func(c *queue.Sample) { c.Pending, c.LastRequest = 1, s.clock.Now() })
	heard()

	// Still waiting: once each two seconds.
	for range 3 {
		require.Eventually(t, s.clock.HasWaiters, longest, time.Millisecond)
		s.clock.Step(2 * time.Second)
		heard()
	}
	// Answered: silent, whatever changes.
	s.say(func(c *queue.Sample) { c.Pending, c.InFlight = 0, 1 })
	for range 5 {
		s.say(func(c *queue.Sample) { c.LastRequest = s.clock.Now() })
		s.clock.Step(2 * time.Second)
	}
	s.say(func(c *queue.Sample) { c.InFlight, c.LastRequest = 0, s.clock.Now() })
	require.Eventually(t, s.clock.HasWaiters, longest, time.Millisecond)
	select {
	case <-told:
		t.Fatal("told although pods answer")
	default:
	}
	// Idle, then a request again: the next edge.
	s.clock.Step(11 * time.Second)
	before := s.looks()
	s.say(func(*queue.Sample) {})
	require.Eventually(t, func() bool { return s.looks() > before }, longest, time.Millisecond, "it saw the idle app")
	s.say(func(c *queue.Sample) { c.InFlight, c.LastRequest = 1, s.clock.Now() })
	heard()

	s.close()
	require.ErrorIs(t, <-told, io.EOF)
}

func TestTheStreamOfAnAppWithALongRequestSleepsUntilSomethingChanges(t *testing.T) {
	s := start(t)
	s.say(func(c *queue.Sample) { c.InFlight, c.LastRequest = 1, s.clock.Now().Add(-time.Hour) })
	stream, err := s.client.StreamIsActive(within(t), ref())
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err, "it begins with the news")
	for range 3 {
		before := s.looks()
		s.say(func(*queue.Sample) {})
		require.Eventually(t, func() bool { return s.looks() > before }, longest, time.Millisecond, "a change wakes it")
		require.Never(t, s.clock.HasWaiters, 20*time.Millisecond, time.Millisecond, "nothing is to be awaited but a change")
	}
	before := s.looks()
	s.say(func(c *queue.Sample) { c.InFlight = 0 })
	require.Eventually(t, func() bool { return s.looks() > before }, longest, time.Millisecond, "it saw the idle app")
	s.say(func(c *queue.Sample) { c.Pending, c.LastRequest = 1, s.clock.Now() })
	_, err = stream.Recv()
	require.NoError(t, err, "the next edge")
}

func TestTheStreamOfAnAppWithWaitingRequestsBeginsWithTheNews(t *testing.T) {
	s := start(t)
	s.say(func(c *queue.Sample) { c.Pending = 1 })
	stream, err := s.client.StreamIsActive(within(t), ref())
	require.NoError(t, err)
	res, err := stream.Recv()
	require.NoError(t, err)
	require.True(t, res.GetResult())
}
