//go:build e2e

package recordstore

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"

	"github.com/kedahttp/kedahttp/apiserver/storage/conformance"
	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

func TestWatchesShareOneOfTheHost(t *testing.T) {
	h := newHost(t)
	create := func(s *Store, name string) *example.Pod {
		t.Helper()
		pod := &example.Pod{}
		if err := s.Create(t.Context(), "/pods/ns/"+name, &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}, pod, 0); err != nil {
			t.Fatal(err)
		}
		return pod
	}
	codec := &transformed{Codec: conformance.Codec, transformer: conformance.NewTransformer()}
	before, err := New(h.storeConfig(codec))
	if err != nil {
		t.Fatal(err)
	}
	early := create(before, "early")
	create(before, "late")
	s := h.shared(t, codec)
	idle := h.watches(t)

	follow := func(opts storage.ListOptions) watch.Interface {
		t.Helper()
		opts.Recursive, opts.Predicate = true, storage.Everything
		w, err := s.Watch(t.Context(), "/pods", opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		return w
	}
	hears := func(w watch.Interface, name string) {
		t.Helper()
		var e watch.Event
		select {
		case e = <-w.ResultChan():
		case <-time.After(30 * time.Second):
			t.Fatalf("a watch tells nothing of %s", name)
		}
		if shared, ok := e.Object.(runtime.CacheableObject); ok {
			e.Object = shared.GetObject()
		}
		if pod, ok := e.Object.(*example.Pod); !ok || e.Type != watch.Added || pod.Name != name {
			t.Errorf("%s %v instead of %s", e.Type, e.Object, name)
		}
	}
	many := []watch.Interface{}
	version := s.Informer().LastSyncResourceVersion()
	for range 20 {
		many = append(many, follow(storage.ListOptions{ResourceVersion: version}))
	}
	if now := h.watches(t); now != idle {
		t.Errorf("the host has %d watches of records with 20 of ours, %d without", now, idle)
	}
	// The host knows what was before the cacher.
	old := follow(storage.ListOptions{ResourceVersion: early.ResourceVersion})
	hears(old, "late")
	if now := h.watches(t); now != idle+1 {
		t.Errorf("the host has %d watches of records with one from before, %d without", now, idle)
	}
	present := follow(storage.ListOptions{ResourceVersion: "0"})
	hears(present, "early")
	hears(present, "late")

	create(s.Store, "new")
	for _, w := range append(many, old, present) {
		hears(w, "new")
	}
}

// watches is how many watches of records the host serves.
func (h *host) watches(t *testing.T) int {
	t.Helper()
	of := regexp.MustCompile(fmt.Sprintf(`apiserver_longrunning_requests\{[^}]*resource=%q[^}]*verb="WATCH"[^}]*\} (\d+)`, record.Resource.Resource))
	n := 0
	h.Await(t, "the host to tell of its watches", func(ctx context.Context) bool {
		data, err := h.Records.Get().AbsPath("/metrics").Do(ctx).Raw()
		match := of.FindSubmatch(data)
		if err != nil || match == nil {
			return false
		}
		n, err = strconv.Atoi(string(match[1]))
		return err == nil
	})
	return n
}
