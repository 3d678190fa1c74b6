// Package backend has everything that the data path needs to know of an app, in one place per app: its counts, its line, its
// pods and its limits.
package backend

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/endpoints"
	"github.com/kedahttp/kedahttp/interceptor/hold"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// ErrGone says that the app was deleted.
var ErrGone = errors.New("the app was deleted")

// Backend is one app. It lives as long as the app's uid does; what its spec says may change meanwhile.
type Backend struct {
	Name   types.NamespacedName
	UID    types.UID
	Counts *queue.App
	Line   *hold.Line
	Pods   *balance.Pool
	Tally  Tally

	starter *coldstart.Starter
	wishes  wishes
	clock   Clock
	zone    string

	settings atomic.Pointer[Settings]
	trouble  atomic.Pointer[Trouble]
	// off says that the app has no pod and is not to be woken by requests.
	off atomic.Bool
	// judging is held so that the last judgment is the one that stands.
	judging  sync.Mutex
	fallback atomic.Pointer[Fallback]
	// protocol is what the Service says; the spec goes before it.
	protocol protocol
}

// Settings is what an app's spec asks of the data path.
type Settings struct {
	MaxPending int
	MaxWait    time.Duration
	// ConcurrencyLimit is how many requests a pod gets at the same time; 0: any number.
	ConcurrencyLimit int
	// Target is how many requests at a time a pod is for; 0: nobody said.
	Target   int
	Timeouts Timeouts
	Protocol v1alpha1.Protocol
	Service  types.NamespacedName
	Port     *intstr.IntOrString
	// Redirect says that requests without TLS are sent to https.
	Redirect bool
	// Placeholder is the response to requests for which there is no pod; nil: they wait.
	Placeholder *Placeholder
}

// Timeouts are those of spec.timeouts; 0 is no limit.
type Timeouts struct{ Request, ResponseHeader, Idle time.Duration }

// Tally is told of each request of an app when it is done.
type Tally interface {
	// Done takes the status of the answer, why the interceptor answered itself, if it did, and the time from the request's arrival
	// to the end of the response.
	Done(status int, reason string, took time.Duration)
	// Retried is told why a request was not done by the pod that it was sent to, and goes to another or to the same again.
	Retried(reason string)
	// Started takes the stages of a cold start, once.
	Started(stages coldstart.Stages)
}

// Tallies has a tally for each app.
type Tallies interface {
	Of(app types.NamespacedName) Tally
	// Forget is called when the app is no more.
	Forget(app types.NamespacedName)
}

// Started notes that a cold start is complete.
func (b *Backend) Started(stages coldstart.Stages) {
	b.Counts.Started(&queue.ColdStart{At: b.clock.Now(), Stages: stages})
	b.Tally.Started(stages)
}

func newBackend(app *v1alpha1.HTTPApp, c *Config) *Backend {
	name := types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
	b := &Backend{
		Name: name, UID: app.UID, Counts: c.Counters.App(name, app.UID), Line: hold.NewLine(c.Clock, c.Space), Tally: c.Tallies.Of(name),
		clock: c.Clock, zone: c.Zone,
	}
	b.wishes.line = hold.NewLine(c.Clock, nil)
	b.Pods = balance.NewPool(c.Clock, func() {
		b.Line.Release()
		b.wishes.line.Release()
	})
	b.starter = coldstart.NewStarter(app.Namespace, c.Prober, c.Clock, b.take)
	return b
}

// Clock is the time as the data path needs it.
type Clock interface {
	clock.WithTicker
	clock.WithDelayedExecution
}

// Settings returns what the spec asks for now.
func (b *Backend) Settings() *Settings { return b.settings.Load() }

// Pick returns the pod for a request, as the pool's Pick does, or nil if the request has to wait. Where pods take only so many
// requests, one that comes now does not go before those that wait. One that was tried on a pod already, the one to avoid, was
// there before them.
func (b *Backend) Pick(avoid *balance.Endpoint) *balance.Endpoint {
	if avoid == nil && b.Pods.Limited() && b.Line.Busy() {
		return nil
	}
	return b.Pods.Pick(avoid)
}

// Wait returns the pod for a request that has to wait for it. It is picked by whoever makes room, in the request's turn, so that
// nobody else gets it meanwhile. While requests wait, pods that are not ready yet are found as soon as they answer. The cold start is
// the one that the request waited for, if it did.
func (b *Backend) Wait(ctx context.Context, place *hold.Place, avoid *balance.Endpoint) (pod *balance.Endpoint, start *coldstart.Start, err error) {
	start = b.starter.Enter()
	defer b.starter.Leave()
	s := b.Settings()
	err = b.Line.Wait(ctx, place, s.MaxPending, s.MaxWait, func() bool {
		pod = b.Pods.Pick(avoid)
		return pod != nil
	})
	return pod, start, err
}

// Protocol is how the pods speak HTTP.
func (b *Backend) Protocol() v1alpha1.Protocol {
	if p := b.Settings().Protocol; p != "" {
		return p
	}
	return b.protocol.get()
}

// protocol is what is known of how some pods speak HTTP.
type protocol struct {
	said atomic.Pointer[v1alpha1.Protocol]
}

// set takes in what is said with the pods. Without any nothing is said, and the next ones are taken to be like the last ones.
func (p *protocol) set(known endpoints.Set) {
	if len(known.Endpoints) == 0 {
		return
	}
	said := known.Protocol
	if said == "" {
		said = v1alpha1.ProtocolHTTP1
	}
	p.said.Store(&said)
}

func (p *protocol) get() v1alpha1.Protocol {
	if said := p.said.Load(); said != nil {
		return *said
	}
	return v1alpha1.ProtocolHTTP1
}

// settingsOf reads a spec. Records have the API's defaults; what one without them lacks gets them here.
func settingsOf(app *v1alpha1.HTTPApp) *Settings {
	queue := *app.Spec.Queue.DeepCopy()
	v1alpha1.SetDefaults_Queue(&queue)
	s := &Settings{
		MaxPending:       int(*queue.MaxPending),
		MaxWait:          queue.MaxWait.Duration,
		ConcurrencyLimit: int(app.Spec.ConcurrencyLimit),
		Protocol:         app.Spec.Protocol,
		Service:          types.NamespacedName{Namespace: app.Namespace, Name: app.Spec.ServiceName},
		Port:             app.Spec.Port,
		Placeholder:      placeholderOf(app.Spec.ColdStart),
	}
	if s.Service.Name == "" {
		s.Service.Name = app.Name
	}
	scaling := *app.Spec.Scaling.DeepCopy()
	v1alpha1.SetDefaults_Scaling(&scaling)
	if scaling.Metric == v1alpha1.MetricConcurrency {
		s.Target = int(scaling.Target.Value())
	}
	if t := app.Spec.TLS; t != nil {
		s.Redirect = t.Redirect
	}
	none, t := metav1.Duration{}, app.Spec.Timeouts
	s.Timeouts = Timeouts{
		Request:        ptr.Deref(t.Request, none).Duration,
		ResponseHeader: ptr.Deref(t.ResponseHeader, none).Duration,
		Idle:           ptr.Deref(t.Idle, none).Duration,
	}
	return s
}

// set takes in what the slices say.
func (b *Backend) set(known endpoints.Set) {
	b.protocol.set(known)
	b.starter.Set(known.Endpoints)
}

// take takes in which pods take requests, by their slices or because they answered.
func (b *Backend) take(usable []endpoints.Endpoint) {
	pods := make([]balance.Pod, len(usable))
	for i, e := range usable {
		pods[i] = podOf(e, b.zone)
	}
	b.Pods.Set(pods)
	b.judge()
}

func podOf(e endpoints.Endpoint, zone string) balance.Pod {
	return balance.Pod{Address: e.Address, Near: zone != "" && e.Zone == zone}
}
