package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/storage/record"
	"github.com/kedahttp/kedahttp/interceptor/endpoints"
	"github.com/kedahttp/kedahttp/interceptor/host/hosttest"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// eventOf is one of a watch, of the record of an app with a host.
func eventOf(b *testing.B, kind string, n, version int, host string) []byte {
	name := fmt.Sprint("app-", n)
	app := &v1alpha1.HTTPApp{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Generation: int64(version)},
		Spec: v1alpha1.HTTPAppSpec{
			WorkloadRef: &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			Routes:      []v1alpha1.Route{{Hosts: []string{host}, PathPrefix: "/"}},
		},
	}
	payload, err := json.Marshal(app)
	require.NoError(b, err)
	r, err := record.Encode(&record.HTTPAppRecord{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("record-" + name), ResourceVersion: strconv.Itoa(version)},
		Object:     record.Payload(payload),
	})
	require.NoError(b, err)
	return fmt.Appendf(nil, `{"type":%q,"object":%s}`+"\n", kind, r)
}

// BenchmarkAChangeOfARouteAmong10000 is from the event of the watch, on the wire, until requests are routed by it. There is no other
// load: what it takes longer under one is for want of a processor.
func BenchmarkAChangeOfARouteAmong10000(b *testing.B) {
	const many = 10_000
	var known []byte
	for n := range many {
		known = append(known, eventOf(b, "ADDED", n, 1, fmt.Sprintf("app-%d.test", n))...)
	}
	known = fmt.Appendf(known, `{"type":"BOOKMARK","object":{"apiVersion":%q,"kind":"HTTPAppRecord","metadata":{"resourceVersion":"1","annotations":{%q:"true"}},"object":""}}`+"\n",
		record.SchemeGroupVersion, metav1.InitialEventsAnnotationKey)
	events := make(chan []byte)
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		flush := http.NewResponseController(w).Flush
		if r.URL.Query().Get("sendInitialEvents") != "true" {
			http.Error(w, "there is nothing but a watch with what there is", http.StatusBadRequest)
			return
		}
		for next := known; ; {
			if _, err := w.Write(next); err != nil || flush() != nil {
				return
			}
			select {
			case next = <-events:
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer host.Close()

	records, err := record.NewClient(&rest.Config{Host: host.URL})
	require.NoError(b, err)
	apps, err := record.NewInformer(records)
	require.NoError(b, err)
	pods, err := endpoints.NewSlices(hosttest.EndpointSlices(fake.NewClientset(), metav1.NamespaceAll, endpoints.OfServices))
	require.NoError(b, err)
	d := NewDirectory(Config{Apps: apps, Slices: pods, Counters: queue.NewCounters(clock.RealClock{}), Tallies: noTallies{}, Clock: clock.RealClock{}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(b, <-ended)
	}()
	require.Eventually(b, d.Ready, patience, time.Millisecond)

	var took []time.Duration
	for version := 2; b.Loop(); version++ {
		moved := fmt.Sprintf("moved-%d.test", version)
		event := eventOf(b, "MODIFIED", many/2, version, moved)
		began := time.Now()
		events <- event
		for routed := false; !routed; {
			_, routed = d.Table().Match(moved, "/", nil)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	for _, share := range []float64{.5, .99, 1} {
		b.ReportMetric(float64(took[max(0, int(share*float64(len(took)))-1)].Microseconds()), fmt.Sprintf("p%g-µs", 100*share))
	}
}
