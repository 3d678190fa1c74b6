package recordstore

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
)

// Shared is a Store whose watches share one watch of the records, in k8s.io/apiserver's cacher: of many watches of an object one
// reads it from its record, and one writes it for its client. Reads and writes are the Store's; they take from memory what the
// host has just said to be the present version.
type Shared struct {
	*Store
	cacher   *cacher.Cacher
	informer cache.SharedIndexInformer

	mu sync.Mutex
	// fresh is by key what the cacher was given and the informer has yet to be.
	fresh map[string]runtime.Object
}

var _ storage.Interface = &Shared{}

// NewShared makes a store that shares. Versions reads the records' metadata. It reads and watches the records until Stop.
func NewShared(config Config, versions metadata.Interface) (*Shared, error) {
	source, err := New(config)
	if err != nil {
		return nil, err
	}
	return newShared(config, source, versions)
}

// newShared makes a store that shares what another one reads.
func newShared(config Config, source *Store, versions metadata.Interface) (*Shared, error) {
	config.Keep = nil // what it answers is the caller's
	store, err := New(config)
	if err != nil {
		return nil, err
	}
	s := &Shared{Store: store, fresh: map[string]runtime.Object{}}
	source.kept = func(obj runtime.Object) {
		if key, err := source.keyOf(obj); err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.fresh[key] = obj
		}
	}
	s.cacher, err = cacher.NewCacherFromConfig(cacher.Config{
		Storage:             source,
		Versioner:           source.versioner,
		GroupResource:       source.Resource,
		EventsHistoryWindow: cacher.DefaultEventFreshDuration,
		ResourcePrefix:      source.Prefix,
		KeyFunc:             source.keyOf,
		NewFunc:             source.New,
		NewListFunc:         source.NewList,
		GetAttrsFunc:        source.Attrs,
		Codec:               source.Codec,
	})
	if err != nil {
		return nil, fmt.Errorf("a cacher of %s: %w", source.Resource, err)
	}
	if s.informer, err = s.newInformer(); err != nil {
		s.Stop()
		return nil, err
	}
	s.known = &known{versions: versions, objects: s.informer.GetStore()}
	return s, nil
}

// Stop ends all watches.
func (s *Shared) Stop() { s.cacher.Stop() }

// Informer is an informer of all objects. It shares them with the store, so that there is one of each in memory.
func (s *Shared) Informer() cache.SharedIndexInformer { return s.informer }

// Watch implements storage.Interface. What the cacher cannot do is the host's to do: a watch from just now, as nothing tells the
// cacher when it has heard of everything, and one from before its time.
func (s *Shared) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	if opts.ResourceVersion == "" || opts.SendInitialEvents != nil || !s.cacher.Ready() {
		return s.Store.Watch(ctx, key, opts)
	}
	if _, _, err := s.options(key, opts); err != nil {
		return nil, err
	}
	w, err := s.cacher.Watch(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	select {
	case e, ok := <-w.ResultChan():
		switch {
		case !ok:
			return w, nil
		case e.Type == watch.Error && isExpired(e.Object):
			w.Stop()
			return s.Store.Watch(ctx, key, opts)
		}
		return preceded(e, w), nil
	default: // a failure would have been there at once
		return w, nil
	}
}

func isExpired(status runtime.Object) bool {
	err := apierrors.FromObject(status)
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
}

// preceded is a watch of which one event was taken already.
func preceded(first watch.Event, w watch.Interface) watch.Interface {
	results := make(chan watch.Event, buffered)
	results <- first
	p := watch.NewProxyWatcher(results)
	go func() {
		defer close(results)
		defer w.Stop()
		for {
			select {
			case <-p.StopChan():
				return
			case e, ok := <-w.ResultChan():
				if !ok {
					return
				}
				select {
				case <-p.StopChan():
					return
				case results <- e:
				}
			}
		}
	}()
	return p
}

// newInformer makes an informer of what the cacher has.
func (s *Shared) newInformer() (cache.SharedIndexInformer, error) {
	everything := storage.ListOptions{ResourceVersion: "0", Recursive: true, Predicate: storage.Everything}
	informer := cache.NewSharedIndexInformer(streamless{&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
			err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) { return s.cacher.Ready(), nil })
			if err != nil {
				return nil, err
			}
			list := s.NewList()
			if err := s.cacher.GetList(ctx, s.Prefix, everything, list); err != nil {
				return nil, err
			}
			return list, s.listed(list)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			from := everything
			from.ResourceVersion, from.Predicate.AllowWatchBookmarks = options.ResourceVersion, options.AllowWatchBookmarks
			w, err := s.cacher.Watch(ctx, s.Prefix, from)
			if err != nil {
				return nil, err
			}
			return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
				if shared, ok := e.Object.(runtime.CacheableObject); ok {
					e.Object = s.opened(e.Object, shared)
				}
				return e, true
			}), nil
		},
	}}, s.New(), 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	return informer, informer.SetTransform(func(obj any) (any, error) {
		if o, ok := obj.(runtime.Object); ok {
			if same := s.same(o); same != nil {
				return same, nil
			}
		}
		return obj, nil
	})
}

// same is the object of the cacher that is of the same version, if there is. The cacher copies what it hands to watches, and of what it
// is asked for the outermost part.
func (s *Shared) same(obj runtime.Object) runtime.Object {
	key, err := s.keyOf(obj)
	if err != nil {
		return nil
	}
	if given := s.given(key, obj, true); given != nil {
		return given
	}
	same := s.New()
	if err := s.cacher.Get(context.Background(), key, storage.GetOptions{ResourceVersion: "0"}, same); err != nil || versionOf(same) != versionOf(obj) {
		return nil
	}
	return same
}

// opened is what is in an event's object, without a copy if the cacher has it still.
func (s *Shared) opened(obj runtime.Object, shared runtime.CacheableObject) runtime.Object {
	if key, err := s.keyOf(obj); err == nil {
		if given := s.given(key, obj, false); given != nil {
			return given
		}
	}
	return shared.GetObject()
}

// given is what the cacher was given as this version of an object, as long as the informer has not taken it.
func (s *Shared) given(key string, obj runtime.Object, take bool) runtime.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := s.fresh[key]
	if given == nil || versionOf(given) != versionOf(obj) {
		return nil
	}
	if take {
		delete(s.fresh, key)
	}
	return given
}

// listed forgets what the informer does not take any more when it takes a list: what was given before and is not in it.
func (s *Shared) listed(list runtime.Object) error {
	m, err := meta.ListAccessor(list)
	if err != nil {
		return err
	}
	version, err := s.versioner.ParseResourceVersion(m.GetResourceVersion())
	if err != nil {
		return err
	}
	there := map[string]string{}
	if err := meta.EachListItem(list, func(obj runtime.Object) error {
		key, err := s.keyOf(obj)
		there[key] = versionOf(obj)
		return err
	}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.fresh, func(key string, given runtime.Object) bool {
		v, err := s.versioner.ObjectResourceVersion(given)
		return err != nil || v <= version && there[key] != versionOf(given)
	})
	return nil
}

// keyOf is the key of an object.
func (s *Store) keyOf(obj runtime.Object) (string, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return "", err
	}
	return s.Prefix + m.GetNamespace() + "/" + m.GetName(), nil
}

// streamless lists before it watches: a watch that begins with a list would be the host's to do.
type streamless struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported tells client-go so.
func (streamless) IsWatchListSemanticsUnSupported() bool { return true }
