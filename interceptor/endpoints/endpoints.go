// Package endpoints knows the pod addresses behind Services, from the EndpointSlices of all namespaces.
package endpoints

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Endpoint is a pod that is not going.
type Endpoint struct {
	// Address is host:port.
	Address string
	Ready   bool
	// Pod is the pod's name, in the Service's namespace. It is empty for an address that is no pod's.
	Pod string
	// Zone is that of its node, if it has one.
	Zone string
}

// Set is the pods of a Service.
type Set struct {
	// Endpoints are sorted by their addresses.
	Endpoints []Endpoint
	// Protocol is what the port's appProtocol says, empty if it says nothing that matters here.
	Protocol v1alpha1.Protocol
}

// Slices is a view of the cluster's EndpointSlices.
type Slices struct {
	informer cache.SharedIndexInformer
}

const byService = "service"

// OfServices selects the slices that a Service has.
func OfServices(o *metav1.ListOptions) { o.LabelSelector = discoveryv1.LabelServiceName }

// NewSlices makes the view of the slices of all namespaces, which OfServices selects; the informer is run by whoever owns the context.
// Only what is needed is kept of each slice: a cluster may have tens of thousands.
func NewSlices(all cache.ListerWatcher) (*Slices, error) {
	informer := cache.NewSharedIndexInformer(all, &discoveryv1.EndpointSlice{}, 0, cache.Indexers{
		byService: func(obj any) ([]string, error) {
			if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
				return []string{serviceOf(slice).String()}, nil
			}
			return nil, nil
		},
	})
	if err := informer.SetTransform(strip); err != nil {
		return nil, fmt.Errorf("watching EndpointSlices: %w", err)
	}
	return &Slices{informer: informer}, nil
}

// Informer is what has to run.
func (s *Slices) Informer() cache.SharedIndexInformer { return s.informer }

// OnChange calls back with each Service whose slices changed.
func (s *Slices) OnChange(changed func(service types.NamespacedName)) (cache.ResourceEventHandlerRegistration, error) {
	tell := func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			changed(serviceOf(slice))
		}
	}
	return s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    tell,
		UpdateFunc: func(_, obj any) { tell(obj) },
		DeleteFunc: tell,
	})
}

func serviceOf(slice *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
}

// strip drops what nobody here reads. What an informer lists as it starts gets here twice.
func strip(obj any) (any, error) {
	slice, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return obj, nil
	}
	slice.ObjectMeta = metav1.ObjectMeta{
		Namespace: slice.Namespace, Name: slice.Name, ResourceVersion: slice.ResourceVersion,
		Labels: map[string]string{discoveryv1.LabelServiceName: slice.Labels[discoveryv1.LabelServiceName]},
	}
	for i, e := range slice.Endpoints {
		kept := discoveryv1.Endpoint{Addresses: e.Addresses, Conditions: e.Conditions, Zone: e.Zone}
		if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
			kept.TargetRef = &corev1.ObjectReference{Kind: e.TargetRef.Kind, Name: e.TargetRef.Name}
		}
		slice.Endpoints[i] = kept
	}
	return slice, nil
}

// Of returns a Service's pods. The port is the one that has the name or the number, else the only or first one.
func (s *Slices) Of(service types.NamespacedName, port *intstr.IntOrString) Set {
	return endpointsOf(s.of(service), port, false)
}

// Terminating returns the pods of a Service that are going.
func (s *Slices) Terminating(service types.NamespacedName, port *intstr.IntOrString) []Endpoint {
	return endpointsOf(s.of(service), port, true).Endpoints
}

func (s *Slices) of(service types.NamespacedName) []*discoveryv1.EndpointSlice {
	objects, err := s.informer.GetIndexer().ByIndex(byService, service.String())
	if err != nil {
		return nil
	}
	slices := make([]*discoveryv1.EndpointSlice, 0, len(objects))
	for _, obj := range objects {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			slices = append(slices, slice)
		}
	}
	return slices
}

// endpointsOf returns the pods that are going, or those that are not.
func endpointsOf(all []*discoveryv1.EndpointSlice, port *intstr.IntOrString, terminating bool) (set Set) {
	// A pod of a dual-stack Service is in a slice of each family: it is one pod, and has one address here.
	family := discoveryv1.AddressTypeIPv6
	for _, slice := range all {
		if slice.AddressType == discoveryv1.AddressTypeIPv4 && len(slice.Endpoints) > 0 {
			family = discoveryv1.AddressTypeIPv4
		}
	}
	for _, slice := range all {
		p := pick(slice.Ports, port)
		if slice.AddressType != family || p == nil {
			continue
		}
		for _, e := range slice.Endpoints {
			// One that is going takes no requests, also when its Service publishes such addresses.
			if len(e.Addresses) == 0 || ptr.Deref(e.Conditions.Terminating, false) != terminating {
				continue
			}
			found := Endpoint{Address: net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))), Ready: isReady(e.Conditions), Zone: ptr.Deref(e.Zone, "")}
			if e.TargetRef != nil {
				found.Pod = e.TargetRef.Name
			}
			set.Endpoints = append(set.Endpoints, found)
			if said := protocolOf(p); said != "" {
				set.Protocol = said
			}
		}
	}
	// A pod can be in two slices while it moves between them. One of them knows already that it is ready.
	slices.SortFunc(set.Endpoints, func(a, b Endpoint) int {
		switch {
		case a.Address != b.Address:
			return strings.Compare(a.Address, b.Address)
		case a.Ready && !b.Ready:
			return -1
		case b.Ready && !a.Ready:
			return 1
		}
		return 0
	})
	set.Endpoints = slices.CompactFunc(set.Endpoints, func(a, b Endpoint) bool { return a.Address == b.Address })
	return set
}

// protocolOf reads an appProtocol: one that Kubernetes defines, or a name of IANA's.
func protocolOf(p *discoveryv1.EndpointPort) v1alpha1.Protocol {
	switch ptr.Deref(p.AppProtocol, "") {
	case "kubernetes.io/h2c":
		return v1alpha1.ProtocolH2C
	case "https":
		return v1alpha1.ProtocolHTTPS
	}
	return ""
}

func isReady(c discoveryv1.EndpointConditions) bool { return c.Ready == nil || *c.Ready }

// pick chooses a port. A slice's ports have the names of the Service's ports and the numbers of the pods'.
func pick(ports []discoveryv1.EndpointPort, want *intstr.IntOrString) *discoveryv1.EndpointPort {
	var first *discoveryv1.EndpointPort
	for i := range ports {
		p := &ports[i]
		if p.Port == nil {
			continue
		}
		if first == nil {
			first = p
		}
		switch {
		case want == nil:
		case want.Type == intstr.Int && *p.Port == want.IntVal,
			want.Type == intstr.String && p.Name != nil && *p.Name == want.StrVal:
			return p
		}
	}
	return first
}
