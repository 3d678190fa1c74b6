// Package owners knows which of the apps of an informer owns a route, in one index for the whole process, and tells who works by
// it when that changes.
package owners

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Owners are the owners of all routes as the informer knows the apps.
type Owners struct {
	index  *routes.Index
	synced cache.InformerSynced

	mu    sync.Mutex
	heard map[int]func(types.NamespacedName)
	next  int
}

// New makes Owners of the apps of an informer, which is started by its owner.
func New(apps cache.SharedIndexInformer) (*Owners, error) {
	o := &Owners{index: routes.NewIndex(), heard: map[int]func(types.NamespacedName){}}
	registration, err := apps.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    o.set,
		UpdateFunc: func(_, obj any) { o.set(obj) },
		DeleteFunc: func(obj any) {
			if name, err := cache.DeletionHandlingObjectToName(obj); err == nil {
				o.tell(o.index.Delete(types.NamespacedName(name)))
			}
		},
	})
	if err != nil {
		return nil, err
	}
	o.synced = registration.HasSynced
	return o, nil
}

func (o *Owners) set(obj any) {
	if app, ok := obj.(*v1alpha1.HTTPApp); ok {
		o.tell(append(o.index.Set(app), types.NamespacedName{Namespace: app.Namespace, Name: app.Name}))
	}
}

func (o *Owners) tell(apps []types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, app := range apps {
		for _, changed := range o.heard {
			changed(app)
		}
	}
}

// Subscribe has changed called with each app that came or changed, and with each that thereby, or by another's end, won or lost a route
// or a host: after this is known here, so that whoever asks then is not told of before. It is not called any more once the returned
// function has returned, and must neither wait for anything nor subscribe.
func (o *Owners) Subscribe(changed func(types.NamespacedName)) (end func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := o.next
	o.next++
	o.heard[id] = changed
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.heard, id)
	}
}

// HasSynced reports that all apps are known that there were at the start.
func (o *Owners) HasSynced() bool { return o.synced() }

// Conflicts returns the routes that an app claims and others own: see routes.Index.
func (o *Owners) Conflicts(app types.NamespacedName) []routes.Conflict { return o.index.Conflicts(app) }

// Taken returns the routes of an app, which need not be known, that an older one owns: see routes.Index.
func (o *Owners) Taken(app *v1alpha1.HTTPApp) []routes.Conflict { return o.index.Taken(app) }

// Owns reports whether an app owns any route.
func (o *Owners) Owns(app types.NamespacedName) bool { return o.index.Owns(app) }

// HostOwner returns the app that a host belongs to as a whole: see routes.Index.
func (o *Owners) HostOwner(host string) *v1alpha1.HTTPApp { return o.index.HostOwner(host) }
