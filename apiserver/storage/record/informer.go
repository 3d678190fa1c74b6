package record

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Scheme knows the records; ParameterCodec their list options.
var (
	Scheme         = runtime.NewScheme()
	ParameterCodec = runtime.NewParameterCodec(Scheme)
)

func init() {
	if err := AddToScheme(Scheme); err != nil {
		panic(fmt.Sprintf("the record types do not fit a scheme: %v", err))
	}
}

// NewClient makes a client of the host cluster for the records.
func NewClient(config *rest.Config) (*rest.RESTClient, error) {
	c := rest.CopyConfig(config)
	c.GroupVersion = &SchemeGroupVersion
	c.APIPath = "/apis"
	c.NegotiatedSerializer = negotiator{serializer.NewCodecFactory(Scheme).WithoutConversion()}
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	return rest.RESTClientFor(c)
}

// NewInformer makes an informer whose objects are the *v1alpha1.HTTPApp that the records of all namespaces keep, as far as
// DecodeServed has them. A record that cannot be decoded becomes an app with a name and nothing else, which routes and scales
// nothing: one broken record does not stop the others.
func NewInformer(client rest.Interface) (cache.SharedIndexInformer, error) {
	informer := cache.NewSharedIndexInformer(
		cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
				return client.Get().Resource(Resource.Resource).VersionedParams(&opts, ParameterCodec).Do(ctx).Get()
			},
			WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
				opts.Watch = true
				return client.Get().Resource(Resource.Resource).VersionedParams(&opts, ParameterCodec).Watch(ctx)
			},
		}, client),
		&HTTPAppRecord{}, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	return informer, informer.SetTransform(func(obj any) (any, error) {
		r, ok := obj.(*HTTPAppRecord)
		if !ok {
			return obj, nil // a tombstone, or already decoded
		}
		app, err := DecodeServed(r)
		if err != nil {
			klog.ErrorS(err, "Leaving out an app whose record is broken")
			return &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{
				Namespace: r.Namespace, Name: r.Name, UID: r.UID, ResourceVersion: r.ResourceVersion,
			}}, nil
		}
		return app, nil
	})
}
