package live

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// interval is the least time between two live events of one app on one watch.
const interval = time.Second

// Watch adds live events to a watch of apps: when the cells of an app change, the app as it was last delivered is sent again as
// MODIFIED, unchanged and of the same version, for a row to be made of it. It is for watches of tables only; to everybody
// else an event means that something was stored.
//
// known lists the apps that the client knew before the watch began, or is nil. Only those, and the apps that the
// stream has delivered since, get live events: so the watch's selectors and namespace hold for live events, too.
func (v *View) Watch(ctx context.Context, stored watch.Interface, known func(context.Context) ([]*v1alpha1.HTTPApp, error)) watch.Interface {
	w := &watcher{
		view:    v,
		stored:  stored,
		results: make(chan watch.Event),
		changes: v.source.Subscribe(),
		rows:    map[types.NamespacedName]*row{},
		due:     map[types.NamespacedName]struct{}{},
	}
	w.ctx, w.cancel = context.WithCancel(ctx)
	if known != nil {
		w.gone = map[types.NamespacedName]struct{}{}
		listed := make(chan []*v1alpha1.HTTPApp, 1)
		w.listed = listed
		go func() {
			// When it fails, there are fewer live events, which is no reason to have no watch.
			apps, _ := known(w.ctx)
			listed <- apps
		}()
	}
	go w.run()
	return w
}

type watcher struct {
	view    *View
	stored  watch.Interface
	results chan watch.Event
	ctx     context.Context
	cancel  context.CancelFunc
	changes Changes

	// listed delivers, once, the apps that the client knew before; nil when it has or never will. gone are those that the
	// stream deleted meanwhile.
	listed <-chan []*v1alpha1.HTTPApp
	gone   map[types.NamespacedName]struct{}

	rows map[types.NamespacedName]*row
	// due are the rows whose cells may have changed since they were shown.
	due map[types.NamespacedName]struct{}
	// timer rings at the moment rings, for the first of the due rows that had to wait; nil when none does.
	timer clock.Timer
	rings time.Time
}

// row is what the client knows of an app.
type row struct {
	app   *v1alpha1.HTTPApp
	cells Cells
	// shown is when a live event, if any, last showed the cells.
	shown time.Time
}

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.results }

// Stop implements watch.Interface.
func (w *watcher) Stop() { w.cancel() }

func (w *watcher) run() {
	defer close(w.results)
	defer w.cancel()
	defer w.stored.Stop()
	defer w.changes.Close()
	defer w.stopTimer()
	for {
		var ring <-chan time.Time
		if w.timer != nil {
			ring = w.timer.C()
		}
		select {
		case <-w.ctx.Done():
			return
		case e, ok := <-w.stored.ResultChan():
			if !ok {
				return
			}
			w.note(e)
			if !w.send(e) {
				return
			}
		case apps := <-w.listed:
			w.list(apps)
			if !w.flush() {
				return
			}
		case <-w.changes.Changed():
			for _, app := range w.changes.Take() {
				if w.rows[app] != nil {
					w.due[app] = struct{}{}
				}
			}
			if !w.flush() {
				return
			}
		case <-ring:
			w.timer = nil
			if !w.flush() {
				return
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
	name := types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
	switch e.Type {
	case watch.Added, watch.Modified:
		r := w.rows[name]
		if r == nil {
			r = &row{}
			w.rows[name] = r
		}
		// Whoever writes the event may change the object.
		r.app = app.DeepCopy()
		// Its row is made in a moment, with the cells of then.
		r.cells = w.view.Cells(name)
	case watch.Deleted:
		delete(w.rows, name)
		delete(w.due, name)
		if w.gone != nil {
			w.gone[name] = struct{}{}
		}
	}
}

// list adds the apps that the client knew before the watch, unless the stream has said something newer.
func (w *watcher) list(apps []*v1alpha1.HTTPApp) {
	for _, app := range apps {
		name := types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
		if _, gone := w.gone[name]; gone || w.rows[name] != nil {
			continue
		}
		r := &row{app: app, cells: w.view.Cells(name)}
		if s, ok := w.view.Sample(name); ok && s.Waiting() {
			// What the client was shown of it may be from before.
			r.cells = Cells{}
			w.due[name] = struct{}{}
		}
		w.rows[name] = r
	}
	w.listed, w.gone = nil, nil
}

// flush sends what is due and may be sent, and sees to it that the timer rings for the rest.
func (w *watcher) flush() bool {
	var next time.Time
	for name := range w.due {
		r := w.rows[name]
		// Read for each row: a slow client may have held the one before up for long.
		now := w.view.clock.Now()
		if at := r.shown.Add(interval); at.After(now) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			continue
		}
		delete(w.due, name)
		cells := w.view.Cells(name)
		if cells == r.cells {
			continue
		}
		r.cells, r.shown = cells, now
		if !w.send(watch.Event{Type: watch.Modified, Object: r.app.DeepCopy()}) {
			return false
		}
	}
	switch {
	case next.IsZero():
		w.stopTimer()
	case w.timer == nil || next.Before(w.rings):
		w.stopTimer()
		w.rings = next
		w.timer = w.view.clock.NewTimer(max(next.Sub(w.view.clock.Now()), 0))
	}
	// A timer that rings in time is left alone: it may have rung already.
	return true
}

func (w *watcher) stopTimer() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}
