package proxy

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// change changes what is said of a pod in its EndpointSlice.
func (w *world) change(app, address string, f func(*discoveryv1.Endpoint)) {
	w.t.Helper()
	_, port, err := net.SplitHostPort(address)
	require.NoError(w.t, err)
	slices := w.client.DiscoveryV1().EndpointSlices("default")
	slice, err := slices.Get(w.t.Context(), app+"-"+port, metav1.GetOptions{})
	require.NoError(w.t, err)
	f(&slice.Endpoints[0])
	_, err = slices.Update(w.t.Context(), slice, metav1.UpdateOptions{})
	require.NoError(w.t, err)
}

func TestThePodInTheSameZoneAnswers(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	name := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) } //nolint:errcheck // the test sees
	}
	near, far := at(w.pod(name("near"))), at(w.pod(name("far")))
	w.ready("shop", "", near, far)
	seen := map[string]bool{}
	w.eventually("both answer", func() bool {
		seen[do(w.request("GET", "shop", "/", nil)).body] = true
		return seen["near"] && seen["far"]
	})
	w.change("shop", far, func(e *discoveryv1.Endpoint) { e.Zone = ptr.To("west") })
	w.change("shop", near, func(e *discoveryv1.Endpoint) { e.Zone = ptr.To(zone) })
	w.eventually("the change is known", func() bool {
		for range 20 {
			if do(w.request("GET", "shop", "/", nil)).body != "near" {
				return false
			}
		}
		return true
	})
	for range 100 {
		require.Equal(t, "near", do(w.request("GET", "shop", "/", nil)).body)
	}
	w.change("shop", near, func(e *discoveryv1.Endpoint) { e.Conditions.Ready = ptr.To(false) })
	w.eventually("the other answers", func() bool { return do(w.request("GET", "shop", "/", nil)).body == "far" })
}

func TestAPodThatIsGoingIsLeftAtOnceAndFinishesWhatItHas(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	began, finish := make(chan struct{}), make(chan struct{})
	pod := func(name string) string {
		return at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/long" {
				close(began)
				w.awaitInPod(finish)
			}
			fmt.Fprint(rw, name) //nolint:errcheck // the test sees
		}))
	}
	going := pod("going")
	w.ready("shop", "", going)
	long := background(w.request("GET", "shop", "/long", nil))
	await(t, began)
	w.ready("shop", "", going, pod("staying"))
	// As a Service that publishes addresses that are not ready says it.
	w.change("shop", going, func(e *discoveryv1.Endpoint) {
		e.Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(true)}
	})
	w.eventually("the pool has one pod", func() bool {
		b, ok := w.routes.Table().Match("shop.test", "/", nil)
		return ok && b.Pods.Ready() == 1 && do(w.request("GET", "shop", "/", nil)).body == "staying"
	})
	for range 50 {
		require.Equal(t, "staying", do(w.request("GET", "shop", "/", nil)).body)
	}
	close(finish)
	require.Equal(t, "going", await(t, long).body)
}
