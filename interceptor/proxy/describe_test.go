package proxy

import (
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/backend"
)

func TestWhereRequestsGoIsDescribed(t *testing.T) {
	w := newWorld(t)
	describe := func(app string) *backend.Description {
		for d := range w.routes.(*backend.Directory).Describe(types.NamespacedName{Namespace: "default", Name: app}) {
			return d
		}
		return nil
	}
	w.app("shop", func(a *v1alpha1.HTTPApp) {
		a.Spec.ConcurrencyLimit = 3
		a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{
			Hosts: []string{"shop.example.com"}, PathPrefix: "/api", Headers: []v1alpha1.HeaderMatch{{Name: "x-v", Value: "2"}},
		}, v1alpha1.Route{Hosts: []string{"shop.test"}, PathPrefix: "/healthz", Static: &v1alpha1.StaticResponse{StatusCode: 204}})
	})
	w.app("younger", func(a *v1alpha1.HTTPApp) {
		a.CreationTimestamp = metav1.Now()
		a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{Hosts: []string{"shop.test"}, PathPrefix: "/"})
	})
	d := describe("shop")
	require.Equal(t, []backend.RouteDescription{
		{Host: "shop.test", PathPrefix: "/"}, {Host: "shop.example.com", PathPrefix: "/api", Headers: map[string]string{"X-V": "2"}},
		{Host: "shop.test", PathPrefix: "/healthz", Static: 204},
	}, d.Routes)
	require.Equal(t, 3, d.Settings.ConcurrencyLimit)
	require.Equal(t, "shop", d.Settings.Service)
	require.Empty(t, d.Endpoints)
	require.Nil(t, d.ColdStartSince)
	require.Equal(t, backend.RouteDescription{Host: "shop.test", PathPrefix: "/", OwnedBy: "default/shop"}, describe("younger").Routes[1])

	// A request that waits, then is in flight.
	held := background(w.request("GET", "shop", "/", nil))
	w.is("shop", 1, 0)
	w.eventually("the cold start is under way", func() bool { return describe("shop").ColdStartSince != nil })
	require.Equal(t, int64(1), describe("shop").Pending)
	end := make(chan struct{})
	pod := at(w.pod(func(http.ResponseWriter, *http.Request) { w.awaitInPod(end) }))
	w.ready("shop", "", pod)
	w.is("shop", 0, 1)
	d = describe("shop")
	require.Nil(t, d.ColdStartSince)
	require.Equal(t, []backend.EndpointDescription{{Address: pod, State: "ready", InFlight: 1}}, d.Endpoints)

	// It goes, while it has the request.
	slices := w.client.DiscoveryV1().EndpointSlices("default")
	_, port, err := net.SplitHostPort(pod)
	require.NoError(t, err)
	slice, err := slices.Get(t.Context(), "shop-"+port, metav1.GetOptions{})
	require.NoError(t, err)
	slice.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}
	slice.Endpoints[0].Zone = ptr.To("west")
	_, err = slices.Update(t.Context(), slice, metav1.UpdateOptions{})
	require.NoError(t, err)
	w.eventually("the pod is going", func() bool {
		d = describe("shop")
		return len(d.Endpoints) == 1 && d.Endpoints[0].State == "terminating" && d.Endpoints[0].Zone == "west"
	})
	require.Equal(t, int64(1), d.Endpoints[0].InFlight)
	close(end)
	require.Equal(t, 200, await(t, held).status)

	// One that cannot be connected to.
	dead := deadAddress(t)
	w.ready("shop", "", dead)
	waiting := background(w.request("GET", "shop", "/", nil))
	w.eventually("the pod is in quarantine", func() bool {
		d = describe("shop")
		return len(d.Endpoints) == 1 && d.Endpoints[0].State == "quarantined" && d.Endpoints[0].Failures > 0
	})
	w.ready("shop", "", at(w.pod(hello)))
	require.Equal(t, 200, await(t, waiting).status)
}
