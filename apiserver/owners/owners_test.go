package owners

import (
	"context"
	"slices"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func app(name string, made int64, host string) *v1alpha1.HTTPApp {
	return &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.Unix(made, 0)},
		Spec:       v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{{Hosts: []string{host}}}},
	}
}

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "shop", Name: name}
}

func TestWhoHearsOfAnAppFindsTheIndexAsItIsNow(t *testing.T) {
	source := cachetesting.NewFakeControllerSource()
	apps := cache.NewSharedIndexInformer(source, &v1alpha1.HTTPApp{}, 0, cache.Indexers{})
	o, err := New(apps)
	if err != nil {
		t.Fatal(err)
	}
	type told struct {
		app  types.NamespacedName
		owns bool
	}
	heard := make(chan told, 100)
	end := o.Subscribe(func(app types.NamespacedName) { heard <- told{app, o.Owns(app)} })
	expect := func(want ...told) {
		t.Helper()
		got := make([]told, 0, len(want))
		for range want {
			got = append(got, <-heard)
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("told are %v, not %v", got, want)
			}
		}
	}
	source.Add(app("young", 2, "a.example.com"))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { apps.RunWithContext(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })

	expect(told{named("young"), true})
	if !cache.WaitForCacheSync(ctx.Done(), o.HasSynced) {
		t.Fatal("it does not come to know the apps")
	}
	source.Add(app("old", 1, "a.example.com"))
	expect(told{named("old"), true}, told{named("young"), false})
	if c := o.Conflicts(named("young")); len(c) != 1 || c[0].Owner != named("old") {
		t.Errorf("the conflicts are %v", c)
	}
	source.Modify(app("old", 1, "b.example.com"))
	expect(told{named("old"), true}, told{named("young"), true})
	source.Modify(app("old", 1, "a.example.com"))
	expect(told{named("old"), true}, told{named("young"), false})
	source.Delete(app("old", 1, "a.example.com"))
	expect(told{named("young"), true})

	other := make(chan told, 100)
	o.Subscribe(func(app types.NamespacedName) { other <- told{app, o.Owns(app)} })
	end()
	source.Modify(app("young", 2, "c.example.com"))
	if got := <-other; got.app != named("young") {
		t.Errorf("told is %v", got)
	}
	if len(heard) > 0 {
		t.Error("who ended the subscription is still told")
	}
	if owner := o.HostOwner("c.example.com"); owner == nil || owner.Name != "young" {
		t.Errorf("the host is that of %v", owner)
	}
	if taken := o.Taken(app("next", 3, "c.example.com")); len(taken) != 1 || taken[0].Owner != named("young") {
		t.Errorf("what is taken is %v", taken)
	}
}
