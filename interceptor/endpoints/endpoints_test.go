package endpoints

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func slice(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort, eps ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{AddressType: family, Ports: ports, Endpoints: eps}
}

func port(name string, number int32) discoveryv1.EndpointPort {
	return discoveryv1.EndpointPort{Name: &name, Port: &number}
}

func pod(ip string, ready, terminating *bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: ready, Terminating: terminating}}
}

func TestThePodsOfAService(t *testing.T) {
	yes, no := ptr.To(true), ptr.To(false)
	v4, v6 := discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6
	http := []discoveryv1.EndpointPort{port("http", 8080)}
	two := []discoveryv1.EndpointPort{port("metrics", 9090), port("http", 8080)}
	h2c := []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080), AppProtocol: ptr.To("kubernetes.io/h2c")}}
	https := []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8443), AppProtocol: ptr.To("https")}}
	for what, c := range map[string]struct {
		slices []*discoveryv1.EndpointSlice
		port   *intstr.IntOrString
		want   Set
	}{
		"nothing": {},
		"those that stay, and whether they are ready": {
			slices: []*discoveryv1.EndpointSlice{slice(v4, http, pod("10.0.0.3", yes, no), pod("10.0.0.1", nil, nil), pod("10.0.0.2", no, nil), pod("10.0.0.4", yes, yes), pod("10.0.0.5", no, yes))},
			want:   Set{Endpoints: []Endpoint{{Address: "10.0.0.1:8080", Ready: true}, {Address: "10.0.0.2:8080"}, {Address: "10.0.0.3:8080", Ready: true}}},
		},
		"of two slices the one that knows that a pod is ready": {
			slices: []*discoveryv1.EndpointSlice{slice(v4, http, pod("10.0.0.1", no, no)), slice(v4, http, pod("10.0.0.1", yes, no)), slice(v4, http, pod("10.0.0.1", no, no))},
			want:   Set{Endpoints: []Endpoint{{Address: "10.0.0.1:8080", Ready: true}}},
		},
		"a pod that moves between two slices is one": {
			slices: []*discoveryv1.EndpointSlice{slice(v4, http, pod("10.0.0.1", yes, no)), slice(v4, http, pod("10.0.0.1", yes, no))},
			want:   Set{Endpoints: []Endpoint{{Address: "10.0.0.1:8080", Ready: true}}},
		},
		"a pod of both families is one": {
			slices: []*discoveryv1.EndpointSlice{slice(v6, http, pod("fd00::1", yes, no)), slice(v4, http, pod("10.0.0.1", yes, no))},
			want:   Set{Endpoints: []Endpoint{{Address: "10.0.0.1:8080", Ready: true}}},
		},
		"an empty slice of the other family does not hide pods": {
			slices: []*discoveryv1.EndpointSlice{slice(v6, http, pod("fd00::1", yes, no)), slice(v4, http)},
			want:   Set{Endpoints: []Endpoint{{Address: "[fd00::1]:8080", Ready: true}}},
		},
		"the first port": {
			slices: []*discoveryv1.EndpointSlice{slice(v4, two, pod("10.0.0.1", yes, no))},
			want:   Set{Endpoints: []Endpoint{{Address: "10.0.0.1:9090", Ready: true}}},
		},
		"the port of the name": {
			slices: []*discoveryv1.EndpointSlice{slice(v4, two, pod("10.0.0.1", yes, no))}, port: ptr.To(intstr.FromString("http")),
			want: Set{Endpoints: []Endpoint{{Address: "10.0.0.1:8080", Ready: true}}},
		},
		"the port of the number": {
			slices: []*discoveryv1.EndpointSlice{slice(v4, two, pod("10.0.0.1", yes, no))}, port: ptr.To(intstr.FromInt32(8080)),
			want: Set{Endpoints: []Endpoint{{Address: "10.0.0.1:8080", Ready: true}}},
		},
		"a container's port name is not the Service's": {
			slices: []*discoveryv1.EndpointSlice{slice(v4, http, pod("10.0.0.1", yes, no))}, port: ptr.To(intstr.FromString("web")),
			want: Set{Endpoints: []Endpoint{{Address: "10.0.0.1:8080", Ready: true}}},
		},
		"no port, no pod": {slices: []*discoveryv1.EndpointSlice{slice(v4, nil, pod("10.0.0.1", yes, no))}},
		"HTTP/2": {
			slices: []*discoveryv1.EndpointSlice{slice(v4, h2c, pod("10.0.0.1", yes, no))},
			want:   Set{Endpoints: []Endpoint{{Address: "10.0.0.1:8080", Ready: true}}, Protocol: v1alpha1.ProtocolH2C},
		},
		"TLS": {
			slices: []*discoveryv1.EndpointSlice{slice(v4, https, pod("10.0.0.1", yes, no))},
			want:   Set{Endpoints: []Endpoint{{Address: "10.0.0.1:8443", Ready: true}}, Protocol: v1alpha1.ProtocolHTTPS},
		},
	} {
		t.Run(what, func(t *testing.T) { require.Equal(t, c.want, endpointsOf(c.slices, c.port, false)) })
	}
}

func TestOnlyWhatIsNeededIsKept(t *testing.T) {
	no := ptr.To(false)
	s := slice(discoveryv1.AddressTypeIPv4, []discoveryv1.EndpointPort{port("http", 80)}, pod("10.0.0.1", nil, nil), pod("10.0.0.2", no, nil), pod("10.0.0.3", no, nil))
	s.ObjectMeta = metav1.ObjectMeta{
		Namespace: "a", Name: "b-1", Labels: map[string]string{discoveryv1.LabelServiceName: "b", "other": "x"},
		Annotations: map[string]string{"x": "y"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
	}
	for i := range s.Endpoints {
		s.Endpoints[i].NodeName, s.Endpoints[i].Zone = ptr.To("node"), ptr.To("east")
		s.Endpoints[i].TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "a", Name: fmt.Sprint("b-", i), UID: "1"}
	}
	s.Endpoints[2].TargetRef.Kind = "Machine"
	obj, err := strip(s)
	require.NoError(t, err)
	obj, err = strip(obj)
	require.NoError(t, err)
	got := obj.(*discoveryv1.EndpointSlice)
	require.Equal(t, metav1.ObjectMeta{Namespace: "a", Name: "b-1", Labels: map[string]string{discoveryv1.LabelServiceName: "b"}}, got.ObjectMeta)
	require.Equal(t, "b", serviceOf(got).Name)
	require.Equal(t, []discoveryv1.Endpoint{
		{Addresses: []string{"10.0.0.1"}, Zone: ptr.To("east"), TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "b-0"}},
		{Addresses: []string{"10.0.0.2"}, Zone: ptr.To("east"), Conditions: discoveryv1.EndpointConditions{Ready: no}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "b-1"}},
		{Addresses: []string{"10.0.0.3"}, Zone: ptr.To("east"), Conditions: discoveryv1.EndpointConditions{Ready: no}},
	}, got.Endpoints)
	require.Equal(t, []Endpoint{
		{Address: "10.0.0.1:80", Ready: true, Pod: "b-0", Zone: "east"}, {Address: "10.0.0.2:80", Pod: "b-1", Zone: "east"}, {Address: "10.0.0.3:80", Zone: "east"},
	}, endpointsOf([]*discoveryv1.EndpointSlice{got}, nil, false).Endpoints)
}
