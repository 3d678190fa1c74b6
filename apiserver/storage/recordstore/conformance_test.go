//go:build e2e

package recordstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// The suite of k8s.io/apiserver on the cluster of $KUBECONFIG, in records of a group of its own:
//
//	go test -tags e2e ./apiserver/storage/recordstore
func TestStorageConformance(t *testing.T) {
	host := newHost(t)
	for name, run := range map[string]func(context.Context, *testing.T, storage.Interface){
		"Create": func(ctx context.Context, t *testing.T, s storage.Interface) {
			storagetesting.RunTestCreate(ctx, t, s, func(context.Context, *testing.T, string) {})
		},
		"CreateWithKeyExist":                      storagetesting.RunTestCreateWithKeyExist,
		"Get":                                     storagetesting.RunTestGet,
		"UnconditionalDelete":                     storagetesting.RunTestUnconditionalDelete,
		"ConditionalDelete":                       storagetesting.RunTestConditionalDelete,
		"DeleteWithSuggestion":                    storagetesting.RunTestDeleteWithSuggestion,
		"DeleteWithSuggestionAndConflict":         storagetesting.RunTestDeleteWithSuggestionAndConflict,
		"DeleteWithConflict":                      storagetesting.RunTestDeleteWithConflict,
		"DeleteWithSuggestionOfDeletedObject":     storagetesting.RunTestDeleteWithSuggestionOfDeletedObject,
		"ValidateDeletionWithSuggestion":          storagetesting.RunTestValidateDeletionWithSuggestion,
		"ValidateDeletionWithOnlySuggestionValid": storagetesting.RunTestValidateDeletionWithOnlySuggestionValid,
		"PreconditionalDeleteWithSuggestion":      storagetesting.RunTestPreconditionalDeleteWithSuggestion,
		"PreconditionalDeleteWithOnlySuggestion":  storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass,
		"ListPaging":                              storagetesting.RunTestListPaging,
		"ListContinuation": func(ctx context.Context, t *testing.T, s storage.Interface) {
			storagetesting.RunTestListContinuation(ctx, t, s, func(*testing.T, uint64, uint64) {})
		},
		"NamespaceScopedList":                       storagetesting.RunTestNamespaceScopedList,
		"GuaranteedUpdateWithConflict":              storagetesting.RunTestGuaranteedUpdateWithConflict,
		"GuaranteedUpdateWithSuggestionAndConflict": storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict,
		"GetListNonRecursive": func(ctx context.Context, t *testing.T, s storage.Interface) {
			storagetesting.RunTestGetListNonRecursive(ctx, t, host.increaseVersion, s)
		},
		"Watch":                             storagetesting.RunTestWatch,
		"DeleteTriggerWatch":                storagetesting.RunTestDeleteTriggerWatch,
		"WatchFromNonZero":                  storagetesting.RunTestWatchFromNonZero,
		"DelayedWatchDelivery":              storagetesting.RunTestDelayedWatchDelivery,
		"WatchContextCancel":                storagetesting.RunTestWatchContextCancel,
		"WatcherTimeout":                    storagetesting.RunTestWatcherTimeout,
		"WatchDeleteEventObjectHasLatestRV": storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV,
		"WatchInitializationSignal":         storagetesting.RunTestWatchInitializationSignal,
		"NamespaceScopedWatch":              storagetesting.RunTestNamespaceScopedWatch,
		"WatchDispatchBookmarkEvents": func(ctx context.Context, t *testing.T, s storage.Interface) {
			storagetesting.RunTestWatchDispatchBookmarkEvents(ctx, t, s, true)
		},
		"OptionalWatchBookmarks":             storagetesting.RunTestOptionalWatchBookmarksWithCorrectResourceVersion,
		"WatchSemantics":                     storagetesting.RunWatchSemantics,
		"WatchSemanticInitialEventsExtended": storagetesting.RunWatchSemanticInitialEventsExtended,
		"WatchListMatchSingle":               storagetesting.RunWatchListMatchSingle,
		"Stats": func(ctx context.Context, t *testing.T, s storage.Interface) {
			storagetesting.RunTestStats(ctx, t, s, codec, nil, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if why, skipped := skips[name]; skipped {
				t.Skip(why)
			}
			run(t.Context(), t, host.emptyStore(t))
		})
	}
}

// skips are the tests that do not hold here, and why.
var skips = map[string]string{
	"Get":                               "it sets a time to live; records do not expire, and the store refuses to pretend",
	"Watch":                             fieldSelectors,
	"NamespaceScopedList":               fieldSelectors,
	"NamespaceScopedWatch":              fieldSelectors,
	"UnconditionalDelete":               deletedVersion,
	"ConditionalDelete":                 deletedVersion,
	"WatchDeleteEventObjectHasLatestRV": deletedVersion,
	"WatchSemantics":                    "it takes version 1 to be recent; the host shares its versions among all resources and has forgotten it",
	"GuaranteedUpdateWithConflict":      "it changes the object's name; an object whose name is not its record's is refused",
	"OptionalWatchBookmarks":            "it wants a bookmark within three seconds; the host sends them in its own time",
	"Stats":                             "its objects have no namespace",
}

const (
	fieldSelectors = "it selects by spec.nodeName; the store has the selectors that the host evaluates, which are by name and namespace"
	deletedVersion = "the host does not say at which version it deleted a record, so the returned object has the last version before"
)

var (
	testScheme = runtime.NewScheme()
	codec      runtime.Codec
)

func init() {
	metav1.AddToGroupVersion(testScheme, metav1.SchemeGroupVersion)
	utilruntime.Must(example.AddToScheme(testScheme))
	utilruntime.Must(examplev1.AddToScheme(testScheme))
	codec = serializer.NewCodecFactory(testScheme).LegacyCodec(examplev1.SchemeGroupVersion)
}

// host is a cluster with records of a group of the test's own.
type host struct {
	client  kubernetes.Interface
	records *rest.RESTClient
}

func newHost(t *testing.T) *host {
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		t.Fatal("KUBECONFIG must name a cluster")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	h := &host{client: kubernetes.NewForConfigOrDie(config)}
	group := fmt.Sprintf("t%x.conformance.kedahttp.test", time.Now().UnixNano())
	gv := schema.GroupVersion{Group: group, Version: "v1"}

	crds := apiextensions.NewForConfigOrDie(config).CustomResourceDefinitions()
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: record.Resource.Resource + "." + group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group,
			Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: record.Resource.Resource, Singular: "httpapprecord", Kind: "HTTPAppRecord", ListKind: "HTTPAppRecordList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"object": {Type: "object", XPreserveUnknownFields: ptr.To(true), XMapType: ptr.To("atomic")},
					},
				}},
			}},
		},
	}
	if _, err := crds.Create(t.Context(), crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = crds.Delete(context.Background(), crd.Name, metav1.DeleteOptions{}) })

	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(gv, &record.HTTPAppRecord{}, &record.HTTPAppRecordList{})
	metav1.AddToGroupVersion(scheme, gv)
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath = &gv, "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &namespaces{next: next, client: h.client} })
	if h.records, err = rest.RESTClientFor(config); err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		return h.records.Get().Resource(record.Resource.Resource).Do(ctx).Error() == nil, nil
	})
	if err != nil {
		t.Fatalf("the records are not served: %v", err)
	}
	return h
}

// namespaces makes the namespaces that records are created in: the suite takes them for parts of keys.
type namespaces struct {
	next   http.RoundTripper
	client kubernetes.Interface
	made   sync.Map
}

func (n *namespaces) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		_, rest, _ := strings.Cut(r.URL.Path, "/namespaces/")
		name, _, _ := strings.Cut(rest, "/")
		if _, there := n.made.Load(name); !there {
			_, err := n.client.CoreV1().Namespaces().Create(r.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return nil, errors.Join(errors.New("making the namespace"), err)
			}
			n.made.Store(name, true)
		}
	}
	return n.next.RoundTrip(r)
}

// emptyStore returns a store without objects.
func (h *host) emptyStore(t *testing.T) *Store {
	t.Helper()
	list := &record.HTTPAppRecordList{}
	if err := h.records.Get().Resource(record.Resource.Resource).Do(t.Context()).Into(list); err != nil {
		t.Fatal(err)
	}
	for _, r := range list.Items {
		err := h.records.Delete().Namespace(r.Namespace).Resource(record.Resource.Resource).Name(r.Name).Do(t.Context()).Error()
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	return New(Config{
		Client:   h.records,
		Resource: schema.GroupResource{Resource: "pods"},
		Prefix:   "/pods",
		Codec:    codec,
		New:      func() runtime.Object { return &example.Pod{} },
	})
}

// increaseVersion makes the host's version greater and returns it.
func (h *host) increaseVersion(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	s := New(Config{Client: h.records, Resource: schema.GroupResource{Resource: "pods"}, Prefix: "/pods", Codec: codec, New: func() runtime.Object { return &example.Pod{} }})
	pod := &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "increase", Name: fmt.Sprintf("x%x", time.Now().UnixNano())}}
	out := &example.Pod{}
	key := "/pods/increase/" + pod.Name
	if err := s.Create(ctx, key, pod, out, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, key, &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	version, err := s.GetCurrentResourceVersion(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return int64(version)
}
