// Package conformance runs k8s.io/apiserver's own tests of storage.Interface on a storage of ours.
package conformance

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
)

// Scheme has the objects of the tests, pods of an example group, and Codec writes them.
var (
	Scheme = runtime.NewScheme()
	Codec  runtime.Codec
)

func init() {
	metav1.AddToGroupVersion(Scheme, metav1.SchemeGroupVersion)
	utilruntime.Must(example.AddToScheme(Scheme))
	utilruntime.Must(examplev1.AddToScheme(Scheme))
	Codec = serializer.NewCodecFactory(Scheme).LegacyCodec(examplev1.SchemeGroupVersion)
}

var (
	_ storagetesting.InterfaceWithPrefixTransformer  = &Subject{}
	_ storagetesting.InterfaceWithCorruptTransformer = &Subject{}
)

// Subject is a storage without objects, for one test, and what else the tests want of what is behind it.
type Subject struct {
	storage.Interface
	// Stored looks whether what is stored under a key is as it should be.
	Stored storagetesting.KeyValidation
	// Compact makes the storage forget older versions.
	Compact storagetesting.Compaction
	// Increase makes the version of the storage greater by one.
	Increase storagetesting.IncreaseRVFunc
	// Transform gives the storage another transformer of what is stored, until the returned function is called.
	Transform func(storagetesting.PrefixTransformerModifier) (revert func())
	// Corrupt makes everything that is stored unreadable, until the returned function is called.
	Corrupt func() (revert func())
	// Cached says that the storage answers from a cache where it may.
	Cached bool
	// Sized transforms what is stored as the storage does, if it tells how much that is.
	Sized value.Transformer
}

// UpdatePrefixTransformer implements storagetesting.InterfaceWithPrefixTransformer.
func (s *Subject) UpdatePrefixTransformer(modify storagetesting.PrefixTransformerModifier) func() {
	return s.Transform(modify)
}

// CorruptTransformer implements storagetesting.InterfaceWithCorruptTransformer.
func (s *Subject) CorruptTransformer() func() { return s.Corrupt() }

// Run runs the tests of which skips does not say why they do not apply. open opens a storage for the test of that name.
func Run(t *testing.T, skips map[string]string, open func(t *testing.T, test string) *Subject) {
	for name := range skips {
		if tests[name] == nil {
			t.Errorf("the list of tests that do not apply has %s, which there is not", name)
		}
	}
	var names []string
	for name := range tests {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			if why, skipped := skips[name]; skipped {
				t.Skip(why)
			}
			tests[name](t.Context(), t, func() *Subject { return open(t, name) })
		})
	}
}

// test is one of upstream's.
type test func(ctx context.Context, t *testing.T, open func() *Subject)

// plain is a test that wants nothing but a storage.
func plain(run func(context.Context, *testing.T, storage.Interface)) test {
	return func(ctx context.Context, t *testing.T, open func() *Subject) { run(ctx, t, open()) }
}

// transformed is a test that changes how objects are stored.
func transformed(run func(context.Context, *testing.T, storagetesting.InterfaceWithPrefixTransformer)) test {
	return func(ctx context.Context, t *testing.T, open func() *Subject) { run(ctx, t, open()) }
}

// enabled turns a feature on until the test ends.
func enabled(t *testing.T, feature featuregate.Feature) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, feature, true)
}

// tests are all of upstream's, by their name there.
var tests = map[string]test{
	"RunTestCreate": func(ctx context.Context, t *testing.T, open func() *Subject) {
		s := open()
		storagetesting.RunTestCreate(ctx, t, s, s.Stored)
	},
	"RunTestCreateWithTTL":                              plain(storagetesting.RunTestCreateWithTTL),
	"RunTestCreateWithKeyExist":                         plain(storagetesting.RunTestCreateWithKeyExist),
	"RunTestGet":                                        plain(storagetesting.RunTestGet),
	"RunTestUnconditionalDelete":                        plain(storagetesting.RunTestUnconditionalDelete),
	"RunTestConditionalDelete":                          plain(storagetesting.RunTestConditionalDelete),
	"RunTestDeleteWithSuggestion":                       plain(storagetesting.RunTestDeleteWithSuggestion),
	"RunTestDeleteWithSuggestionAndConflict":            plain(storagetesting.RunTestDeleteWithSuggestionAndConflict),
	"RunTestDeleteWithConflict":                         plain(storagetesting.RunTestDeleteWithConflict),
	"RunTestDeleteWithSuggestionOfDeletedObject":        plain(storagetesting.RunTestDeleteWithSuggestionOfDeletedObject),
	"RunTestValidateDeletionWithSuggestion":             plain(storagetesting.RunTestValidateDeletionWithSuggestion),
	"RunTestValidateDeletionWithOnlySuggestionValid":    plain(storagetesting.RunTestValidateDeletionWithOnlySuggestionValid),
	"RunTestPreconditionalDeleteWithSuggestion":         plain(storagetesting.RunTestPreconditionalDeleteWithSuggestion),
	"RunTestPreconditionalDeleteWithOnlySuggestionPass": plain(storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass),
	"RunTestList": func(ctx context.Context, t *testing.T, open func() *Subject) {
		s := open()
		// What reaches etcd is not looked at: with a cache that is the host's concern.
		storagetesting.RunTestList(ctx, t, s, s.Compact, false, nil)
	},
	"RunTestConsistentList": func(ctx context.Context, t *testing.T, open func() *Subject) {
		s := open()
		storagetesting.RunTestConsistentList(ctx, t, s, s.Increase, s.Cached, true, s.Cached)
	},
	"RunTestGetListNonRecursive": func(ctx context.Context, t *testing.T, open func() *Subject) {
		s := open()
		storagetesting.RunTestGetListNonRecursive(ctx, t, s.Increase, s)
	},
	"RunTestGetListRecursivePrefix": plain(storagetesting.RunTestGetListRecursivePrefix),
	"RunTestListContinuation": func(ctx context.Context, t *testing.T, open func() *Subject) {
		storagetesting.RunTestListContinuation(ctx, t, open(), nil)
	},
	"RunTestListPaginationRareObject": func(ctx context.Context, t *testing.T, open func() *Subject) {
		storagetesting.RunTestListPaginationRareObject(ctx, t, open(), nil)
	},
	"RunTestListContinuationWithFilter": func(ctx context.Context, t *testing.T, open func() *Subject) {
		storagetesting.RunTestListContinuationWithFilter(ctx, t, open(), nil)
	},
	"RunTestListInconsistentContinuation": func(ctx context.Context, t *testing.T, open func() *Subject) {
		s := open()
		storagetesting.RunTestListInconsistentContinuation(ctx, t, s, s.Compact)
	},
	"RunTestListResourceVersionMatch": transformed(storagetesting.RunTestListResourceVersionMatch),
	"RunTestGuaranteedUpdate": func(ctx context.Context, t *testing.T, open func() *Subject) {
		s := open()
		storagetesting.RunTestGuaranteedUpdate(ctx, t, s, s.Stored)
	},
	"RunTestGuaranteedUpdateWithTTL":                   plain(storagetesting.RunTestGuaranteedUpdateWithTTL),
	"RunTestGuaranteedUpdateChecksStoredData":          transformed(storagetesting.RunTestGuaranteedUpdateChecksStoredData),
	"RunTestGuaranteedUpdateWithConflict":              plain(storagetesting.RunTestGuaranteedUpdateWithConflict),
	"RunTestGuaranteedUpdateWithSuggestionAndConflict": plain(storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict),
	"RunTestTransformationFailure":                     transformed(storagetesting.RunTestTransformationFailure),
	"RunTestStats": func(ctx context.Context, t *testing.T, open func() *Subject) {
		s := open()
		transformer := s.Sized
		if transformer == nil {
			transformer = identity.NewEncryptCheckTransformer()
		}
		storagetesting.RunTestStats(ctx, t, s, Codec, transformer, s.Sized != nil)
	},
	"RunTestListPaging":          plain(storagetesting.RunTestListPaging),
	"RunTestNamespaceScopedList": plain(storagetesting.RunTestNamespaceScopedList),
	"RunTestCompactRevision": func(ctx context.Context, t *testing.T, open func() *Subject) {
		enabled(t, features.ListFromCacheSnapshot) // else nobody looks at what is compacted
		s := open()
		storagetesting.RunTestCompactRevision(ctx, t, s, s.Increase, s.Compact)
	},
	"RunTestKeySchema": plain(storagetesting.RunTestKeySchema),

	"RunTestWatch": plain(storagetesting.RunTestWatch),
	"RunTestWatchFromZero": func(ctx context.Context, t *testing.T, open func() *Subject) {
		s := open()
		compact := s.Compact
		if s.Cached {
			compact = nil // the cache goes on knowing what etcd has forgotten
		}
		storagetesting.RunTestWatchFromZero(ctx, t, s, compact)
	},
	"RunTestDeleteTriggerWatch":   plain(storagetesting.RunTestDeleteTriggerWatch),
	"RunTestWatchFromNonZero":     plain(storagetesting.RunTestWatchFromNonZero),
	"RunTestDelayedWatchDelivery": plain(storagetesting.RunTestDelayedWatchDelivery),
	"RunTestWatchError":           transformed(storagetesting.RunTestWatchError),
	"RunTestWatchWithUnsafeDelete": func(ctx context.Context, t *testing.T, open func() *Subject) {
		enabled(t, features.AllowUnsafeMalformedObjectDeletion)
		storagetesting.RunTestWatchWithUnsafeDelete(ctx, t, open())
	},
	"RunTestWatchContextCancel":                 plain(storagetesting.RunTestWatchContextCancel),
	"RunTestWatcherTimeout":                     plain(storagetesting.RunTestWatcherTimeout),
	"RunTestWatchDeleteEventObjectHaveLatestRV": plain(storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV),
	"RunTestWatchInitializationSignal":          plain(storagetesting.RunTestWatchInitializationSignal),
	"RunOptionalTestProgressNotify": func(ctx context.Context, t *testing.T, open func() *Subject) {
		s := open()
		storagetesting.RunOptionalTestProgressNotify(ctx, t, s, s.Increase)
	},
	"RunTestClusterScopedWatch":   plain(storagetesting.RunTestClusterScopedWatch),
	"RunTestNamespaceScopedWatch": plain(storagetesting.RunTestNamespaceScopedWatch),
	"RunTestWatchDispatchBookmarkEvents": func(ctx context.Context, t *testing.T, open func() *Subject) {
		s := open()
		storagetesting.RunTestWatchDispatchBookmarkEvents(ctx, t, s, s.Cached)
	},
	"RunTestOptionalWatchBookmarksWithCorrectResourceVersion": plain(storagetesting.RunTestOptionalWatchBookmarksWithCorrectResourceVersion),
	"RunSendInitialEventsBackwardCompatibility":               plain(storagetesting.RunSendInitialEventsBackwardCompatibility),
	"RunWatchSemantics":                     plain(storagetesting.RunWatchSemantics),
	"RunWatchSemanticInitialEventsExtended": plain(storagetesting.RunWatchSemanticInitialEventsExtended),
	"RunWatchListMatchSingle":               plain(storagetesting.RunWatchListMatchSingle),
	"RunWatchErrorIsBlockingFurtherEvents":  transformed(storagetesting.RunWatchErrorIsBlockingFurtherEvents),
}

// Transformer is a transformer that tests change, also while a cache reads by it.
type Transformer struct {
	mu  sync.RWMutex
	now value.Transformer
}

// NewTransformer returns one that puts a prefix before what is stored.
func NewTransformer() *Transformer { return &Transformer{now: newPrefix()} }

func newPrefix() *storagetesting.PrefixTransformer {
	return storagetesting.NewPrefixTransformer([]byte("test!"), false)
}

// TransformFromStorage implements value.Transformer.
func (t *Transformer) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool, error) {
	return t.current().TransformFromStorage(ctx, data, dataCtx)
}

// TransformToStorage implements value.Transformer.
func (t *Transformer) TransformToStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, error) {
	return t.current().TransformToStorage(ctx, data, dataCtx)
}

func (t *Transformer) current() value.Transformer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.now
}

func (t *Transformer) set(now value.Transformer) (before value.Transformer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, t.now = t.now, now
	return before
}

// Update is Subject.Transform.
func (t *Transformer) Update(modify storagetesting.PrefixTransformerModifier) func() {
	before := t.set(modify(newPrefix()))
	return func() { t.set(before) }
}

// Corrupt is Subject.Corrupt.
func (t *Transformer) Corrupt() func() {
	before := t.current()
	t.set(unreadable{before})
	return func() { t.set(before) }
}

var errUnreadable = errors.New("bits flipped")

type unreadable struct{ value.Transformer }

// TransformFromStorage implements value.Transformer.
func (unreadable) TransformFromStorage(context.Context, []byte, value.Context) ([]byte, bool, error) {
	return nil, false, errUnreadable
}

// Attrs are what pods are selected by.
func Attrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	pod := obj.(*example.Pod)
	return pod.Labels, fields.Set{"metadata.name": pod.Name, "metadata.namespace": pod.Namespace, "spec.nodeName": pod.Spec.NodeName}, nil
}

// CheckPayload looks whether a pod was stored without what is not stored.
func CheckPayload(t *testing.T, data []byte) {
	t.Helper()
	obj, err := runtime.Decode(Codec, data)
	if err != nil {
		t.Fatalf("what is stored cannot be read: %v\n%s", err, data)
	}
	if pod, ok := obj.(*example.Pod); !ok || pod.ResourceVersion != "" {
		t.Errorf("what is stored is %+v", obj)
	}
}

// Compact makes etcd forget what is older than a version.
func Compact(ctx context.Context, t *testing.T, client *clientv3.Client, version string) {
	t.Helper()
	revision, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	// It wants to know how often etcd was compacted before, and says so when it was not told right.
	times, _, compacted, err := etcd3.Compact(ctx, client, 0, revision)
	if err == nil && compacted != revision {
		_, _, compacted, err = etcd3.Compact(ctx, client, times, revision)
	}
	if err != nil || compacted != revision {
		t.Fatalf("etcd is compacted to %d, not %d: %v", compacted, revision, err)
	}
}
