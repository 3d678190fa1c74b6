// Package hosttest is the host of tests: a fake of client-go's clientset.
package hosttest

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// EndpointSlices lists and watches those of a namespace, or of all, which the options select.
func EndpointSlices(client kubernetes.Interface, namespace string, options func(*metav1.ListOptions)) cache.ListerWatcher {
	slices := client.DiscoveryV1().EndpointSlices(namespace)
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			options(&o)
			return slices.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			options(&o)
			return slices.Watch(ctx, o)
		},
	}, client)
}
