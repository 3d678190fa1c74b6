package scaler

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

const (
	// repeat is how often an activation is told again while requests wait: KEDA drops one that comes before it has filled in
	// a new ScaledObject's status. Each costs it a write, so this is not done for an app that has pods.
	repeat = 2 * time.Second
	// patience is how long requests must have waited without a break until it is taken for sure that no pod is there.
	patience = 500 * time.Millisecond
)

// Source is where the counts come from: a queue.Collector.
type Source interface {
	Sample(app types.NamespacedName, window time.Duration) queue.Sample
	Subscribe() *queue.Subscription
	Synced() bool
}

// Apps is where the specs come from.
type Apps interface {
	// Get returns nil for an app that is not known.
	Get(app types.NamespacedName) *v1alpha1.HTTPApp
}

// Config is what a Server needs.
type Config struct {
	Source Source
	Apps   Apps
	Clock  clock.WithTicker
	// ActiveFor is how long after its last request, or after it was woken, an app is active: about two of KEDA's polling intervals, so that no
	// request falls between two polls.
	ActiveFor time.Duration
}

// Server is the external scaler.
type Server struct {
	externalscaler.UnimplementedExternalScalerServer
	config  Config
	hub     *hub
	closing chan struct{}

	mu    sync.Mutex
	rests map[types.NamespacedName]rest
}

// rest is the last one that is known of an app.
type rest struct {
	// asleep is since when it is known here that the app is to have no replica, by the clock that requests are told by; zero when it is to
	// have some. Then woken is since when that is known.
	asleep, woken time.Time
	// began is when it was scaled to zero, by the clock of the API server.
	began metav1.MicroTime
}

var _ externalscaler.ExternalScalerServer = (*Server)(nil)

// NewServer makes a server. Its streams tell of changes while Run runs.
func NewServer(config Config) *Server {
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	if config.ActiveFor <= 0 {
		config.ActiveFor = 10 * time.Second
	}
	return &Server{config: config, hub: newHub(), closing: make(chan struct{}), rests: map[types.NamespacedName]rest{}}
}

// Run follows the counts until the context ends. That ends all streams with OK: after an error KEDA would wait longer and
// longer before it opens them again.
func (s *Server) Run(ctx context.Context) {
	defer close(s.closing)
	subscription := s.config.Source.Subscribe()
	defer subscription.Close()
	s.hub.follow(ctx, subscription)
}

// AppChanged notes whether an app sleeps, and tells the streams that its spec may have changed.
func (s *Server) AppChanged(name types.NamespacedName) {
	app := s.config.Apps.Get(name)
	s.mu.Lock()
	if app == nil {
		delete(s.rests, name)
	} else {
		c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionWorkloadReady)
		began := ptr.Deref(app.Status.LastScaleToZeroTime, metav1.MicroTime{})
		last := s.rests[name]
		switch slept, sleeps := !last.asleep.IsZero(), c != nil && c.Reason == v1alpha1.ReasonScaledToZero; {
		case sleeps && (!slept || !last.began.Equal(&began)): // also one that was awake for a moment only, and may never have been said to be
			s.rests[name] = rest{asleep: s.config.Clock.Now(), began: began}
		case slept && !sleeps:
			s.rests[name] = rest{woken: s.config.Clock.Now()}
		}
	}
	s.mu.Unlock()
	s.hub.changed(name)
}

// wanted is when the app was last wanted: by a request, or by somebody who woke it by hand and whom KEDA would undo at once. It is zero
// when nobody has wanted it since it was put to sleep, which it is not to be woken from for what came before. A request that came since
// counts whatever the status says: that stays at zero while the API server, which writes it, is away.
func (s *Server) wanted(app types.NamespacedName, sample queue.Sample) time.Time {
	s.mu.Lock()
	r := s.rests[app]
	s.mu.Unlock()
	if sample.LastRequest.After(r.asleep) && sample.LastRequest.After(r.woken) {
		return sample.LastRequest
	}
	return r.woken
}

// ignorant returns an error when nothing is known of any app's requests. KEDA then leaves the replicas as they are; a zero
// would take them away under load.
func (s *Server) ignorant(sample queue.Sample) error {
	switch {
	case !s.config.Source.Synced():
		return status.Error(codes.Unavailable, "the counts of the interceptors are not known yet")
	case sample.Expected == 0:
		return status.Error(codes.Unavailable, "there is no interceptor")
	case sample.Reporting == 0:
		return status.Errorf(codes.Unavailable, "none of the %d interceptors reports its counts", sample.Expected)
	}
	return nil
}

func (s *Server) active(sample queue.Sample, t trigger) bool {
	if t.app == queue.AllApps {
		return true // without interceptors nobody would notice the next request
	}
	if sample.Waiting() {
		return true
	}
	return s.config.Clock.Since(s.wanted(t.app, sample)) < t.activeFor
}

// IsActive reports whether the app has requests, or had one or was woken a moment ago. How long it stays up without any is KEDA's cooldown. That it
// has none takes every interceptor to know: those that do not report may hold its connections. KEDA takes nothing to zero after an error.
func (s *Server) IsActive(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	t, err := s.trigger(ref)
	if err != nil {
		return nil, err
	}
	sample := s.config.Source.Sample(t.app, queue.Burst)
	if s.active(sample, t) {
		return &externalscaler.IsActiveResponse{Result: true}, nil // true whatever else is not known
	}
	if err := s.ignorant(sample); err != nil {
		return nil, err
	}
	if sample.Reporting < sample.Expected {
		return nil, status.Errorf(codes.Unavailable, "only %d of %d interceptors report their counts, and those know of no request", sample.Reporting, sample.Expected)
	}
	return &externalscaler.IsActiveResponse{}, nil
}

// StreamIsActive tells KEDA at once when an app that was idle has requests or was woken. It never says that one is idle, which KEDA ignores:
// it asks. The stream of an app that does not exist stays open; the app may be made later.
func (s *Server) StreamIsActive(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	t, err := s.trigger(ref)
	if err != nil {
		return err
	}
	if t.app == queue.AllApps {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.closing:
			return nil // what is always active has no news
		}
	}
	woken, leave := s.hub.join(t.app)
	defer leave()
	var (
		wasActive    bool
		told         time.Time
		pendingSince time.Time
		timer        clock.Timer
		due          <-chan time.Time
	)
	for first := true; ; first = false {
		now := s.config.Clock.Now()
		sample := s.config.Source.Sample(t.app, queue.Burst)
		active := s.active(sample, t)
		edge := active && !wasActive
		if first {
			edge = sample.Waiting() // a stream that is opened anew after the last request has nothing to tell
		}
		switch {
		case sample.Pending == 0:
			pendingSince = time.Time{}
		case pendingSince.IsZero():
			pendingSince = now
		}
		waited := !pendingSince.IsZero() && now.Sub(pendingSince) >= patience && now.Sub(told) >= repeat
		if edge || waited {
			if err := stream.Send(&externalscaler.IsActiveResponse{Result: true}); err != nil {
				return err
			}
			told = now
		}
		wasActive = active

		if timer != nil {
			timer.Stop()
		}
		due = nil
		switch {
		case !pendingSince.IsZero():
			next := max(patience-now.Sub(pendingSince), repeat-now.Sub(told))
			timer = s.config.Clock.NewTimer(max(next, time.Millisecond))
			due = timer.C()
		case active && !sample.Waiting():
			// So that the next request after an idle time is an edge again. While there are requests, nothing but a change makes it idle.
			timer = s.config.Clock.NewTimer(max(t.activeFor-now.Sub(s.wanted(t.app, sample)), time.Millisecond))
			due = timer.C()
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.closing:
			return nil
		case <-woken:
		case <-due:
		}
	}
}

// GetMetricSpec answers from the first moment, also for an app that is not known yet: without an answer KEDA would make an HPA
// that lacks this metric.
func (s *Server) GetMetricSpec(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	t, err := s.trigger(ref)
	if err != nil {
		return nil, err
	}
	return specOf(s.goal(t)), nil
}

func specOf(g goal) *externalscaler.GetMetricSpecResponse {
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: []*externalscaler.MetricSpec{{
		MetricName: g.metric,
		// For a KEDA from before the float.
		TargetSize:      int64(math.Ceil(g.target)),
		TargetSizeFloat: g.target,
	}}}
}

// StreamMetricSpec tells KEDA what the app is scaled by, at once and whenever that changes, so that a new target reaches the
// HPA without a change of the ScaledObject.
func (s *Server) StreamMetricSpec(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.GetMetricSpecResponse]) error {
	t, err := s.trigger(ref)
	if err != nil {
		return err
	}
	woken, leave := s.hub.join(t.app)
	defer leave()
	var told goal
	for {
		if g := s.goal(t); g.metric != told.metric || g.target != told.target {
			if err := stream.Send(specOf(g)); err != nil {
				return err
			}
			told = g
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.closing:
			return nil
		case <-woken:
		}
	}
}

// GetMetrics returns the metric that was asked for and no other: KEDA takes whatever comes for it, and adds it up.
func (s *Server) GetMetrics(_ context.Context, req *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	t, err := s.trigger(req.GetScaledObjectRef())
	if err != nil {
		return nil, err
	}
	g := s.goal(t)
	sample := s.config.Source.Sample(t.app, g.window)
	if err := s.ignorant(sample); err != nil {
		return nil, err
	}
	var least float64
	if sample.Reporting < sample.Expected {
		least = s.held(t, g, sample)
	}
	if name := req.GetMetricName(); name != "" && name != g.metric {
		g.metric, least = name, 0
	}
	var v float64
	switch g.metric {
	case metricInterceptors:
		// Not what an app's load is made of: it takes longer to start an interceptor than for a rush to pass.
		v = sample.Concurrency
	case metricConcurrency:
		v = queue.Load(s.config.Source, t.app, queue.Concurrency, g.window)
	case metricRequestRate:
		v = queue.Load(s.config.Source, t.app, queue.RequestRate, g.window)
	default:
		return nil, status.Error(codes.InvalidArgument, fmt.Sprintf("there is no metric %q: there are %s and %s", g.metric, metricConcurrency, metricRequestRate))
	}
	v = max(v, least)
	// KEDA keeps three decimals; less than that is nothing. Never an integer beside a float of zero, which would be taken
	// instead.
	v = math.Round(v*1000) / 1000
	return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{{
		MetricName: g.metric, MetricValue: int64(math.Ceil(v)), MetricValueFloat: v,
	}}}, nil
}

// held is the value that calls for as many replicas as there are. It is the least that an autoscaler is told while interceptors are
// missing: they may know of more.
func (s *Server) held(t trigger, g goal, sample queue.Sample) float64 {
	if t.app == queue.AllApps {
		return g.target * float64(sample.Expected)
	}
	app := s.config.Apps.Get(t.app)
	if app == nil {
		return 0
	}
	return g.target * float64(app.Status.Replicas)
}
