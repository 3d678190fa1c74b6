package main

import (
	"context"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
	"github.com/kedahttp/kedahttp/scaler"
)

// pollingInterval is how often KEDA asks, by the ScaledObjects that are made for apps.
const pollingInterval = 5 * time.Second

// cooldown is the app's. The default is five minutes; this is what makes its costs comparable with Knative's minute and a half.
const cooldown = time.Minute

// epoch is when the trace begins, by the clock that is given to what is tested.
var epoch = time.Unix(1_800_000_000, 0)

// ours is our counts, our external scaler and our rule for waking, with a KEDA and its HPA that do what theirs would. The ones are what runs
// in a cluster; the others are reckoned here.
type ours struct {
	clock   *clocktesting.FakeClock
	app     *v1alpha1.HTTPApp
	name    types.NamespacedName
	counted *queue.App
	past    []past
	scaler  *scaler.Server
	trigger *externalscaler.ScaledObjectRef
	hpa     hpa
	active  time.Duration // when KEDA last heard so
}

// past is what was counted at a moment.
type past struct {
	when time.Time
	queue.Reading
}

func newOurs() *ours {
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "app"}}
	app.Spec.Scaling = v1alpha1.Scaling{
		MaxReplicas: ptr.To[int32](most), Target: ptr.To(*resource.NewQuantity(target, resource.DecimalSI)),
		Cooldown: &metav1.Duration{Duration: cooldown},
	}
	o := &ours{
		clock: clocktesting.NewFakeClock(epoch), app: app, name: types.NamespacedName{Namespace: app.Namespace, Name: app.Name},
		trigger: &externalscaler.ScaledObjectRef{Namespace: app.Namespace, Name: app.Name, ScalerMetadata: map[string]string{"httpApp": app.Name}},
		hpa:     hpa{least: 1, stable: demand.Steadiness(app)},
	}
	o.counted = queue.NewCounters(o.clock).App(o.name, "1")
	o.scaler = scaler.NewServer(scaler.Config{Source: o, Apps: o, Clock: o.clock})
	return o
}

// Get implements scaler.Apps.
func (o *ours) Get(types.NamespacedName) *v1alpha1.HTTPApp { return o.app }

// Synced and Subscribe implement scaler.Source.
func (o *ours) Synced() bool                   { return true }
func (o *ours) Subscribe() *queue.Subscription { panic("the streams are not simulated") }

// Sample implements scaler.Source: exact averages, as of one interceptor that is followed without delay.
func (o *ours) Sample(_ types.NamespacedName, window time.Duration) queue.Sample {
	now := o.counted.Read()
	s := queue.Sample{Pending: now.Pending, InFlight: now.InFlight, LastRequest: now.LastRequest, Reporting: 1, Expected: 1}
	since := o.clock.Now().Add(-window)
	// The first one in the window, or the first one that is known.
	i := len(o.past)
	for i > 0 && !o.past[i-1].when.Before(since) {
		i--
	}
	if i == len(o.past) {
		return s
	}
	first := o.past[i]
	if s.Observed = o.clock.Since(first.when); s.Observed > 0 {
		s.Concurrency = (now.ConcurrencySeconds - first.ConcurrencySeconds) / s.Observed.Seconds()
		s.RequestRate = float64(now.Requests-first.Requests) / max(s.Observed.Seconds(), 1)
	}
	return s
}

func (o *ours) at(now time.Duration) { o.clock.SetTime(epoch.Add(now)) }

func (o *ours) arrived() any {
	t := &queue.Ticket{}
	t.Accept(o.counted)
	return t
}

func (o *ours) forwarded(ticket any) { ticket.(*queue.Ticket).Forward() }
func (o *ours) done(ticket any)      { ticket.(*queue.Ticket).Done() }

// requested is what the activator does.
func (o *ours) requested(w *world) {
	now := o.counted.Read()
	if now.Pending+now.InFlight == 0 {
		return
	}
	lately := demand.For(o.app, o.Sample(o.name, queue.Rush).Concurrency)
	if wanted := demand.Rise(o.app, int32(w.replicas), w.readyPods() > 0, now.Pending > 0, demand.Replicas(o.app, now.Pending, now.InFlight), lately); wanted > 0 {
		w.scale(int(wanted))
		o.active = w.now // KEDA is told at the same moment
	}
}

func (o *ours) looks(w *world) {
	// As far back as anything looks.
	o.past = append(o.past, past{o.clock.Now(), o.counted.Read()})
	if keep := 5 * 60; len(o.past) > keep {
		o.past = o.past[len(o.past)-keep:]
	}
	if w.now%pollingInterval == 0 {
		o.polled(w)
	}
	if w.now%hpaSync == 0 && w.replicas > 0 {
		res, err := o.scaler.GetMetrics(context.Background(), &externalscaler.GetMetricsRequest{ScaledObjectRef: o.trigger})
		if err != nil {
			return // the HPA leaves the replicas as they are
		}
		w.scale(o.hpa.decide(w.now, w.replicas, res.GetMetricValues()[0].GetMetricValueFloat()))
	}
}

// polled is KEDA between zero and one.
func (o *ours) polled(w *world) {
	res, err := o.scaler.IsActive(context.Background(), o.trigger)
	switch {
	case err != nil:
	case res.GetResult():
		o.active = w.now
		w.scale(max(w.replicas, 1))
	case w.replicas > 0 && w.now-o.active > cooldown:
		w.scale(0)
	}
}
