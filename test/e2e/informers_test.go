//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/client/versioned"
)

// informersRunFor is how long informers are watched, unless E2E_INFORMERS_FOR says otherwise.
const informersRunFor = time.Minute

// observed is an informer and what it heard.
type observed struct {
	name     string
	informer cache.SharedIndexInformer

	mu       sync.Mutex
	requests map[string]int
	// last is what was last heard of an object.
	last     map[types.UID]heard
	events   map[watch.EventType]int
	problems []string
}

type heard struct {
	version uint64
	content string
}

// counted returns the configuration by whose requests the informer's lists and watches are counted.
func (o *observed) counted(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counting{o, next} })
	return config
}

type counting struct {
	o    *observed
	next http.RoundTripper
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	query := r.URL.Query()
	kind := "list"
	switch {
	case query.Get("sendInitialEvents") == "true":
		kind = "watch with initial events"
	case query.Has("watch"):
		kind = "watch"
	}
	if r.Method == http.MethodGet && len(query) > 0 {
		c.o.mu.Lock()
		c.o.requests[kind]++
		c.o.mu.Unlock()
	}
	return c.next.RoundTrip(r)
}

// content is what must be the same in two objects of the same version: all but the requests of the moment, which lists show and
// watches do not.
func content(obj any) string {
	if app, ok := obj.(*v1alpha1.HTTPApp); ok {
		app = app.DeepCopy()
		app.TypeMeta = metav1.TypeMeta{}
		app.Status.Traffic = nil
		obj = app
	}
	data, err := json.Marshal(obj)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func (o *observed) hear(kind watch.EventType, obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		panic(err)
	}
	version, err := strconv.ParseUint(m.GetResourceVersion(), 10, 64)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events[kind]++
	problem := func(format string, args ...any) {
		o.problems = append(o.problems, fmt.Sprintf("%s %s: %s", kind, m.GetName(), fmt.Sprintf(format, args...)))
	}
	if err != nil {
		problem("%v", err)
	}
	now, before := heard{version, content(obj)}, o.last[m.GetUID()]
	switch {
	case now.version < before.version:
		problem("version %d after %d", now.version, before.version)
	case now.version == before.version && kind != watch.Deleted:
		problem("version %d twice, the same content: %t", now.version, now.content == before.content)
	case kind == watch.Modified && before.version == 0:
		problem("changed without having been added")
	}
	o.last[m.GetUID()] = now
}

// Informers are what the garbage collector, quota, KEDA and everybody's controllers stand on. What requests do to an app is not
// their business: they hear of what is stored, each change once and in order, and are never sent back to the start.
func TestInformersHearEveryChangeOnceWhileCountsMove(t *testing.T) {
	duration := informersRunFor
	if s := os.Getenv("E2E_INFORMERS_FOR"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	u := newUser(t)
	u.deploy("moving", "--scale", "1..1")
	u.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "httpapp/moving", "--timeout=2m")
	for i := range 5 {
		u.apply(manifest(fmt.Sprintf("still-%d", i), container, idle))
	}
	all := u.informers()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	for _, o := range all {
		if o.name != controllerRuntime { // whose cache runs it
			running.Go(func() { o.informer.RunWithContext(ctx) })
		}
		u.eventually(soon, o.name+" synced", func() error {
			if !o.informer.HasSynced() {
				return fmt.Errorf("it is not")
			}
			return nil
		})
	}

	stop := u.load("moving", 3, "/?delay=200ms")
	counts := map[string]bool{}
	for round, end := 0, time.Now().Add(duration); time.Now().Before(end); round++ {
		name := fmt.Sprintf("churn-%d", round)
		u.apply(manifest(name, container, idle))
		u.kubectl("label", "httpapp", "still-1", fmt.Sprintf("round=r%d", round), "--overwrite")
		u.kubectl("patch", "httpapp", "still-2", "--type=merge", "--patch", fmt.Sprintf(`{"spec":{"scaling":{"maxReplicas":%d}}}`, 2+round%5))
		if round > 0 {
			u.kubectl("delete", "httpapp", fmt.Sprintf("churn-%d", round-1), "--wait=false")
		}
		counts[u.kubectl("get", "httpapp", "moving", "-o", "jsonpath={.status.traffic}")] = true
	}
	stop()
	if len(counts) < 3 {
		t.Errorf("the counts did not move: %v", counts)
	}

	client, err := versioned.NewForConfig(administrator(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		u.eventually(soon, o.name+" with what a fresh list has", func() error {
			list, err := client.AppsV1alpha1().HTTPApps(u.namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				return err
			}
			return o.equals(list.Items)
		})
		o.check(u)
	}
}

// equals compares the informer's cache with a list.
func (o *observed) equals(items []v1alpha1.HTTPApp) error {
	var want, got []string
	for i := range items {
		want = append(want, items[i].Name+" "+items[i].ResourceVersion)
	}
	for _, obj := range o.informer.GetStore().List() {
		m, err := meta.Accessor(obj)
		if err != nil {
			return err
		}
		got = append(got, m.GetName()+" "+m.GetResourceVersion())
		for i := range items {
			if app, ok := obj.(*v1alpha1.HTTPApp); ok && app.UID == items[i].UID && app.ResourceVersion == items[i].ResourceVersion && content(app) != content(&items[i]) {
				return fmt.Errorf("%s has other content:\n%s\n%s", app.Name, content(app), content(&items[i]))
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		return fmt.Errorf("it has %v, and the list %v", got, want)
	}
	return nil
}

func (o *observed) check(u user) {
	u.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	u.Logf("%s: requests %v, events %v", o.name, o.requests, o.events)
	if begun := o.requests["list"] + o.requests["watch with initial events"]; begun != 1 {
		u.Errorf("%s began %d times: %v", o.name, begun, o.requests)
	}
	if o.events[watch.Added] == 0 || o.events[watch.Modified] == 0 || o.events[watch.Deleted] == 0 {
		u.Errorf("%s heard only %v", o.name, o.events)
	}
	for i, p := range o.problems {
		if i == 5 {
			u.Errorf("%s: … and %d more", o.name, len(o.problems)-i)
			break
		}
		u.Errorf("%s: %s", o.name, p)
	}
}

const controllerRuntime = "controller-runtime's cache"

// listsFirst is a ListerWatcher of those who do not know of initial events in watches.
type listsFirst struct{ *cache.ListWatch }

func (listsFirst) IsWatchListSemanticsUnSupported() bool { return true }

// informers are those of the user's namespace, of every kind that there is.
func (u user) informers() []*observed {
	u.Helper()
	ctrllog.SetLogger(klog.Background())
	config := administrator(u.T)
	var all []*observed
	observe := func(name string, informer func(*rest.Config) (cache.SharedIndexInformer, error)) {
		o := &observed{name: name, requests: map[string]int{}, last: map[types.UID]heard{}, events: map[watch.EventType]int{}}
		var err error
		if o.informer, err = informer(o.counted(config)); err != nil {
			u.Fatal(err)
		}
		if _, err := o.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { o.hear(watch.Added, obj) },
			UpdateFunc: func(_, obj any) { o.hear(watch.Modified, obj) },
			DeleteFunc: func(obj any) { o.hear(watch.Deleted, obj) },
		}); err != nil {
			u.Fatal(err)
		}
		all = append(all, o)
	}
	typed := func(wrap func(*cache.ListWatch, any) cache.ListerWatcher) func(*rest.Config) (cache.SharedIndexInformer, error) {
		return func(config *rest.Config) (cache.SharedIndexInformer, error) {
			client, err := versioned.NewForConfig(config)
			if err != nil {
				return nil, err
			}
			apps := client.AppsV1alpha1().HTTPApps(u.namespace)
			return cache.NewSharedIndexInformer(wrap(&cache.ListWatch{
				ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return apps.List(ctx, o) },
				WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
					return apps.Watch(ctx, o)
				},
			}, client), &v1alpha1.HTTPApp{}, 0, cache.Indexers{}), nil
		}
	}
	observe("a reflector that begins with a watch", typed(func(lw *cache.ListWatch, client any) cache.ListerWatcher {
		return cache.ToListWatcherWithWatchListSemantics(lw, client)
	}))
	observe("a reflector that begins with a list", typed(func(lw *cache.ListWatch, _ any) cache.ListerWatcher { return listsFirst{lw} }))
	observe("a metadata informer", func(config *rest.Config) (cache.SharedIndexInformer, error) {
		client, err := metadata.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		return metadatainformer.NewFilteredMetadataInformer(client, v1alpha1.SchemeGroupVersion.WithResource("httpapps"), u.namespace, 0, cache.Indexers{}, nil).Informer(), nil
	})
	observe(controllerRuntime, func(config *rest.Config) (cache.SharedIndexInformer, error) {
		scheme := runtime.NewScheme()
		if err := v1alpha1.AddToScheme(scheme); err != nil {
			return nil, err
		}
		c, err := ctrlcache.New(config, ctrlcache.Options{Scheme: scheme, DefaultFieldSelector: fields.OneTermEqualSelector("metadata.namespace", u.namespace)})
		if err != nil {
			return nil, err
		}
		go func() {
			if err := c.Start(u.Context()); err != nil {
				u.Error(err)
			}
		}()
		informer, err := c.GetInformer(u.Context(), &v1alpha1.HTTPApp{}, ctrlcache.BlockUntilSynced(false))
		if err != nil {
			return nil, err
		}
		shared, ok := informer.(cache.SharedIndexInformer)
		if !ok {
			return nil, fmt.Errorf("its informer is %T", informer)
		}
		return shared, nil
	})
	return all
}
