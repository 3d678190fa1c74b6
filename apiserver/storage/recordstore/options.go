package recordstore

import (
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	flowcontrolrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Options puts the registry's objects into records. It is the only place that the registry and the store meet in, so that
// other storage can take this one's place.
type Options struct {
	// Client is for the records; see record.NewClient.
	Client rest.Interface
	// Codec writes payloads and reads them, EncodeVersioner is the version that it writes.
	Codec           runtime.Codec
	EncodeVersioner runtime.GroupVersioner
	// Counts hears how many objects there are, for priority and fairness to reckon what a list costs.
	Counts flowcontrolrequest.StorageObjectCountTracker
	// Known saves the store work; nil: nothing is known.
	Known *Known
}

var _ generic.RESTOptionsGetter = Options{}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (o Options) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	config := storagebackend.Config{Prefix: "/", Codec: o.Codec, EncodeVersioner: o.EncodeVersioner}
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

// decorate makes the store. There is no cacher in front of it: the host has one, and its own would only be older.
func (o Options) decorate(config *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error),
	newFunc, _ func() runtime.Object, attrs storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	store, err := New(Config{Client: o.Client, Resource: config.GroupResource, Prefix: prefix, Codec: o.Codec, New: newFunc, Attrs: attrs, Known: o.Known})
	return store, func() {}, err
}
