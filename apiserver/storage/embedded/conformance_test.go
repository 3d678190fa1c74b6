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
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"github.com/kedahttp/kedahttp/apiserver/storage/conformance"
)

// ownEtcd are the tests that compact, which others would notice.
var ownEtcd = map[string]bool{
	"RunTestList": true, "RunTestListInconsistentContinuation": true, "RunTestCompactRevision": true, "RunTestWatchFromZero": true,
}

func TestStorageConformance(t *testing.T) {
	config := Config{Dir: t.TempDir(), ProgressInterval: time.Second}
	shared, client := start(t, config)
	t.Cleanup(func() { _ = client.Close(); shared.Close() })
	count := 0
	conformance.Run(t, conformance.EtcdSkips, func(t *testing.T, name string) *conformance.Subject {
		e, client := shared, client
		if ownEtcd[name] {
			e, client = start(t, Config{Dir: t.TempDir(), ProgressInterval: time.Second})
			t.Cleanup(func() { _ = client.Close(); e.Close() })
		}
		count++
		return open(t, e.Endpoint, client, fmt.Sprintf("/%d", count))
	})
}

// open opens a store without objects below a prefix.
func open(t *testing.T, endpoint string, client *clientv3.Client, prefix string) *conformance.Subject {
	transformer := conformance.NewTransformer()
	config := storagebackend.NewDefaultConfig(prefix, conformance.Codec)
	config.Transport.ServerList = []string{endpoint}
	config.Transformer = transformer
	config.EncodeVersioner = examplev1.SchemeGroupVersion
	config.CompactionInterval = time.Hour // none during the test, but someone who looks at those of the tests
	config.LeaseManagerConfig.ReuseDurationSeconds = 1
	store, destroy, err := factory.Create(*config.ForResource(schema.GroupResource{Resource: "pods"}),
		func() runtime.Object { return &example.Pod{} }, func() runtime.Object { return &example.PodList{} }, "/pods/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destroy)
	return &conformance.Subject{
		Interface: store,
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
			compact(ctx, t, client, store, version)
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
}

// nothing is what the value of a key is encrypted with, besides a key.
type nothing struct{}

// AuthenticatedData implements value.Context.
func (nothing) AuthenticatedData() []byte { return nil }

// compact makes etcd forget what is older, and waits until the store has noticed.
func compact(ctx context.Context, t *testing.T, client *clientv3.Client, store storage.Interface, version string) {
	conformance.Compact(ctx, t, client, version)
	if !utilfeature.DefaultFeatureGate.Enabled(features.ListFromCacheSnapshot) {
		return
	}
	deadline := time.After(time.Minute)
	for fmt.Sprint(store.CompactRevision()) != version {
		select {
		case <-deadline:
			t.Fatal("the store does not notice that etcd was compacted")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
