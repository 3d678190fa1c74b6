package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const namespace = "bench"

// cluster is as much of a Kubernetes API as an interceptor reads: lists and watches of the apps' records, of EndpointSlices and of the
// one Secret that an app names.
type cluster struct {
	server                   *http.Server
	address                  string
	records, slices, secrets *resource
}

// resource is all objects of one kind, with every change since the beginning.
type resource struct {
	apiVersion, kind string

	mu      sync.Mutex
	objects map[string]json.RawMessage
	changes []change
	// changed is closed at the next change.
	changed chan struct{}
}

type change struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

func newResource(apiVersion, kind string) *resource {
	return &resource{apiVersion: apiVersion, kind: kind, objects: map[string]json.RawMessage{}, changed: make(chan struct{})}
}

// newCluster makes one without apps.
func newCluster() (*cluster, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cluster{
		address: l.Addr().String(),
		records: newResource("storage.apps.http.keda.sh/v1", "HTTPAppRecord"),
		slices:  newResource("discovery.k8s.io/v1", "EndpointSlice"),
		secrets: newResource("v1", "Secret"),
	}
	mux := http.NewServeMux()
	mux.Handle("GET /apis/storage.apps.http.keda.sh/v1/httpapprecords", c.records)
	mux.Handle("GET /apis/discovery.k8s.io/v1/endpointslices", c.slices)
	mux.Handle("GET /api/v1/namespaces/"+namespace+"/secrets", c.secrets)
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = c.server.Serve(l) }()
	return c, nil
}

func (c *cluster) close() { _ = c.server.Close() }

func appName(n int) string { return fmt.Sprintf("app-%05d", n) }
func host(n int) string    { return appName(n) + ".example.com" }

// setApps makes so many apps, each with a Service of its own that has the one pod at an address.
func (c *cluster) setApps(n int, pod string) error {
	for i := range n {
		if err := c.setApp(appName(i), host(i), v1alpha1.ProtocolHTTP1); err != nil {
			return err
		}
		if err := c.setPod(appName(i), pod); err != nil {
			return err
		}
	}
	return nil
}

// setPod gives an app its pod.
func (c *cluster) setPod(app, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return err
	}
	return c.slices.set(app, func(version int) (any, error) {
		return &discoveryv1.EndpointSlice{
			TypeMeta: metav1.TypeMeta{APIVersion: c.slices.apiVersion, Kind: c.slices.kind},
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: app, ResourceVersion: strconv.Itoa(version),
				Labels: map[string]string{discoveryv1.LabelServiceName: app},
			},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(number))}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}},
		}, nil
	})
}

// setApp makes or changes an app so that it has a host, and holds as many requests as come while it has no pod.
func (c *cluster) setApp(name, host string, protocol v1alpha1.Protocol, changes ...func(*v1alpha1.HTTPApp)) error {
	app := &v1alpha1.HTTPApp{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.Unix(1_700_000_000, 0)},
		Spec: v1alpha1.HTTPAppSpec{
			WorkloadRef: &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			Protocol:    protocol,
			Routes:      []v1alpha1.Route{{Hosts: []string{host}, PathPrefix: "/"}},
			Queue:       v1alpha1.Queue{MaxPending: ptr.To[int32](100_000)},
		},
	}
	for _, change := range changes {
		change(app)
	}
	return c.records.set(name, func(version int) (any, error) {
		app.Generation = int64(version)
		payload, err := json.Marshal(app)
		return map[string]any{
			"apiVersion": c.records.apiVersion, "kind": c.records.kind,
			"metadata": map[string]any{"namespace": namespace, "name": name, "uid": "record-" + name, "resourceVersion": strconv.Itoa(version)},
			"object":   string(payload),
		}, err
	})
}

// setSecret makes the Secret of a certificate in PEM and its key.
func (c *cluster) setSecret(name string, certificate, key []byte) error {
	return c.secrets.set(name, func(version int) (any, error) {
		return &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: c.secrets.apiVersion, Kind: c.secrets.kind},
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: strconv.Itoa(version)},
			Type:       corev1.SecretTypeTLS,
			Data:       map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
		}, nil
	})
}

// set makes or changes an object, which is made for its version.
func (r *resource) set(name string, object func(version int) (any, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, err := object(len(r.changes) + 1)
	if err != nil {
		return err
	}
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	what := "MODIFIED"
	if r.objects[name] == nil {
		what = "ADDED"
	}
	r.objects[name] = data
	r.changes = append(r.changes, change{what, data})
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

func (r *resource) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	query := q.URL.Query()
	if query.Get("watch") == "true" || query.Get("watch") == "1" {
		r.watch(w, q, query.Get("resourceVersion"), query.Get("sendInitialEvents") == "true")
		return
	}
	r.mu.Lock()
	list := map[string]any{
		"apiVersion": r.apiVersion, "kind": r.kind + "List",
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(len(r.changes))},
	}
	items := make([]json.RawMessage, 0, len(r.objects))
	for _, o := range r.objects {
		items = append(items, o)
	}
	r.mu.Unlock()
	list["items"] = items
	_ = json.NewEncoder(w).Encode(list)
}

// watch sends every change after a version. With initial events, which replace a list, a bookmark says where those end.
func (r *resource) watch(w http.ResponseWriter, q *http.Request, version string, initial bool) {
	sent, err := strconv.Atoi(version)
	if err != nil {
		sent = 0
	}
	encoder := json.NewEncoder(w)
	for {
		r.mu.Lock()
		changes, changed := r.changes[sent:], r.changed
		sent = len(r.changes)
		r.mu.Unlock()
		for _, c := range changes {
			if encoder.Encode(c) != nil {
				return
			}
		}
		if initial {
			initial = false
			mark := fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"resourceVersion":"%d","annotations":{%q:"true"}}}`, r.apiVersion, r.kind, sent, metav1.InitialEventsAnnotationKey)
			if encoder.Encode(change{"BOOKMARK", json.RawMessage(mark)}) != nil {
				return
			}
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-q.Context().Done():
			return
		}
	}
}
