package backend

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/endpoints"
	"github.com/kedahttp/kedahttp/interceptor/host/hosttest"
	"github.com/kedahttp/kedahttp/interceptor/queue"
	"github.com/kedahttp/kedahttp/interceptor/recall"
)

var errAway = errors.New("the API is away")

// cluster is an API that can be away.
type cluster struct {
	apps   *fcache.FakeControllerSource
	client *fake.Clientset
	away   atomic.Bool
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{apps: fcache.NewFakeControllerSource(), client: fake.NewClientset()}
	c.client.PrependReactor("list", "endpointslices", func(clienttesting.Action) (bool, runtime.Object, error) {
		return c.away.Load(), nil, errAway
	})
	c.client.PrependWatchReactor("endpointslices", func(clienttesting.Action) (bool, watch.Interface, error) {
		return c.away.Load(), nil, errAway
	})
	return c
}

func (c *cluster) List(opts metav1.ListOptions) (runtime.Object, error) {
	if c.away.Load() {
		return nil, errAway
	}
	return c.apps.List(opts)
}

func (c *cluster) Watch(opts metav1.ListOptions) (watch.Interface, error) {
	if c.away.Load() {
		return nil, errAway
	}
	return c.apps.Watch(opts)
}

func (c *cluster) app(name string) *v1alpha1.HTTPApp {
	a := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), ResourceVersion: "1", Generation: 1},
		Spec:       v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{{Hosts: []string{name + ".test"}}}},
	}
	c.apps.Add(a)
	return a
}

// pod puts an address in the place of those of an app.
func (c *cluster) pod(t *testing.T, app, address string) {
	slices := c.client.DiscoveryV1().EndpointSlices("default")
	_ = slices.Delete(t.Context(), app+"-1", metav1.DeleteOptions{})
	_, err := slices.Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: app + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: app}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: ptr.To[int32](8080)}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// start runs a directory as a new process would, until it is stopped.
func (c *cluster) start(t *testing.T, known *recall.File) (d *Directory, stop func()) {
	slices, err := endpoints.NewSlices(hosttest.EndpointSlices(c.client, metav1.NamespaceAll, endpoints.OfServices))
	require.NoError(t, err)
	d = NewDirectory(Config{
		Apps: cache.NewSharedIndexInformer(c, &v1alpha1.HTTPApp{}, 0, cache.Indexers{}), Slices: slices, Recall: known,
		Counters: queue.NewCounters(clock.RealClock{}), Tallies: noTallies{}, Clock: clock.RealClock{},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-ended)
		}
	}
	t.Cleanup(stop)
	return d, stop
}

// leadsTo waits until requests of an app go to an address; to none, when it is empty.
func leadsTo(t *testing.T, d *Directory, app, address string) {
	t.Helper()
	require.Eventually(t, func() bool {
		if d.Table() == nil {
			return false
		}
		route, ok := d.Table().Match(app+".test", "/", nil)
		if !ok {
			return address == ""
		}
		pod := route.Pick(nil)
		if pod == nil {
			return false
		}
		pod.Release()
		return pod.Address == address+":8080"
	}, patience, time.Millisecond)
}

func TestAStartWhileTheAPIIsAwayServesWithWhatWasKnown(t *testing.T) {
	c := newCluster(t)
	known := &recall.File{Path: filepath.Join(t.TempDir(), "known.json"), Patience: 50 * time.Millisecond}
	shop := c.app("shop")
	c.app("cafe")
	c.pod(t, "shop", "10.0.0.1")
	c.pod(t, "cafe", "10.0.0.2")
	first, stop := c.start(t, known)
	leadsTo(t, first, "shop", "10.0.0.1")
	require.Eventually(t, func() bool {
		k, err := known.Read()
		return err == nil && k != nil && len(k.Apps) == 2 && len(k.Slices) == 2
	}, patience, time.Millisecond)
	stop()

	c.away.Store(true)
	c.apps.Delete(shop)
	c.app("late")
	c.pod(t, "cafe", "10.0.0.3")
	c.pod(t, "late", "10.0.0.4")
	second, stop := c.start(t, known)
	leadsTo(t, second, "shop", "10.0.0.1")
	leadsTo(t, second, "cafe", "10.0.0.2")
	leadsTo(t, second, "late", "")
	require.True(t, second.Ready())

	c.away.Store(false)
	leadsTo(t, second, "shop", "")
	leadsTo(t, second, "cafe", "10.0.0.3")
	leadsTo(t, second, "late", "10.0.0.4")
	stop()

	// With the API there, what was known is nothing that anybody is served by.
	known.Patience = patience
	c.pod(t, "cafe", "10.0.0.5")
	third, _ := c.start(t, known)
	require.Eventually(t, third.Ready, patience, time.Millisecond)
	route, _ := third.Table().Match("cafe.test", "/", nil)
	require.Equal(t, "10.0.0.5:8080", route.Pick(nil).Address)
}

func TestAStartWithoutTheAPIAndWithNothingKnownWaits(t *testing.T) {
	c := newCluster(t)
	c.away.Store(true)
	c.app("shop")
	c.pod(t, "shop", "10.0.0.1")
	d, _ := c.start(t, &recall.File{Path: filepath.Join(t.TempDir(), "known.json")})
	require.Never(t, d.Ready, 200*time.Millisecond, 10*time.Millisecond)
	c.away.Store(false)
	leadsTo(t, d, "shop", "10.0.0.1")
}
