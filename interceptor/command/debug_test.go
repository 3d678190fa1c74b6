package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/endpoints"
	"github.com/kedahttp/kedahttp/interceptor/proxy"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// withApps is an interceptor that knows so many apps.
func withApps(t *testing.T, n int) *interceptor {
	apps := fcache.NewFakeControllerSource()
	for n := range n {
		name := fmt.Sprintf("app-%05d", n)
		apps.Add(&v1alpha1.HTTPApp{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), ResourceVersion: "1"},
			Spec:       v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{{Hosts: []string{name + ".test"}}}},
		})
	}
	i := knowing(t, apps, fcache.NewFakeControllerSource())
	require.Eventually(t, i.directory.Ready, patience, time.Millisecond)
	return i
}

// knowing is an interceptor that knows what it is told of apps and pods.
func knowing(t *testing.T, apps, pods cache.ListerWatcher) *interceptor {
	slices, err := endpoints.NewSlices(pods)
	require.NoError(t, err)
	counters := queue.NewCounters(clock.RealClock{})
	i := &interceptor{options: &Options{}, registry: prometheus.NewRegistry(), counters: counters, ending: make(chan struct{})}
	i.directory = backend.NewDirectory(backend.Config{
		Apps: cache.NewSharedIndexInformer(apps, &v1alpha1.HTTPApp{}, 0, cache.Indexers{}), Slices: slices,
		Counters: counters, Tallies: proxy.NewMetrics(i.registry, counters), Clock: clock.RealClock{},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- i.directory.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return i
}

// late has nothing listed before it is known.
type late struct {
	*fcache.FakeControllerSource
	known chan struct{}
}

func (l late) List(options metav1.ListOptions) (runtime.Object, error) {
	<-l.known
	return l.FakeControllerSource.List(options)
}

func TestItIsReadyOnceRoutesAndPodsAreKnown(t *testing.T) {
	for what, podsFirst := range map[string]bool{"routes first": false, "pods first": true} {
		t.Run(what, func(t *testing.T) {
			apps := late{fcache.NewFakeControllerSource(), make(chan struct{})}
			pods := late{fcache.NewFakeControllerSource(), make(chan struct{})}
			i := knowing(t, apps, pods)
			h := i.admin()
			notReady := func() {
				t.Helper()
				require.Equal(t, http.StatusServiceUnavailable, ask(h, "/readyz").Code)
				require.Equal(t, http.StatusOK, ask(h, "/livez").Code)
			}
			notReady()
			first, second, known := apps, pods, i.directory.Apps.HasSynced
			if podsFirst {
				first, second, known = pods, apps, i.directory.Slices.Informer().HasSynced
			}
			close(first.known)
			require.Eventually(t, known, patience, time.Millisecond)
			notReady()
			close(second.known)
			require.Eventually(t, func() bool { return ask(h, "/readyz").Code == http.StatusOK }, patience, time.Millisecond)
		})
	}
}

func ask(h http.Handler, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:4711", "localhost:9901"
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestTheDumpHasEveryAppOrTheOneThatIsNamed(t *testing.T) {
	const many = 10_000
	h := withApps(t, many).admin()
	var said struct {
		Ready bool
		Apps  []backend.Description
	}
	read := func(path string) {
		t.Helper()
		w := ask(h, path)
		require.Equal(t, http.StatusOK, w.Code)
		said.Apps = nil
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &said))
		require.True(t, said.Ready)
	}
	read("/debug/routes")
	require.Len(t, said.Apps, many)
	for i, app := range said.Apps {
		require.Equal(t, fmt.Sprintf("app-%05d", i), app.Name, "in the order of their names")
	}
	read("/debug/routes?app=default/app-00077")
	require.Len(t, said.Apps, 1)
	require.Equal(t, []backend.RouteDescription{{Host: "app-00077.test", PathPrefix: "/"}}, said.Apps[0].Routes)
	read("/debug/routes?app=default/nobody")
	require.Empty(t, said.Apps)
	require.Equal(t, http.StatusBadRequest, ask(h, "/debug/routes?app=nobody").Code)
}

func TestStrangersAreToldNothingThatIsForDebugging(t *testing.T) {
	h := withApps(t, 1).admin()
	from := func(address string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = address } }
	at := func(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }
	for _, path := range []string{"/debug/routes", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap"} {
		for _, stranger := range []func(*http.Request){
			from("10.1.2.3:4711"), from("[fd00::1]:4711"), from("127.0.0.6:4711"), from("nonsense"),
			at("rebound.example.com"), at("10.1.2.4:9901"), at(""),
		} {
			w := ask(h, path, stranger)
			require.Equal(t, http.StatusForbidden, w.Code, path)
			require.NotContains(t, w.Body.String(), "app-")
		}
	}
	for _, known := range []func(*http.Request){from("127.0.0.1:1"), from("[::1]:1"), from("[::ffff:127.0.0.1]:1"), at("127.0.0.1:9901"), at("[::1]:9901"), at("localhost")} {
		require.Equal(t, http.StatusOK, ask(h, "/debug/routes", known).Code)
	}
	require.Equal(t, http.StatusOK, ask(h, "/readyz", from("10.1.2.3:4711")).Code, "the kubelet asks from elsewhere")
	require.Equal(t, http.StatusOK, ask(h, "/metrics", from("10.1.2.3:4711")).Code)
}
