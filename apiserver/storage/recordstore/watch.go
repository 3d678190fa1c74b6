package recordstore

import (
	"context"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// buffered events let the host go on while the client reads; after the end, the client gets to read them still.
const buffered = 100

// Watch implements storage.Interface: the host's watch of the records, object by object.
func (s *Store) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	t, options, err := s.options(key, opts)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return watch.NewEmptyWatch(), nil // as upstream's: an end, not an error
	}
	options.Watch = true
	if deadline, ok := ctx.Deadline(); ok {
		// The host ends the watch at the same time, in an orderly way, and sends a bookmark before.
		seconds := int64(math.Ceil(time.Until(deadline).Seconds()))
		options.TimeoutSeconds = &seconds
	}
	options.AllowWatchBookmarks = opts.Predicate.AllowWatchBookmarks || opts.ProgressNotify
	if opts.SendInitialEvents != nil {
		options.SendInitialEvents = opts.SendInitialEvents
		// The only match there is with initial events; the caller's was checked and is not passed down.
		options.ResourceVersionMatch = metav1.ResourceVersionMatchNotOlderThan
	}
	records, err := s.request("GET", t).SpecificallyVersionedParams(&options, metav1.ParameterCodec, optionsVersion).Watch(ctx)
	if err != nil {
		return nil, s.translate(ctx, err, key, "")
	}
	// Priority and fairness takes a watch for expensive until it hears that it has begun.
	utilflowcontrol.WatchInitialized(ctx)
	w := &watcher{store: s, records: records, results: make(chan watch.Event, buffered), ctx: ctx}
	w.ctx, w.cancel = context.WithCancel(ctx)
	go w.run()
	return w, nil
}

type watcher struct {
	store   *Store
	records watch.Interface
	results chan watch.Event
	ctx     context.Context
	cancel  context.CancelFunc
}

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.results }

// Stop implements watch.Interface.
func (w *watcher) Stop() { w.cancel() }

func (w *watcher) run() {
	defer close(w.results)
	defer w.cancel()
	defer w.records.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case e, ok := <-w.records.ResultChan():
			if !ok {
				return
			}
			e, ok = w.store.event(e)
			if !ok {
				continue
			}
			select {
			case w.results <- e:
			case <-w.ctx.Done():
				return
			}
			if e.Type == watch.Error {
				return
			}
		}
	}
}

// event is what a record's event means for its object, if anything.
func (s *Store) event(e watch.Event) (watch.Event, bool) {
	switch e.Type {
	case watch.Error:
		if status, ok := e.Object.(*metav1.Status); ok {
			e.Object = s.rewrite(status)
		}
		return e, true
	case watch.Bookmark:
		obj := s.New()
		if !s.copyBookmark(e.Object, obj) {
			return e, false
		}
		return watch.Event{Type: watch.Bookmark, Object: obj}, true
	}
	r, ok := e.Object.(*record.HTTPAppRecord)
	if !ok {
		klog.ErrorS(nil, "Leaving out an event of something that is no record", "type", e.Type)
		return e, false
	}
	obj, err := s.keep(r)
	if err != nil {
		leftOut(err)
		if e.Type != watch.Deleted {
			return e, false
		}
		// Whoever knew the object from the time before the record broke should hear of its end.
		obj = s.New()
		m, err := meta.Accessor(obj)
		if err != nil {
			return e, false
		}
		m.SetNamespace(r.Namespace)
		m.SetName(r.Name)
		m.SetLabels(r.Labels)
		m.SetResourceVersion(r.ResourceVersion)
	}
	s.tell(obj)
	return watch.Event{Type: e.Type, Object: obj}, true
}

// copyBookmark copies what a bookmark says: a version, and whether the initial events have been sent.
func (s *Store) copyBookmark(from, to runtime.Object) bool {
	source, err := meta.Accessor(from)
	if err != nil {
		return false
	}
	m, err := meta.Accessor(to)
	if err != nil {
		return false
	}
	m.SetResourceVersion(source.GetResourceVersion())
	if v, ok := source.GetAnnotations()[metav1.InitialEventsAnnotationKey]; ok {
		m.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: v})
	}
	return true
}
