package backend

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/endpoints"
)

// Description is what the data path knows of an app, for somebody who wonders where its requests go.
type Description struct {
	Namespace string             `json:"namespace"`
	Name      string             `json:"name"`
	UID       types.UID          `json:"uid"`
	Routes    []RouteDescription `json:"routes"`
	Settings  SettingsDescribed  `json:"settings"`
	// Pending and InFlight are its requests here, now.
	Pending    int64 `json:"pending"`
	InFlight   int64 `json:"inFlight"`
	Requests   int64 `json:"requests"`
	ColdStarts int64 `json:"coldStarts"`
	// ColdStartSince is when the cold start began that requests wait for, if they do.
	ColdStartSince *time.Time            `json:"coldStartSince,omitempty"`
	Endpoints      []EndpointDescription `json:"endpoints"`
	Fallback       *FallbackDescription  `json:"fallback,omitempty"`
}

// RouteDescription is a route that the app names.
type RouteDescription struct {
	Host       string            `json:"host"`
	PathPrefix string            `json:"pathPrefix"`
	Headers    map[string]string `json:"headers,omitempty"`
	// OwnedBy is another app, namespace/name, that has it.
	OwnedBy string `json:"ownedBy,omitempty"`
	// Static is the status of the fixed response that its requests get, if they do.
	Static int `json:"static,omitempty"`
}

// SettingsDescribed is what the spec asks of the data path.
type SettingsDescribed struct {
	Service               string            `json:"service"`
	Port                  string            `json:"port,omitempty"`
	Protocol              v1alpha1.Protocol `json:"protocol"`
	ConcurrencyLimit      int               `json:"concurrencyLimit"`
	Target                int               `json:"target"`
	MaxPending            int               `json:"maxPending"`
	MaxWait               string            `json:"maxWait"`
	RequestTimeout        string            `json:"requestTimeout,omitempty"`
	ResponseHeaderTimeout string            `json:"responseHeaderTimeout,omitempty"`
	IdleTimeout           string            `json:"idleTimeout,omitempty"`
	Placeholder           int               `json:"placeholder,omitempty"`
	RedirectToHTTPS       bool              `json:"redirectToHTTPS,omitempty"`
}

// EndpointDescription is an address of a pod.
type EndpointDescription struct {
	Address string `json:"address"`
	// Pod is known while it is not ready.
	Pod  string `json:"pod,omitempty"`
	Zone string `json:"zone,omitempty"`
	// Near says that it is in the interceptor's own zone.
	Near bool `json:"near,omitempty"`
	// State is one of the states below.
	State    string `json:"state"`
	InFlight int64  `json:"inFlight"`
	// Failures are the connections that could not be made since the last that could.
	Failures int `json:"failures,omitempty"`
	// Asked says that the interceptor asks it whether it is ready.
	Asked bool `json:"asked,omitempty"`
}

// FallbackDescription is the Service that answers while the app wakes.
type FallbackDescription struct {
	Service   string                `json:"service"`
	After     string                `json:"after"`
	Endpoints []EndpointDescription `json:"endpoints"`
}

// The states of endpoints.
const (
	// stateReady: it gets requests.
	stateReady = "ready"
	// stateAnswered: it gets requests because it answered a probe; its EndpointSlice does not say yet that it is ready.
	stateAnswered = "answered"
	// stateQuarantined: it could not be connected to, and gets no requests for a moment.
	stateQuarantined = "quarantined"
	// stateNotReady: it gets no requests.
	stateNotReady = "not-ready"
	// stateTerminating: it is going, and gets no new requests.
	stateTerminating = "terminating"
)

// Describe describes the apps one by one, by their names, or the one that is named.
func (d *Directory) Describe(only types.NamespacedName) iter.Seq[*Description] {
	return func(yield func(*Description) bool) {
		d.mu.Lock()
		all := make([]*Backend, 0, len(d.backends))
		for name, b := range d.backends {
			if only == (types.NamespacedName{}) || name == only {
				all = append(all, b)
			}
		}
		d.mu.Unlock()
		slices.SortFunc(all, func(a, b *Backend) int {
			return cmp.Or(strings.Compare(a.Name.Namespace, b.Name.Namespace), strings.Compare(a.Name.Name, b.Name.Name))
		})
		for _, b := range all {
			if !yield(d.describe(b)) {
				return
			}
		}
	}
}

func (d *Directory) describe(b *Backend) *Description {
	r := b.Counts.Read()
	s := b.Settings()
	desc := &Description{
		Namespace: b.Name.Namespace, Name: b.Name.Name, UID: b.UID,
		Routes: []RouteDescription{}, Settings: s.describe(b.Protocol()),
		Pending: r.Pending, InFlight: r.InFlight, Requests: r.Requests, ColdStarts: r.ColdStarts,
	}
	for _, c := range d.table.Claims(b.Name) {
		route := RouteDescription{Host: c.Host, PathPrefix: c.PathPrefix}
		for _, h := range c.Headers {
			if route.Headers == nil {
				route.Headers = map[string]string{}
			}
			route.Headers[h.Name] = h.Value
		}
		if c.Owner != b.Name {
			route.OwnedBy = c.Owner.String()
		}
		if c.To != nil && c.To.Static != nil {
			route.Static = c.To.Static.Status
		}
		desc.Routes = append(desc.Routes, route)
	}
	known, began := b.starter.Describe()
	if !began.IsZero() {
		desc.ColdStartSince = &began
	}
	desc.Endpoints = describeEndpoints(known, b.Pods, d.Slices.Terminating(s.Service, s.Port))
	if f := b.Fallback(); f != nil {
		desc.Fallback = &FallbackDescription{Service: f.Service.Name, After: f.After.String()}
		var known []coldstart.Description
		for _, e := range d.Slices.Of(f.Service, f.port).Endpoints {
			known = append(known, coldstart.Description{Endpoint: e})
		}
		desc.Fallback.Endpoints = describeEndpoints(known, f.pods, d.Slices.Terminating(f.Service, f.port))
	}
	return desc
}

func (s *Settings) describe(protocol v1alpha1.Protocol) SettingsDescribed {
	said := SettingsDescribed{
		Service: s.Service.Name, Port: portOf(s.Port), Protocol: protocol,
		ConcurrencyLimit: s.ConcurrencyLimit, Target: s.Target, MaxPending: s.MaxPending, MaxWait: s.MaxWait.String(), RedirectToHTTPS: s.Redirect,
	}
	if s.Timeouts.Request > 0 {
		said.RequestTimeout = s.Timeouts.Request.String()
	}
	if s.Timeouts.ResponseHeader > 0 {
		said.ResponseHeaderTimeout = s.Timeouts.ResponseHeader.String()
	}
	if s.Timeouts.Idle > 0 {
		said.IdleTimeout = s.Timeouts.Idle.String()
	}
	if s.Placeholder != nil {
		said.Placeholder = s.Placeholder.Status
	}
	return said
}

func portOf(port *intstr.IntOrString) string {
	if port == nil {
		return ""
	}
	return port.String()
}

// describeEndpoints puts together what the slices, the probes and the pool know of each address.
func describeEndpoints(known []coldstart.Description, pool *balance.Pool, terminating []endpoints.Endpoint) []EndpointDescription {
	inPool := pool.Describe()
	all := make([]EndpointDescription, 0, len(known)+len(terminating))
	seen := map[string]bool{}
	add := func(e endpoints.Endpoint, asked bool, state string) {
		if seen[e.Address] {
			return // another slice knows better
		}
		seen[e.Address] = true
		p := inPool[e.Address]
		delete(inPool, e.Address)
		if p.Quarantined {
			state = stateQuarantined
		}
		all = append(all, EndpointDescription{
			Address: e.Address, Pod: e.Pod, Zone: e.Zone, Near: p.Near, State: state, InFlight: p.InFlight, Failures: p.Failures, Asked: asked,
		})
	}
	for _, k := range known {
		switch {
		case k.Ready:
			add(k.Endpoint, k.Asked, stateReady)
		case k.Answered:
			add(k.Endpoint, k.Asked, stateAnswered)
		default:
			add(k.Endpoint, k.Asked, stateNotReady)
		}
	}
	for _, e := range terminating {
		add(e, false, stateTerminating)
	}
	for address, p := range inPool { // its slice does not name it any more
		all = append(all, EndpointDescription{Address: address, State: stateTerminating, InFlight: p.InFlight})
	}
	slices.SortFunc(all, func(a, b EndpointDescription) int { return strings.Compare(a.Address, b.Address) })
	return all
}
