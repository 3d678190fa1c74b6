// Package live joins the requests of this moment into what clients read of apps: into JSON as status.traffic, into tables as
// cells, and into watches of tables as events. Nothing of it is ever stored.
package live

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// window is what averages are over: short enough to be of this moment, long enough to be read.
const window = 10 * time.Second

// Unknown is what a cell says while no interceptor has reported: not zero.
const Unknown = "<unknown>"

// Source is where the counts come from.
type Source interface {
	Sample(app types.NamespacedName, window time.Duration) queue.Sample
	// Subscribe tells of apps whose sample changed.
	Subscribe() Changes
}

// Changes collects the names of changed apps until they are taken.
type Changes interface {
	Changed() <-chan struct{}
	Take() []types.NamespacedName
	Close()
}

// Collected is a queue.Collector as a Source.
type Collected struct{ *queue.Collector }

// Subscribe implements Source.
func (c Collected) Subscribe() Changes { return c.Collector.Subscribe() }

// Informed are the apps of an informer.
type Informed struct{ cache.Store }

// Get implements Apps.
func (i Informed) Get(name types.NamespacedName) *v1alpha1.HTTPApp {
	obj, there, err := i.GetByKey(name.String())
	if err != nil || !there {
		return nil
	}
	app, _ := obj.(*v1alpha1.HTTPApp)
	return app
}

// Names implements Apps.
func (i Informed) Names() []types.NamespacedName {
	keys := i.ListKeys()
	names := make([]types.NamespacedName, 0, len(keys))
	for _, key := range keys {
		if namespace, name, err := cache.SplitMetaNamespaceKey(key); err == nil {
			names = append(names, types.NamespacedName{Namespace: namespace, Name: name})
		}
	}
	return names
}

// View is what clients see of the counts.
type View struct {
	source Source
	apps   Apps
	clock  clock.Clock
	hub    *hub
	opened opened
}

// NewView makes a view.
func NewView(source Source, apps Apps, clock clock.Clock) *View {
	v := &View{source: source, apps: apps, clock: clock}
	v.hub = newHub(v)
	return v
}

// Sample returns what is known of an app's requests now. Without an interceptor that has reported nothing is: ok is false.
func (v *View) Sample(app types.NamespacedName) (s queue.Sample, ok bool) {
	s = v.source.Sample(app, window)
	return s, !s.SampledAt.IsZero()
}

// Join sets the app's status.traffic, except for kubectl diff.
func (v *View) Join(ctx context.Context, app *v1alpha1.HTTPApp) {
	s, ok := v.Sample(types.NamespacedName{Namespace: app.Namespace, Name: app.Name})
	if !ok || compares(ctx) {
		app.Status.Traffic = nil
		return
	}
	t := &v1alpha1.Traffic{
		Pending:      s.Pending,
		InFlight:     s.InFlight,
		Concurrency:  quantity(s.Concurrency),
		RequestRate:  quantity(s.RequestRate),
		ColdStarts:   s.ColdStarts,
		Interceptors: v1alpha1.Interceptors{Reporting: int32(s.Reporting), Expected: int32(s.Expected)},
	}
	if s.Reporting < s.Expected {
		// Of counts that are current it would say that now is now, and make every two answers differ.
		t.SampledAt = microTime(s.SampledAt)
	}
	if !s.LastRequest.IsZero() {
		// To the second: two servers are told of it at moments that differ by the time that an update travels.
		t.LastRequestTime = microTime(s.LastRequest.Truncate(time.Second))
	}
	t.LastColdStart = complete(s.LastColdStart)
	app.Status.Traffic = t
}

func complete(start *queue.ColdStart) *v1alpha1.CompleteColdStart {
	if start == nil || len(start.Stages) == 0 {
		return nil
	}
	c := &v1alpha1.CompleteColdStart{Time: *microTime(start.At)}
	for _, stage := range start.Stages {
		c.Total.Duration = stage.After.Round(time.Millisecond)
		c.Stages = append(c.Stages, v1alpha1.ColdStartStage{Name: stage.Name, After: c.Total})
	}
	return c
}

func microTime(t time.Time) *metav1.MicroTime {
	m := metav1.NewMicroTime(t)
	return &m
}

// quantity rounds to thousandths, which is as exact as a quantity is written.
func quantity(f float64) resource.Quantity {
	return *resource.NewMilliQuantity(int64(math.Round(f*1000)), resource.DecimalSI)
}

// Cells are the live cells of a row.
type Cells struct {
	Pending, InFlight, RequestRate string
	// Waiting says that requests wait.
	Waiting bool
}

// Cells returns the live cells of an app's row.
func (v *View) Cells(app types.NamespacedName) Cells { return CellsOf(v.Sample(app)) }

// CellsOf returns the cells that say what Sample returned. Numbers that some interceptors are missing from have a ~ in front.
func CellsOf(s queue.Sample, ok bool) Cells {
	if !ok {
		return Cells{Pending: Unknown, InFlight: Unknown, RequestRate: Unknown}
	}
	partial := ""
	if s.Reporting < s.Expected {
		partial = "~"
	}
	return Cells{
		Pending:     partial + strconv.FormatInt(s.Pending, 10),
		InFlight:    partial + strconv.FormatInt(s.InFlight, 10),
		RequestRate: partial + rate(s.RequestRate),
		Waiting:     s.Pending > 0,
	}
}

// idle are the cells of an app that has no requests.
func (v *View) idle() Cells { return v.Cells(types.NamespacedName{}) }

// rate has a decimal where it matters: below ten.
func rate(r float64) string {
	switch {
	case r < 0.05:
		return "0"
	case r < 9.95:
		return fmt.Sprintf("%.1f", r)
	}
	return strconv.FormatFloat(r, 'f', 0, 64)
}
