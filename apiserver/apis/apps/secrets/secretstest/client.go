package secretstest

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Of is what a Watcher reads the Secrets of a client with, which may be a fake.
func Of(client kubernetes.Interface) func(namespace string, options func(*metav1.ListOptions)) cache.ListerWatcher {
	return func(namespace string, options func(*metav1.ListOptions)) cache.ListerWatcher {
		secrets := client.CoreV1().Secrets(namespace)
		return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				options(&o)
				return secrets.List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				options(&o)
				return secrets.Watch(ctx, o)
			},
		}, client)
	}
}
