package embedded

import (
	"context"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"github.com/kedahttp/kedahttp/apiserver/storage/conformance"
)

// ownEtcd are the tests that compact, which others would notice, and one that watches from the beginning of etcd.
var ownEtcd = map[string]bool{
	"RunWatchSemantics": true,
	"RunTestList":       true, "RunTestListInconsistentContinuation": true, "RunTestCompactRevision": true, "RunTestWatchFromZero": true,
}

func TestStorageConformance(t *testing.T) {
	config := Config{Dir: t.TempDir(), ProgressInterval: time.Second}
	shared, client := start(t, config)
	t.Cleanup(func() { _ = client.Close(); shared.Close() })
	count := 0
	run := func(skips map[string]string, cached bool) func(*testing.T) {
		return func(t *testing.T) {
			conformance.Run(t, skips, func(t *testing.T, name string) *conformance.Subject {
				e, client := shared, client
				if ownEtcd[name] {
					e, client = start(t, Config{Dir: t.TempDir(), ProgressInterval: time.Second})
					t.Cleanup(func() { _ = client.Close(); e.Close() })
				}
				count++
				return open(t, e.Endpoint, client, fmt.Sprintf("/%d", count), name, cached)
			})
		}
	}
	t.Run("alone", run(conformance.EtcdSkips, false))
	// As the server has it.
	t.Run("cached", run(conformance.CachedEtcdSkips, true))
}

// open opens a store without objects below a prefix.
func open(t *testing.T, endpoint string, client *clientv3.Client, prefix, test string, cached bool) *conformance.Subject {
	transformer := conformance.NewTransformer()
	config := storagebackend.NewDefaultConfig(prefix, conformance.Codec)
	config.Transport.ServerList = []string{endpoint}
	config.Transformer = transformer
	config.EncodeVersioner = examplev1.SchemeGroupVersion
	config.CompactionInterval = time.Hour // none during the test, but someone who looks at those of the tests
	config.LeaseManagerConfig.ReuseDurationSeconds = 1
	decorator := generic.UndecoratedStorage
	if cached {
		decorator = genericregistry.StorageWithCacher()
	}
	key := func(obj runtime.Object) (string, error) {
		if test == "RunTestClusterScopedWatch" {
			return storage.NoNamespaceKeyFunc("/pods/", obj)
		}
		return storage.NamespaceKeyFunc("/pods/", obj)
	}
	store, destroy, err := decorator(config.ForResource(schema.GroupResource{Resource: "pods"}), "/pods/", key,
		func() runtime.Object { return &example.Pod{} }, func() runtime.Object { return &example.PodList{} }, conformance.Attrs, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destroy)
	await(t, "the store to begin", func() bool { return store.ReadinessCheck() == nil })
	s := &conformance.Subject{
		Interface: store,
		Cached:    cached,
		Stored: func(ctx context.Context, t *testing.T, key string) {
			got, err := client.Get(ctx, prefix+key)
			if err != nil || len(got.Kvs) != 1 {
				t.Fatalf("%v, %v", got, err)
			}
			data, _, err := transformer.TransformFromStorage(ctx, got.Kvs[0].Value, nothing{})
			if err != nil {
				t.Fatal(err)
			}
			conformance.CheckPayload(t, data)
		},
		Compact: func(ctx context.Context, t *testing.T, version string) {
			conformance.Compact(ctx, t, client, version)
			if utilfeature.DefaultFeatureGate.Enabled(features.ListFromCacheSnapshot) {
				await(t, "the store to notice that etcd was compacted", func() bool { return fmt.Sprint(store.CompactRevision()) == version })
			}
		},
		Increase: func(ctx context.Context, t *testing.T) int64 {
			r, err := client.Put(ctx, "increase", "")
			if err != nil {
				t.Fatal(err)
			}
			return r.Header.Revision
		},
		Transform: transformer.Update,
		Corrupt:   transformer.Corrupt,
	}
	if cached {
		s.Sized = transformer
		s.Interface = paging{store}
	}
	return s
}

// paging makes pages at version 0 those of the present one: a cache has no pages at version 0, and the suite expects that of
// etcd alone.
type paging struct{ storage.Interface }

// GetList implements storage.Interface.
func (s paging) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	if opts.ResourceVersion == "0" && (opts.Predicate.Limit > 0 || opts.Predicate.Continue != "") {
		opts.ResourceVersion, opts.ResourceVersionMatch = "", ""
	}
	return s.Interface.GetList(ctx, key, opts, list)
}

// nothing is what the value of a key is encrypted with, besides a key.
type nothing struct{}

// AuthenticatedData implements value.Context.
func (nothing) AuthenticatedData() []byte { return nil }

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
