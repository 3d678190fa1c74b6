package live

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/interceptor/queue"
)

const (
	// interval is the least time between two announcements of one app.
	interval = time.Second
	// lasting is how long all apps without a request must show other cells than before until that is announced: an interceptor
	// that is replaced is missing for a moment, and ten thousand rows are a lot to say that with.
	lasting = 5 * time.Second
	// recent is how long an announcement is repeated to watches that begin: their clients listed the apps before, at most
	// this long ago, and may have been shown the cells of then.
	recent = 5 * time.Second
)

// hub announces the apps whose cells change to all watches. What moves is looked at once, however many watch, and only
// what moves is remembered, however many apps there are. The others have the cells of no request at all, which change together
// when interceptors go missing and come back.
type hub struct {
	view *View

	mu       sync.Mutex
	watchers map[*watcher]struct{}
	// end ends the present run, which lasts from the first watch to the last.
	end context.CancelFunc
	// shown is what was announced of the apps that move.
	shown map[types.NamespacedName]shown
}

type shown struct {
	cells Cells
	at    time.Time
}

func newHub(view *View) *hub {
	return &hub{view: view, watchers: map[*watcher]struct{}{}, shown: map[types.NamespacedName]shown{}}
}

// join adds a watch, which is told what was announced lately if its client may have missed it.
func (h *hub) join(w *watcher, missed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = struct{}{}
	if h.end == nil {
		ctx, cancel := context.WithCancel(context.Background())
		h.end = cancel
		clear(h.shown)
		go h.run(ctx, h.view.source.Subscribe(), h.view.idle())
	}
	w.idle = h.view.idle()
	if !missed {
		return
	}
	since := h.view.clock.Now().Add(-recent)
	for app, s := range h.shown {
		if s.at.After(since) {
			w.mark(app)
		}
	}
}

func (h *hub) leave(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
	if len(h.watchers) == 0 && h.end != nil {
		h.end()
		h.end = nil
	}
}

func (h *hub) run(ctx context.Context, changes Changes, idle Cells) {
	defer changes.Close()
	due := map[types.NamespacedName]struct{}{}
	// latest is what the cells of no request are now, idle what they last were for long.
	latest := idle
	var lasts clock.Timer
	defer func() {
		if lasts != nil {
			lasts.Stop()
		}
	}()
	var timer clock.Timer
	// rings is when the timer does.
	var rings time.Time
	stop := func() {
		if timer != nil {
			timer.Stop()
			timer = nil
		}
	}
	defer stop()
	for {
		var ring, lasted <-chan time.Time
		if timer != nil {
			ring = timer.C()
		}
		if lasts != nil {
			lasted = lasts.C()
		}
		select {
		case <-ctx.Done():
			return
		case <-changes.Changed():
			for _, app := range changes.Take() {
				if app != queue.AllApps {
					due[app] = struct{}{}
					continue
				}
				if now := h.view.idle(); now != latest {
					latest = now
					if lasts != nil {
						lasts.Stop()
					}
					lasts = h.view.clock.NewTimer(lasting)
				}
			}
		case <-ring:
			timer = nil
		case <-lasted:
			lasts, idle = nil, latest
			h.announceAll(ctx, idle)
		}
		switch next := h.announce(ctx, due, idle); {
		case next.IsZero():
			stop()
		case timer == nil || next.Before(rings):
			stop()
			rings = next
			timer = h.view.clock.NewTimer(max(next.Sub(h.view.clock.Now()), 0))
		}
		// A timer that rings in time is left alone: it may have rung already.
	}
}

// announce announces those of the due apps whose time has come and whose cells differ from what was announced, and returns
// when the first of the others is to be announced; zero when there are none.
func (h *hub) announce(ctx context.Context, due map[types.NamespacedName]struct{}, idle Cells) (next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return time.Time{} // what is shown is the next run's
	}
	now := h.view.clock.Now()
	for _, app := range sorted(due) {
		before, announced := h.shown[app]
		if at := before.at.Add(interval); announced && at.After(now) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			continue
		}
		delete(due, app)
		cells := h.view.Cells(app)
		if !announced {
			before.cells = idle
		}
		if cells == before.cells {
			if announced && cells == idle && now.Sub(before.at) > recent {
				delete(h.shown, app)
			}
			continue
		}
		h.shown[app] = shown{cells, now}
		for w := range h.watchers {
			w.mark(app)
		}
	}
	return next
}

// announceAll announces the apps without a request to the watches that began when those had other cells.
func (h *hub) announceAll(ctx context.Context, idle Cells) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	var others []types.NamespacedName
	for _, app := range h.view.apps.Names() {
		if _, announced := h.shown[app]; !announced {
			others = append(others, app)
		}
	}
	for w := range h.watchers {
		if w.idle == idle {
			continue
		}
		w.idle = idle
		w.mark(others...)
	}
}

// sorted are names in an order that is the same each time.
func sorted(names map[types.NamespacedName]struct{}) []types.NamespacedName {
	list := make([]types.NamespacedName, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.SortFunc(list, func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list
}
