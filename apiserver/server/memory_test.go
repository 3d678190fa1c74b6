package server

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/install"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/owners"
	"github.com/kedahttp/kedahttp/apiserver/sleep"
	"github.com/kedahttp/kedahttp/apiserver/storage/record"
	"github.com/kedahttp/kedahttp/apiserver/storage/recordstore"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// stored is the nth app as it is kept: one with some labels, of which no two have the same, with a container as they are, that two
// managers wrote.
func stored(n int) string {
	return fmt.Sprintf(`{"kind":"HTTPApp","apiVersion":"apps.http.keda.sh/v1alpha1","metadata":{"name":"app-%05[1]d","namespace":"team-%[2]d",
"uid":"2b7cbb2e-1a66-4a4e-a7a7-%012[1]d","generation":1,"creationTimestamp":"2026-01-02T03:04:05Z",
"labels":{"app.kubernetes.io/name":"app-%05[1]d","team":"team-%[2]d","tier":"web"},
"annotations":{"example.com/owner":"somebody@example.com","example.com/description":"App %05[1]d of the test, with an annotation as long as they are."},
"managedFields":[{"manager":"kubectl-create","operation":"Update","apiVersion":"apps.http.keda.sh/v1alpha1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1",
"fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:example.com/description":{},"f:example.com/owner":{}},"f:labels":{".":{},"f:app.kubernetes.io/name":{},"f:team":{},"f:tier":{}}},
"f:spec":{"f:queue":{"f:maxPending":{},"f:maxWait":{}},"f:routes":{},"f:scaling":{"f:maxReplicas":{},"f:minReplicas":{}},"f:template":{"f:spec":{"f:containers":{}}}}}},
{"manager":"kedahttp","operation":"Update","apiVersion":"apps.http.keda.sh/v1alpha1","time":"2026-01-02T03:04:06Z","fieldsType":"FieldsV1","subresource":"status",
"fieldsV1":{"f:status":{"f:conditions":{},"f:observedGeneration":{},"f:url":{},"f:workload":{}}}}]},
"spec":{"template":{"metadata":{"labels":{"app":"app-%05[1]d"}},"spec":{"containers":[{"name":"app","image":"registry.example.com/team-%[2]d/app-%05[1]d:1.2.3",
"ports":[{"name":"web","containerPort":8080,"protocol":"TCP"}],"env":[{"name":"LOG_LEVEL","value":"info"},{"name":"DATABASE_HOST","value":"database-%[1]d.example.com"}],
"resources":{"limits":{"memory":"128Mi"},"requests":{"cpu":"50m","memory":"64Mi"}},
"readinessProbe":{"httpGet":{"path":"/healthz","port":"web","scheme":"HTTP"},"periodSeconds":1}}]}},
"routes":[{"hosts":["app-%05[1]d.team-%[2]d.example.com"],"pathPrefix":"/"}],
"scaling":{"minReplicas":0,"maxReplicas":5,"metric":"concurrency","target":"10","window":"1m0s","cooldown":"5m0s","autoscaler":"KEDA"},
"queue":{"maxPending":1000,"maxWait":"2m0s"},"timeouts":{}},
"status":{"observedGeneration":1,"conditions":[
{"type":"RoutesAccepted","status":"True","observedGeneration":1,"lastTransitionTime":"2026-01-02T03:04:06Z","reason":"Accepted","message":"all routes lead to this app"},
{"type":"WorkloadReady","status":"True","observedGeneration":1,"lastTransitionTime":"2026-01-02T03:04:06Z","reason":"ScaledToZero","message":"no replica, as nothing asks for one"},
{"type":"ScalerReady","status":"True","observedGeneration":1,"lastTransitionTime":"2026-01-02T03:04:06Z","reason":"Ready","message":"KEDA scales it"},
{"type":"Ready","status":"True","observedGeneration":1,"lastTransitionTime":"2026-01-02T03:04:06Z","reason":"Ready","message":""}],
"url":"http://app-%05[1]d.team-%[2]d.example.com","workload":{"apiVersion":"apps/v1","kind":"Deployment","name":"app-%05[1]d"}}}`, n, n%100)
}

// events is a host of no records that comes to have many.
func events(apps int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("watch") == "" {
			_, _ = fmt.Fprintf(w, `{"kind":"HTTPAppRecordList","apiVersion":%q,"metadata":{"resourceVersion":"1"},"items":[]}`, record.SchemeGroupVersion)
			return
		}
		out := bufio.NewWriter(w)
		if r.URL.Query().Get("sendInitialEvents") == "true" {
			_, _ = fmt.Fprintf(out, `{"type":"BOOKMARK","object":{"kind":"HTTPAppRecord","apiVersion":%q,"metadata":{"resourceVersion":"1","annotations":{"k8s.io/initial-events-end":"true"}}}}`+"\n", record.SchemeGroupVersion)
		}
		for n := range apps {
			data, err := record.Encode(&record.HTTPAppRecord{
				ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("team-%d", n%100), Name: fmt.Sprintf("app-%05d", n), ResourceVersion: fmt.Sprint(n + 2)},
				Object:     record.Payload(stored(n)),
			})
			if err != nil {
				panic(err)
			}
			_, _ = fmt.Fprintf(out, `{"type":"ADDED","object":%s}`+"\n", data)
		}
		_ = out.Flush()
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

// heap is how much memory is in use.
func heap() uint64 {
	for range 2 { // what has a cleanup goes with the second
		goruntime.GC()
	}
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Whatever each part of the server has to know of the apps: what it keeps of an app that nobody asks for is bounded.
func TestThousandsOfAppsTakeLittleMemory(t *testing.T) {
	const apps, most = 2000, 7000
	host := httptest.NewServer(events(apps))
	defer host.Close()
	client, err := record.NewClient(&rest.Config{Host: host.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	NewStorageOptions() // which say how the cacher is
	codecs := install.NewCodecs(install.NewServerScheme())
	before := heap()
	store, err := recordstore.NewShared(inRecords(client, codecs.LegacyCodec(v1alpha1.SchemeGroupVersion)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Stop()
	informer := store.Informer()
	known, err := owners.New(informer)
	if err != nil {
		t.Fatal(err)
	}
	loans, err := sleep.NewLoans(informer, clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	if err := workload.AddIndex(informer); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { informer.RunWithContext(ctx) })
	defer wg.Wait()
	defer cancel()
	if err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, 2*time.Minute, true, func(context.Context) (bool, error) {
		return len(informer.GetStore().ListKeys()) == apps && known.HasSynced(), nil
	}); err != nil {
		t.Fatalf("of %d apps it knows %d: %v", apps, len(informer.GetStore().ListKeys()), err)
	}
	each := (heap() - before) / apps
	t.Logf("%d bytes for each app, which is %d of JSON", each, len(stored(1)))
	if each > most {
		t.Errorf("an app takes %d bytes, and not at most %d", each, most)
	}
	goruntime.KeepAlive(known)
	goruntime.KeepAlive(loans)
}
