package scaler

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// hub wakes the streams of an app when something about it changed. There are as many streams as apps, and each is woken by its
// own app only.
type hub struct {
	mu      sync.Mutex
	waiting map[types.NamespacedName]map[chan struct{}]struct{}
}

func newHub() *hub { return &hub{waiting: map[types.NamespacedName]map[chan struct{}]struct{}{}} }

// join returns a channel that gets a value after each change, several changes perhaps as one.
func (h *hub) join(app types.NamespacedName) (woken chan struct{}, leave func()) {
	woken = make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[app] == nil {
		h.waiting[app] = map[chan struct{}]struct{}{}
	}
	h.waiting[app][woken] = struct{}{}
	return woken, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiting[app], woken)
		if len(h.waiting[app]) == 0 {
			delete(h.waiting, app)
		}
	}
}

func (h *hub) changed(apps ...types.NamespacedName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, app := range apps {
		for woken := range h.waiting[app] {
			select {
			case woken <- struct{}{}:
			default:
			}
		}
	}
}

// follow passes on what a subscription tells.
func (h *hub) follow(ctx context.Context, s *queue.Subscription) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Changed():
			h.changed(s.Take()...)
		}
	}
}
