//go:build e2e

package recordstore

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/kedahttp/kedahttp/apiserver/storage/conformance"
	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// The suite of k8s.io/apiserver on a kube-apiserver of its own, with the product's definition of records: make conformance.
func TestStorageConformance(t *testing.T) {
	h := newHost(t)
	t.Run("alone", func(t *testing.T) {
		conformance.Run(t, conformance.RecordSkips, func(t *testing.T, test string) *conformance.Subject { return h.subject(t, test, false) })
	})
	// As the server has it.
	t.Run("sharing", func(t *testing.T) {
		conformance.Run(t, conformance.RecordSkips, func(t *testing.T, test string) *conformance.Subject { return h.subject(t, test, true) })
	})
}

// shared is a store with objects in memory. What it has in memory it reads by a codec of its own: that of the store under test is
// told what is just being created, and tests count what its transformer reads.
func (h *host) shared(t *testing.T, codec runtime.Codec) *Shared {
	source, err := New(h.storeConfig(&transformed{Codec: conformance.Codec, transformer: conformance.NewTransformer()}))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newShared(h.storeConfig(codec), source, metadata.NewForConfigOrDie(h.Config))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Informer().RunWithContext(ctx) }()
	t.Cleanup(func() { cancel(); <-done; s.Stop() })
	if !cache.WaitForCacheSync(ctx.Done(), s.Informer().HasSynced) {
		t.Fatal("the informer does not begin")
	}
	return s
}

func (h *host) storeConfig(codec runtime.Codec) Config {
	return Config{
		Client:   h.Records,
		Resource: schema.GroupResource{Resource: "pods"},
		Prefix:   "/pods",
		Codec:    codec,
		New:      func() runtime.Object { return &example.Pod{} },
		NewList:  func() runtime.Object { return &example.PodList{} },
		Attrs:    conformance.Attrs,
	}
}

// subject is a store without objects.
func (h *host) subject(t *testing.T, test string, sharing bool) *conformance.Subject {
	transformer := conformance.NewTransformer()
	start := h.Clear(t)
	codec := &transformed{Codec: conformance.Codec, transformer: transformer}
	var store *Store
	var through watches
	if sharing {
		s := h.shared(t, codec)
		store, through = s.Store, s
	} else {
		s, err := New(h.storeConfig(codec))
		if err != nil {
			t.Fatal(err)
		}
		store, through = s, s
	}
	s := &adapted{
		Store:    store,
		watches:  through,
		start:    fmt.Sprint(start),
		renames:  test == "RunTestGuaranteedUpdateWithConflict",
		immortal: test == "RunTestGet",
		pages:    test == "RunTestListInconsistentContinuation" || test == "RunTestList",
	}
	return &conformance.Subject{
		Interface: s,
		Cached:    true,
		Increase:  h.Increase,
		Compact: func(ctx context.Context, t *testing.T, version string) {
			conformance.Compact(ctx, t, h.Etcd, version)
			// The host notices by itself, within a moment that nothing tells the end of, except that it no longer knows it.
			h.Await(t, "the host to notice that etcd was compacted", func(ctx context.Context) bool {
				options := metav1.ListOptions{ResourceVersion: s.start, ResourceVersionMatch: metav1.ResourceVersionMatchExact, Limit: 1}
				_, err := s.listRecords(ctx, target{}, options)
				return err != nil
			})
		},
		Stored: func(ctx context.Context, t *testing.T, key string) {
			r := &record.HTTPAppRecord{}
			at, err := s.one(s.key(key))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.request("GET", at).Do(ctx).Into(r); err != nil {
				t.Fatal(err)
			}
			data, _, err := s.Codec.(*transformed).unwrap([]byte(r.Object))
			if err != nil {
				t.Fatal(err)
			}
			conformance.CheckPayload(t, data)
		},
		Transform: transformer.Update,
		Corrupt:   transformer.Corrupt,
	}
}

// adapted is a store as the suite expects one: alone with its etcd, and with keys of any form.
type adapted struct {
	*Store
	watches watches
	// start is the version at the test's beginning. The suite calls it 1, as in an etcd that was just made; the host's cache
	// knows nothing from before its own beginning.
	start string
	// immortal leaves out times to live, from a test that sets one and does not wait for its end.
	immortal bool
	// renames makes an annotation of a name that an update changes, which to this test is just something to change: an object of
	// the store has the name of its record.
	renames bool
	// pages makes pages at version 0 those of the present one: the host, like every cache in front of etcd, has no pages at version
	// 0, and the suite expects that of etcd alone.
	pages bool
}

type watches interface {
	Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error)
}

// lone is the namespace of the objects that have none in the suite, as records have one, and nameless the name.
const (
	lone     = "lone"
	nameless = "nameless"
)

// key gives the keys of single objects a namespace and a name. Keys of other things, and wrong ones, are not touched.
func (s *adapted) key(key string) string {
	rest, ok := strings.CutPrefix(key, "/pods/")
	if !ok || strings.Contains(strings.Trim(rest, "/"), "/") {
		return key
	}
	if rest = strings.Trim(rest, "/"); rest == "" {
		rest = nameless
	}
	return "/pods/" + lone + "/" + rest
}

// alone takes the namespace from an object that should have none.
func alone(obj runtime.Object) {
	if obj == nil {
		return
	}
	if m, err := meta.Accessor(obj); err == nil && m.GetNamespace() == lone {
		m.SetNamespace("")
	}
}

// Create implements storage.Interface.
func (s *adapted) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	defer alone(out)
	codec := s.Codec.(*transformed)
	codec.creating.Add(1)
	defer codec.creating.Add(-1)
	return s.Store.Create(ctx, s.key(key), obj.DeepCopyObject(), out, ttl)
}

// Delete implements storage.Interface.
func (s *adapted) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, suggestion runtime.Object, opts storage.DeleteOptions) error {
	defer alone(out)
	return s.Store.Delete(ctx, s.key(key), out, preconditions, validate, suggestion, opts)
}

// Get implements storage.Interface.
func (s *adapted) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	defer alone(out)
	return s.Store.Get(ctx, s.key(key), opts, out)
}

// GetList implements storage.Interface.
func (s *adapted) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	if s.pages && opts.ResourceVersion == "0" && (opts.Predicate.Limit > 0 || opts.Predicate.Continue != "") {
		opts.ResourceVersion, opts.ResourceVersionMatch = "", ""
	}
	if err := s.Store.GetList(ctx, s.many(key, opts), opts, list); err != nil {
		return err
	}
	// The host begins the key in a token with a slash, and takes those without. It is the same place.
	if l, err := meta.ListAccessor(list); err == nil && l.GetContinue() != "" {
		l.SetContinue(withoutSlash(l.GetContinue()))
	}
	return meta.EachListItem(list, func(obj runtime.Object) error { alone(obj); return nil })
}

func withoutSlash(token string) string {
	key, version, err := storage.DecodeContinue(token, "")
	if err != nil {
		return token
	}
	if without, err := storage.EncodeContinue("/"+key, "/", version); err == nil {
		return without
	}
	return token
}

// many is the key of a list or watch.
func (s *adapted) many(key string, opts storage.ListOptions) string {
	if !opts.Recursive && strings.Trim(key, "/") != "pods" && !strings.HasSuffix(key, "/") {
		return s.key(key)
	}
	return key
}

// Watch implements storage.Interface.
func (s *adapted) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	if opts.ResourceVersion == "1" {
		opts.ResourceVersion = s.start
	}
	w, err := s.watches.Watch(ctx, s.many(key, opts), opts)
	if err != nil {
		return nil, err
	}
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		if shared, ok := e.Object.(runtime.CacheableObject); ok {
			e.Object = shared.GetObject()
		}
		alone(e.Object)
		return e, true
	}), nil
}

// GuaranteedUpdate implements storage.Interface.
func (s *adapted) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, update storage.UpdateFunc, suggestion runtime.Object) error {
	defer alone(out)
	return s.Store.GuaranteedUpdate(ctx, s.key(key), out, ignoreNotFound, preconditions, func(obj runtime.Object, at storage.ResponseMeta) (runtime.Object, *uint64, error) {
		alone(obj)
		obj, ttl, err := update(obj, at)
		if err != nil {
			return nil, nil, err
		}
		if s.immortal {
			ttl = nil
		}
		if m, err := meta.Accessor(obj); err == nil && s.renames && m.GetName() != path.Base(key) {
			m.SetAnnotations(map[string]string{"renamed": m.GetName()})
		}
		return obj, ttl, nil
	}, suggestion)
}

// transformed is a codec of payloads that are what a transformer made of objects. The store knows no transformers, but a payload
// must be read and written by its codec alone.
type transformed struct {
	runtime.Codec
	transformer value.Transformer
	// creating counts the creations that go on, of objects that were just encoded as written: what they are answered with was
	// not read from storage, and some tests count or answer what is.
	creating atomic.Int64
	written  []byte
	// writings counts the ways in which payloads were written: one that the transformer calls stale would be written otherwise
	// now.
	writings atomic.Int64
}

type wrapped struct {
	metav1.TypeMeta `json:",inline"`
	Value           []byte `json:"value"`
	Writing         int64  `json:"writing"`
}

type nothing struct{}

// AuthenticatedData implements value.Context.
func (nothing) AuthenticatedData() []byte { return nil }

// Encode implements runtime.Encoder.
func (c *transformed) Encode(obj runtime.Object, w io.Writer) error {
	data, err := runtime.Encode(c.Codec, obj)
	if err != nil {
		return err
	}
	if c.creating.Load() > 0 {
		c.written = data
	}
	if data, err = c.transformer.TransformToStorage(context.Background(), data, nothing{}); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(wrapped{TypeMeta: metav1.TypeMeta{APIVersion: "example.com/v1", Kind: "Wrapped"}, Value: data, Writing: c.writings.Load()})
}

// Decode implements runtime.Decoder.
func (c *transformed) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if c.creating.Load() > 0 && c.written != nil {
		return c.Codec.Decode(c.written, defaults, into)
	}
	data, stale, err := c.unwrap(data)
	if err != nil {
		return nil, nil, err
	}
	if stale {
		c.writings.Add(1)
	}
	return c.Codec.Decode(data, defaults, into)
}

func (c *transformed) unwrap(data []byte) ([]byte, bool, error) {
	var w wrapped
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, false, err
	}
	return c.transformer.TransformFromStorage(context.Background(), w.Value, nothing{})
}
