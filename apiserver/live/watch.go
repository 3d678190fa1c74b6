package live

import (
	"context"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Apps are the apps as they are stored, as far as they are known here. It may be a little behind the stream of a watch, or
// ahead of it.
type Apps interface {
	// Get returns an app, or nil. It must not be changed.
	Get(app types.NamespacedName) *v1alpha1.HTTPApp
	// Names returns the names of all, in no order.
	Names() []types.NamespacedName
}

// Scope says what a watch is of.
type Scope struct {
	// From is the version from which the client watches: it knows what there was then. 0: the stream begins with all that
	// there is.
	From uint64
	// Matches says which apps the client is to see.
	Matches func(*v1alpha1.HTTPApp) bool
}

// Watch adds live events to a watch of apps: when the cells of an app change, the app as the stream delivered it last is sent
// again as MODIFIED, unchanged and of the same version, for a row to be made of it. It is for watches of tables only; to
// everybody else an event means that something was stored.
//
// A watch costs little, however many apps it is of: it remembers what moves, and shares everything else with the others.
func (v *View) Watch(ctx context.Context, stored watch.Interface, scope Scope) watch.Interface {
	w := &watcher{
		view:    v,
		stored:  stored,
		scope:   scope,
		results: make(chan watch.Event),
		wake:    make(chan struct{}, 1),
		due:     map[types.NamespacedName]struct{}{},
		seen:    scope.From,
		ahead:   map[types.NamespacedName]delivered{},
	}
	if scope.From == 0 {
		w.known = map[types.NamespacedName]struct{}{}
	}
	w.ctx, w.cancel = context.WithCancel(ctx)
	v.hub.join(w, scope.From != 0)
	go w.run()
	return w
}

type watcher struct {
	view    *View
	stored  watch.Interface
	scope   Scope
	results chan watch.Event
	ctx     context.Context
	cancel  context.CancelFunc
	// idle are the cells that apps without a request were last shown with. It is the hub's, under its lock.
	idle Cells

	wake chan struct{}
	mu   sync.Mutex
	// due are the apps that were announced since they were last sent.
	due map[types.NamespacedName]struct{}

	// seen is the version up to which the stream has delivered everything.
	seen uint64
	// known are the apps that the stream delivered, where it begins with all that there is: in no order, so that seen does not
	// tell. Otherwise nil.
	known map[types.NamespacedName]struct{}
	// ahead is what the stream delivered before it was known here.
	ahead map[types.NamespacedName]delivered
}

// opened is the object of the event that watches were last sent: all of them open it at about the same time, and each time it is copied.
type opened struct {
	mu  sync.Mutex
	of  runtime.CacheableObject
	obj runtime.Object
}

// open returns an event's object. It is shared but for its outermost part, of which whoever writes the event may set fields.
func (o *opened) open(shared runtime.CacheableObject) runtime.Object {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of != shared {
		o.of, o.obj = shared, shared.GetObject()
	}
	app, ok := o.obj.(*v1alpha1.HTTPApp)
	if !ok {
		return shared.GetObject()
	}
	shallow := *app
	return &shallow
}

// delivered is what a stream said of an app; app is nil when it was that the app is gone.
type delivered struct {
	app     *v1alpha1.HTTPApp
	version uint64
}

// swept is how many entries of ahead there may be before those that are no longer needed are looked for.
const swept = 16

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.results }

// Stop implements watch.Interface.
func (w *watcher) Stop() { w.cancel() }

// mark is the hub's word that the cells of apps changed. It does not block.
func (w *watcher) mark(apps ...types.NamespacedName) {
	w.mu.Lock()
	for _, app := range apps {
		w.due[app] = struct{}{}
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) take() []types.NamespacedName {
	w.mu.Lock()
	defer w.mu.Unlock()
	apps := sorted(w.due)
	clear(w.due)
	return apps
}

func (w *watcher) run() {
	defer close(w.results)
	defer w.cancel()
	defer w.stored.Stop()
	defer w.view.hub.leave(w)
	for {
		select {
		case <-w.ctx.Done():
			return
		case e, ok := <-w.stored.ResultChan():
			if !ok {
				return
			}
			if shared, ok := e.Object.(runtime.CacheableObject); ok {
				// What is written for one client would be written for all, with the cells of one moment.
				e.Object = w.view.opened.open(shared)
			}
			w.note(e)
			if !w.send(e) {
				return
			}
		case <-w.wake:
			for _, name := range w.take() {
				app := w.last(name)
				if app == nil || !w.scope.Matches(app) {
					continue
				}
				// Whoever writes the event may set fields of the object.
				shallow := *app
				if !w.send(watch.Event{Type: watch.Modified, Object: &shallow}) {
					return
				}
			}
		}
	}
}

func (w *watcher) send(e watch.Event) bool {
	select {
	case w.results <- e:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// note remembers what the stream delivers.
func (w *watcher) note(e watch.Event) {
	app, ok := e.Object.(*v1alpha1.HTTPApp)
	if !ok {
		return
	}
	version := versionOf(app)
	w.seen = max(w.seen, version)
	if e.Type == watch.Bookmark {
		return
	}
	name := types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
	d := delivered{version: version}
	if e.Type == watch.Deleted {
		delete(w.known, name)
	} else {
		if w.known != nil {
			w.known[name] = struct{}{}
		}
		shallow := *app
		d.app = &shallow
	}
	if w.caughtUp(name, d) {
		delete(w.ahead, name)
		return
	}
	w.ahead[name] = d
	if len(w.ahead) >= swept {
		for name, d := range w.ahead {
			if w.caughtUp(name, d) {
				delete(w.ahead, name)
			}
		}
	}
}

// caughtUp reports whether what was delivered, or something newer, is known here.
func (w *watcher) caughtUp(name types.NamespacedName, d delivered) bool {
	app := w.view.apps.Get(name)
	if app == nil {
		return d.app == nil
	}
	return versionOf(app) >= d.version
}

// last returns an app as the stream delivered it last; nil when it has not, or that it is gone, or when it is about to
// deliver something newer, whose row will have the cells of then.
func (w *watcher) last(name types.NamespacedName) *v1alpha1.HTTPApp {
	if d, ok := w.ahead[name]; ok {
		if !w.caughtUp(name, d) {
			return d.app
		}
		delete(w.ahead, name)
	}
	app := w.view.apps.Get(name)
	if app == nil || versionOf(app) > w.seen {
		return nil
	}
	if _, known := w.known[name]; w.known != nil && !known {
		return nil
	}
	return app
}

// versionOf is an app's resourceVersion, which is comparable among apps; 0 when it has none.
func versionOf(app *v1alpha1.HTTPApp) uint64 {
	version, err := strconv.ParseUint(app.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return version
}
