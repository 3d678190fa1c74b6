package backend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/endpoints"
	"github.com/kedahttp/kedahttp/interceptor/hold"
	"github.com/kedahttp/kedahttp/interceptor/queue"
	"github.com/kedahttp/kedahttp/interceptor/recall"
	"github.com/kedahttp/kedahttp/interceptor/routing"
)

// Directory keeps the backends of all apps and the table that leads to them. A change of an app costs as much as the app is
// large, however many there are.
type Directory struct {
	Config

	// changed has a value when there is something new to be kept.
	changed chan struct{}

	table *routing.Table[*Route]
	ready atomic.Bool
	// known is closed when ready becomes true.
	known     chan struct{}
	knownOnce sync.Once

	mu        sync.Mutex
	backends  map[types.NamespacedName]*Backend
	byService map[types.NamespacedName][]*Backend
}

// Config is what a Directory needs.
type Config struct {
	// Apps is the informer of their records. The directory runs it.
	Apps   cache.SharedIndexInformer
	Slices *endpoints.Slices
	// Prober asks pods that are not ready yet; nil: nobody does.
	Prober *coldstart.Prober
	// Recall keeps what is known for the next start; nil: nothing does.
	Recall *recall.File
	// Space is for the requests that wait; nil: there is no bound but each app's own.
	Space *hold.Space
	// Zone, if it is not empty, is where pods go before those elsewhere.
	Zone     string
	Counters *queue.Counters
	Tallies  Tallies
	Clock    Clock
}

// NewDirectory makes a directory, which is empty until it runs.
func NewDirectory(config Config) *Directory {
	return &Directory{
		Config:   config,
		changed:  make(chan struct{}, 1),
		known:    make(chan struct{}),
		table:    routing.NewTable[*Route](),
		backends: map[types.NamespacedName]*Backend{}, byService: map[types.NamespacedName][]*Backend{},
	}
}

// Table returns the routes, nil before they are known.
func (d *Directory) Table() *routing.Table[*Route] {
	if !d.ready.Load() {
		return nil
	}
	return d.table
}

// Ready reports whether routes and pods are known. Once true it stays so: what is known is served on while the cluster's API
// is away.
func (d *Directory) Ready() bool { return d.ready.Load() }

// Known is closed when Ready becomes true.
func (d *Directory) Known() <-chan struct{} { return d.known }

func (d *Directory) becomeReady() {
	d.ready.Store(true)
	d.knownOnce.Do(func() { close(d.known) })
}

// Run keeps the directory up to date until the context ends. It runs the informers.
func (d *Directory) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	known := d.recall()
	apps, err := d.Apps.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { d.set(obj) },
		UpdateFunc: func(before, after any) {
			if sameSpec(before, after) {
				d.look(after)
			} else {
				d.set(after)
			}
		},
		DeleteFunc: func(obj any) {
			if name, err := cache.DeletionHandlingObjectToName(obj); err == nil {
				d.remove(types.NamespacedName{Namespace: name.Namespace, Name: name.Name})
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watching the apps: %w", err)
	}
	pods, err := d.Slices.OnChange(d.serviceChanged)
	if err != nil {
		return fmt.Errorf("watching the pods: %w", err)
	}
	wg.Go(func() { d.Apps.RunWithContext(ctx) })
	wg.Go(func() { d.Slices.Informer().RunWithContext(ctx) })
	if known != nil {
		patience, cancel := context.WithTimeout(ctx, d.Recall.Patience)
		if !cache.WaitForCacheSync(patience.Done(), apps.HasSynced, pods.HasSynced) && ctx.Err() == nil {
			klog.InfoS("The cluster's API does not answer: serving with what was known before this start", "at", known.At, "apps", len(known.Apps))
			d.becomeReady()
		}
		cancel()
	}
	if cache.WaitForCacheSync(ctx.Done(), apps.HasSynced, pods.HasSynced) {
		d.becomeReady()
		if d.Recall != nil {
			d.Recall.Keep(ctx, d.changed, d.Apps.GetStore(), d.Slices.Informer().GetStore())
		}
		<-ctx.Done()
	}
	return nil
}

// recall takes in what was known before this process started, nil if nothing was, as if the informers had heard of it: when they
// have listed what there is, what is not there any more is deleted. They must not run yet.
func (d *Directory) recall() *recall.Known {
	if d.Recall == nil {
		return nil
	}
	known, err := d.Recall.Read()
	if err != nil {
		klog.ErrorS(err, "Cannot read what was known before this start")
	}
	if known == nil {
		return nil
	}
	for _, slice := range known.Slices {
		err = errors.Join(err, d.Slices.Informer().GetIndexer().Add(slice))
	}
	for _, app := range known.Apps {
		err = errors.Join(err, d.Apps.GetIndexer().Add(app))
		d.set(app)
	}
	if err != nil {
		klog.ErrorS(err, "Taking in what was known before this start")
	}
	return known
}

// Keep has what is known kept, if that is wanted, some time later.
func (d *Directory) Keep() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// look takes in an app of which nothing but its status may have changed.
func (d *Directory) look(obj any) {
	app, ok := obj.(*v1alpha1.HTTPApp)
	if !ok {
		return
	}
	d.mu.Lock()
	b := d.backends[types.NamespacedName{Namespace: app.Namespace, Name: app.Name}]
	d.mu.Unlock()
	if b != nil && b.UID == app.UID {
		b.look(app)
	}
}

// sameSpec reports that nothing changed of an app that requests are served by: its status, which is written most often, is not.
func sameSpec(before, after any) bool {
	a, ok := before.(*v1alpha1.HTTPApp)
	b, too := after.(*v1alpha1.HTTPApp)
	return ok && too && a.UID == b.UID && a.Generation == b.Generation
}

// set adds an app or puts it in the place of what was known of it. An app that was deleted and made again is another one.
func (d *Directory) set(obj any) {
	app, ok := obj.(*v1alpha1.HTTPApp)
	if !ok {
		return
	}
	d.Keep()
	name := types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.backends[name]
	b := before
	if b == nil || b.UID != app.UID {
		b = newBackend(app, &d.Config)
	}
	if before != nil {
		d.leaveServices(before)
	}
	s := settingsOf(app)
	b.settings.Store(s)
	f := fallbackOf(app, b.Fallback(), d.Clock)
	d.backends[name] = b
	d.byService[s.Service] = append(d.byService[s.Service], b)
	if f != nil {
		d.byService[f.Service] = append(d.byService[f.Service], b)
		f.set(d.Slices.Of(f.Service, f.port), d.Zone)
	}
	b.fallback.Store(f)
	b.look(app)
	b.Pods.SetLimit(s.ConcurrencyLimit)
	b.Pods.SetTarget(s.Target)
	b.set(d.Slices.Of(s.Service, s.Port))
	d.table.Set(app, routesOf(app, b))
	if before != nil && before != b {
		d.end(before)
	}
}

func (d *Directory) remove(name types.NamespacedName) {
	d.Keep()
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.backends[name]
	if b == nil {
		return
	}
	d.leaveServices(b)
	delete(d.backends, name)
	d.table.Delete(name)
	d.end(b)
	d.Tallies.Forget(name)
}

// end ends an app that the table does not lead to any more: no new request can come to it.
func (d *Directory) end(b *Backend) {
	b.Line.Close(ErrGone)
	b.wishes.line.Close(ErrGone)
	d.Counters.Remove(b.Name, b.UID)
	klog.InfoS("An app is gone", "app", b.Name)
}

func (d *Directory) leaveServices(b *Backend) {
	services := []types.NamespacedName{b.Settings().Service}
	if f := b.Fallback(); f != nil {
		services = append(services, f.Service)
	}
	for _, service := range services {
		left := slices.DeleteFunc(d.byService[service], func(other *Backend) bool { return other == b })
		if len(left) == 0 {
			delete(d.byService, service)
		} else {
			d.byService[service] = left
		}
	}
}

func (d *Directory) serviceChanged(service types.NamespacedName) {
	d.Keep()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.byService[service] {
		if s := b.Settings(); s.Service == service {
			b.set(d.Slices.Of(service, s.Port))
		}
		if f := b.Fallback(); f != nil && f.Service == service {
			f.set(d.Slices.Of(service, f.port), d.Zone)
		}
	}
}

// Drain ends what remains in the counts of requests that were answered in their apps' places, now and later: an interceptor that
// ends waits until nothing is left in them.
func (d *Directory) Drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.backends {
		b.wishes.line.Close(errDraining)
	}
}
