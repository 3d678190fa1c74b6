//go:build e2e

package httpapp

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/install"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/storage/hosttest"
	"github.com/kedahttp/kedahttp/apiserver/storage/record"
	"github.com/kedahttp/kedahttp/apiserver/storage/recordstore"
)

// On a kube-apiserver of its own, with what the server keeps in memory: make conformance.
func TestTheRegistryOnRecordsKeepsTheConventionsOfKubernetes(t *testing.T) {
	h := hosttest.Start(t, hosttest.Definition(t))
	conventions(t, func(t *testing.T) *Storage {
		start := h.Clear(t)
		store, err := recordstore.NewShared(recordstore.Config{
			Client:   h.Records,
			Resource: v1alpha1.Resource("httpapps"),
			Prefix:   "/httpapps",
			Codec:    install.NewCodecs(install.NewServerScheme()).LegacyCodec(v1alpha1.SchemeGroupVersion),
			Decode:   func(p record.Payload) (runtime.Object, error) { return p.Decode() },
			New:      func() runtime.Object { return &v1alpha1.HTTPApp{} },
			NewList:  func() runtime.Object { return &v1alpha1.HTTPAppList{} },
			Attrs:    Attrs,
		}, metadata.NewForConfigOrDie(h.Config))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); store.Informer().RunWithContext(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
		if !cache.WaitForCacheSync(ctx.Done(), store.Informer().HasSynced) {
			t.Fatal("the informer does not begin")
		}
		r := newTestStorageOn(t, recordstore.Options{Store: store, EncodeVersioner: v1alpha1.SchemeGroupVersion})
		r.HTTPApp.Store.Storage.Storage = &fromBeginning{store, fmt.Sprint(start)}
		return r
	})
}

// fromBeginning is a store of which the tests take version 1 for its beginning, as in an etcd that was just made. The host's cache
// knows nothing from before its own.
type fromBeginning struct {
	storage.Interface
	version string
}

// Watch implements storage.Interface.
func (s *fromBeginning) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	if opts.ResourceVersion == "1" {
		opts.ResourceVersion = s.version
	}
	return s.Interface.Watch(ctx, key, opts)
}
