package proxy

import (
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/interceptor/coldstart"
)

// fresh adds a pod to an app that its EndpointSlice says is not ready, with a readiness probe for /ready at the port that takes requests.
func (w *world) fresh(app, pod, address string, change ...func(*corev1.Pod)) {
	w.t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(w.t, err)
	number, err := strconv.ParseInt(port, 10, 32)
	require.NoError(w.t, err)
	made := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: pod},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", ReadinessProbe: &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(int32(number))}},
		}}}},
	}
	for _, c := range change {
		c(made)
	}
	_, err = w.client.CoreV1().Pods("default").Create(w.t.Context(), made, metav1.CreateOptions{})
	require.NoError(w.t, err)
	_, err = w.client.DiscoveryV1().EndpointSlices("default").Create(w.t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: app + "-" + port, Labels: map[string]string{discoveryv1.LabelServiceName: app}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(number))}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: pod},
		}},
	}, metav1.CreateOptions{})
	require.NoError(w.t, err)
}

func TestARequestIsAnsweredByAPodThatItsSliceDoesNotSayIsReady(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	var ready atomic.Bool
	probed, connections := make(chan string, 1000), make(chan string, 1000)
	pod := w.pod(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" {
			connections <- r.RemoteAddr
			return
		}
		if !ready.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
		probed <- r.RemoteAddr
	})
	first := background(w.request("GET", "shop", "/", nil))
	w.is("shop", 1, 0)
	w.fresh("shop", "shop-1", at(pod))
	for range 3 {
		await(t, probed)
	}
	w.is("shop", 1, 0)
	ready.Store(true)
	a := await(t, first)
	require.Equal(t, 200, a.status)
	require.Regexp(t, `^total=\d+\.\d{3}, address=\d+\.\d{3}, probe=\d+\.\d{3}, first-byte=\d+\.\d{3}$`, a.header.Get(coldstart.Header))
	var last string
	for len(probed) > 0 {
		last = <-probed
	}
	require.Equal(t, last, await(t, connections), "the probe's connection serves the first request")

	require.Empty(t, do(w.request("GET", "shop", "/", nil)).header.Get(coldstart.Header), "the next one does not wait")
	n, err := testutil.GatherAndCount(w.registry, "kedahttp_interceptor_cold_start_seconds")
	require.NoError(t, err)
	require.Equal(t, 3, n, "a series for each of address, probe and first-byte")
	read := w.counts("shop").Read()
	require.Equal(t, int64(1), read.ColdStarts)
	require.Equal(t, coldstart.Stages(read.LastColdStart.Stages).String(), a.header.Get(coldstart.Header))
}
