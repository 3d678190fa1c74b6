package backend

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/endpoints"
	"github.com/kedahttp/kedahttp/interceptor/queue"
	"github.com/kedahttp/kedahttp/interceptor/routing"
)

// Directory keeps the backends of all apps and the table that leads to them.
type Directory struct {
	clock    Clock
	counters *queue.Counters
	apps     cache.SharedIndexInformer
	slices   *endpoints.Slices
	// gone is told of each app that is no more.
	gone func(types.NamespacedName)

	table atomic.Pointer[routing.Table[*Backend]]

	mu        sync.Mutex
	backends  map[types.UID]*Backend
	byService map[types.NamespacedName][]*Backend
}

// NewDirectory makes a directory of the apps in the informer of their records and the pods in the slices. gone, if any, is told
// of each app that is no more.
func NewDirectory(apps cache.SharedIndexInformer, slices *endpoints.Slices, counters *queue.Counters, clk Clock, gone func(types.NamespacedName)) *Directory {
	d := &Directory{
		clock: clk, counters: counters, apps: apps, slices: slices, gone: gone,
		backends: map[types.UID]*Backend{}, byService: map[types.NamespacedName][]*Backend{},
	}
	return d
}

// Table returns the routes of this moment, nil before they are known.
func (d *Directory) Table() *routing.Table[*Backend] { return d.table.Load() }

// Ready reports whether routes and pods are known. Once true it stays so: what is known is served on while the cluster's API
// is away.
func (d *Directory) Ready() bool { return d.table.Load() != nil }

// Run keeps the directory up to date until the context ends. It runs the informers.
func (d *Directory) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default: // one rebuild for any number of changes
		}
	}
	if _, err := d.apps.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { poke() },
		UpdateFunc: func(before, after any) {
			if !sameSpec(before, after) {
				poke()
			}
		},
		DeleteFunc: func(any) { poke() },
	}); err != nil {
		return fmt.Errorf("watching the apps: %w", err)
	}
	if _, err := d.slices.OnChange(d.serviceChanged); err != nil {
		return fmt.Errorf("watching the pods: %w", err)
	}
	wg.Go(func() { d.apps.RunWithContext(ctx) })
	wg.Go(func() { d.slices.Informer().RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), d.apps.HasSynced, d.slices.Informer().HasSynced) {
		return nil
	}
	poke() // also when there is no app
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			started := d.clock.Now()
			d.rebuild()
			// One change is seen at once; of many, a rebuild with all apps for each would leave requests little of the processors. So
			// it is a tenth of the time that goes there.
			if rest := min(9*d.clock.Since(started), mostRest); rest > 0 {
				select {
				case <-ctx.Done():
					return nil
				case <-d.clock.After(rest):
				}
			}
		}
	}
}

// sameSpec reports that nothing changed of an app that requests are served by: its status, which is written most often, is not.
func sameSpec(before, after any) bool {
	a, ok := before.(*v1alpha1.HTTPApp)
	b, too := after.(*v1alpha1.HTTPApp)
	return ok && too && a.UID == b.UID && a.Generation == b.Generation
}

// mostRest is the longest that a change of an app may wait because of others.
const mostRest = 500 * time.Millisecond

// rebuild makes backends, table and pods anew from what the informers have.
func (d *Directory) rebuild() {
	var apps []*v1alpha1.HTTPApp
	for _, obj := range d.apps.GetStore().List() {
		if app, ok := obj.(*v1alpha1.HTTPApp); ok {
			apps = append(apps, app)
		}
	}
	// In a fixed order: of two apps of one name, as far as a moment can show such, the younger one has the counts.
	slices.SortFunc(apps, func(a, b *v1alpha1.HTTPApp) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})

	d.mu.Lock()
	defer d.mu.Unlock()
	backends := make(map[types.UID]*Backend, len(apps))
	byService := make(map[types.NamespacedName][]*Backend, len(apps))
	for _, app := range apps {
		b := d.backends[app.UID]
		if b == nil || b.Name.Name != app.Name || b.Name.Namespace != app.Namespace {
			b = newBackend(app, d.counters, d.clock)
		}
		s := settingsOf(app)
		b.settings.Store(s)
		backends[app.UID] = b
		byService[s.Service] = append(byService[s.Service], b)
	}
	before := d.backends
	d.backends, d.byService = backends, byService
	for service, bs := range byService {
		d.setPods(service, bs)
	}
	table := routing.Build(apps, func(app *v1alpha1.HTTPApp) *Backend { return backends[app.UID] })
	d.table.Store(table)
	for uid, b := range before {
		if backends[uid] == b {
			continue
		}
		// After the table: no new request can come to it any more.
		b.Line.Close(ErrGone)
		d.counters.Remove(b.Name, b.UID)
		if d.gone != nil && !slices.ContainsFunc(apps, func(a *v1alpha1.HTTPApp) bool {
			return a.Namespace == b.Name.Namespace && a.Name == b.Name.Name
		}) {
			d.gone(b.Name)
		}
		klog.InfoS("An app is gone", "app", b.Name)
	}
}

func (d *Directory) serviceChanged(service types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setPods(service, d.byService[service])
}

func (d *Directory) setPods(service types.NamespacedName, backends []*Backend) {
	for _, b := range backends {
		b.set(d.slices.Ready(service, b.Settings().Port))
	}
}
