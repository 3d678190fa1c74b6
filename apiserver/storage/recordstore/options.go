package recordstore

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	flowcontrolrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/client-go/tools/cache"
)

// Options puts the registry's objects into records. It is the only place that the registry and the store meet in, so that
// other storage can take this one's place.
type Options struct {
	// Store is where they are kept.
	Store *Shared
	// EncodeVersioner is the version that payloads are written in.
	EncodeVersioner runtime.GroupVersioner
	// Counts hears how many objects there are, for priority and fairness to reckon what a list costs.
	Counts flowcontrolrequest.StorageObjectCountTracker
}

var _ generic.RESTOptionsGetter = Options{}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (o Options) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	if resource != o.Store.Resource {
		return generic.RESTOptions{}, fmt.Errorf("the records are of %s, not of %s", o.Store.Resource, resource)
	}
	config := storagebackend.Config{Prefix: "/", Codec: o.Store.Codec, EncodeVersioner: o.EncodeVersioner}
	return generic.RESTOptions{
		StorageConfig:             config.ForResource(resource),
		Decorator:                 o.decorate,
		EnableGarbageCollection:   true,
		DeleteCollectionWorkers:   4,
		ResourcePrefix:            resource.Resource,
		CountMetricPollPeriod:     time.Minute,
		StorageObjectCountTracker: o.Counts,
	}, nil
}

func (o Options) decorate(*storagebackend.ConfigForResource, string, func(runtime.Object) (string, error), func() runtime.Object, func() runtime.Object,
	storage.AttrFunc, storage.IndexerFuncs, *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	return o.Store, o.Store.Stop, nil
}
