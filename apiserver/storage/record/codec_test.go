package record

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

const metadata = `"metadata":{"name":"shop","namespace":"default","uid":"record","resourceVersion":"7","labels":{"a":"b"},` +
	`"creationTimestamp":"2026-01-02T03:04:05Z","finalizers":["storage.apps.http.keda.sh/object"]}`

// strange are objects and events as the host writes them, and as it does not.
var strange = []string{
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":"{\"spec\":{\"port\":8080,\"serviceName\":\"é\\n\"}}","fields":{"spec":{"serviceName":"shop"}}}`,
	`{"kind":"HTTPAppRecord","apiVersion":"storage.apps.http.keda.sh/v1",` + metadata + `}`,
	`{"kind":"HTTPAppRecord","apiVersion":"storage.apps.http.keda.sh/v1","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}},"object":""}`,
	`{"kind":"HTTPAppRecord","apiVersion":"storage.apps.http.keda.sh/v1",` + metadata + `,"object":{"spec":{}}}`,
	`{"kind":"HTTPAppRecord","apiVersion":"storage.apps.http.keda.sh/v1",` + metadata + `,"object":7,"fields":null}`,
	`{"kind":"HTTPAppRecord","apiVersion":"storage.apps.http.keda.sh/v1","metadata":7}`,
	// The object is last where the host has the fields in order.
	`{"apiVersion":"storage.apps.http.keda.sh/v1","fields":{"spec":{"serviceName":"shop"}},"kind":"HTTPAppRecord",` + metadata + `,"object":"{\"spec\":{\"port\":8080,\"serviceName\":\"é\\n\\\"\\\\\/\"}}\n"}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":"\u003c\ud83d\ude00\t\ud800"}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":"` + "\xff" + `"}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":"` + "\t" + `"}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":"\x"}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":"\"}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":"{}" }`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":"{}"}}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":7,"object":"{}"}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":"{}","object":"[]"}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":"{}","objects":"[]"}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord","metadata":{"name":"shop","labels":{"a":"b","object":"c"}},"object":"{}"}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord","metadata":{"name":"shop","labels":{"a":"b","object":"c"}}}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord","metadata":{"name":"shop","labels":{"a":",\"object\":\""}},"object":"{}"}`,
	`{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord","metadata":{"name":"shop"` + `,"object":"{}"}`,
	`{"kind":"HTTPAppRecordList","apiVersion":"storage.apps.http.keda.sh/v1","metadata":{"resourceVersion":"9"},"items":[{` + metadata + `,"object":"{}"}]}`,
	`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old","reason":"Expired","code":410}`,
	`{"kind":"Other","apiVersion":"v1","metadata":{}}`,
	`{}`, `null`, `7`, `{"kind":`, ``,
}

func TestRecordsAndEventsAreDecodedAsByTheStockSerializer(t *testing.T) {
	stock := serializer.NewCodecFactory(Scheme).WithoutConversion()
	for _, object := range strange {
		want, wantErr := decode(t, stock, object, nil)
		got, err := decode(t, negotiator{stock}, object, nil)
		compare(t, object, got, want, err, wantErr)
		want, wantErr = decode(t, stock, object, &HTTPAppRecord{})
		got, err = decode(t, negotiator{stock}, object, &HTTPAppRecord{})
		compare(t, object, got, want, err, wantErr)
		for _, event := range []string{
			`{"type":"MODIFIED","object":` + object + `}`,
			`{"type":"MODIFIED","object":` + object + "}\n",
			` { "object" : ` + object + `, "type": "MODIFIED" } `,
			`{"type":"MODIFIED","object":` + object + `,"more":{}}`,
			`{"type":"MODI\u0046IED","object":` + object + `}`,
			`{"type":"MODIFIED","object":` + object,
			`{"object":` + object + `}`,
		} {
			kind, want, wantErr := decodeEvent(t, stock, event)
			gotKind, got, err := decodeEvent(t, negotiator{stock}, event)
			if gotKind != kind && wantErr == nil {
				t.Errorf("%s is %q", event, gotKind)
			}
			compare(t, event, got, want, err, wantErr)
		}
	}
}

// FuzzAPayloadIsTakenOutOfJSONAsItIs: what is not refused is what JSON says.
func FuzzAPayloadIsTakenOutOfJSONAsItIs(f *testing.F) {
	for _, text := range []string{`{\"a\":\"b\\n\"}`, `\/\n`, `\`, `"`, `\u003c`, "é\xff", "\t", "\x7f"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, ok := unquote(text)
		if !ok {
			return
		}
		var want string
		if err := json.Unmarshal(slices.Concat([]byte(`"`), text, []byte(`"`)), &want); err != nil || got != want {
			t.Errorf("%q is %q, and %q in JSON: %v", text, got, want, err)
		}
	})
}

func TestTheStockSerializersStayAsTheyAre(t *testing.T) {
	stock := serializer.NewCodecFactory(Scheme).WithoutConversion()
	n := negotiator{stock}
	for range 2 { // a client asks at each request: nothing may grow by it
		for i, ours := range n.SupportedMediaTypes() {
			theirs := stock.SupportedMediaTypes()[i]
			if _, ok := theirs.Serializer.(recordSerializer); ok {
				t.Errorf("the stock serializer of %s has been replaced", ours.MediaType)
			}
			if s, ok := ours.Serializer.(recordSerializer); ok && s.Serializer != theirs.Serializer {
				t.Errorf("the serializer of %s is not around the stock one", ours.MediaType)
			}
		}
	}
}

func TestTheHostsManagedFieldsOfARecordAreNotKept(t *testing.T) {
	n := negotiator{serializer.NewCodecFactory(Scheme).WithoutConversion()}
	obj, err := decode(t, n, `{"kind":"HTTPAppRecord","apiVersion":"storage.apps.http.keda.sh/v1",
		"metadata":{"name":"shop","managedFields":[{"manager":"kedahttp-apiserver","fieldsV1":{"f:object":{}}}]},"object":"{}"}`, nil)
	if r, ok := obj.(*HTTPAppRecord); err != nil || !ok || r.Name != "shop" || r.Object != "{}" || r.ManagedFields != nil {
		t.Errorf("%+v: %v", obj, err)
	}
}

func decode(t *testing.T, n runtime.NegotiatedSerializer, text string, into runtime.Object) (runtime.Object, error) {
	t.Helper()
	d, err := runtime.NewClientNegotiator(n, SchemeGroupVersion).Decoder(runtime.ContentTypeJSON, nil)
	if err != nil {
		t.Fatal(err)
	}
	obj, _, err := d.Decode([]byte(text), nil, into)
	return obj, err
}

func decodeEvent(t *testing.T, n runtime.NegotiatedSerializer, text string) (string, runtime.Object, error) {
	t.Helper()
	d, stream, _, err := runtime.NewClientNegotiator(n, SchemeGroupVersion).StreamDecoder(runtime.ContentTypeJSON, nil)
	if err != nil {
		t.Fatal(err)
	}
	var event metav1.WatchEvent
	if obj, _, err := stream.Decode([]byte(text), nil, &event); err != nil {
		return "", nil, err
	} else if obj != &event {
		return "", nil, fmt.Errorf("decoded to another object")
	}
	obj, err := runtime.Decode(d, event.Object.Raw)
	return event.Type, obj, err
}

func compare(t *testing.T, text string, got, want runtime.Object, err, wantErr error) {
	t.Helper()
	if (err != nil) != (wantErr != nil) {
		t.Errorf("%s: the error is %v, and of the stock serializer %v", text, err, wantErr)
	} else if wantErr == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n%#v, and of the stock serializer\n%#v", text, got, want)
	}
}

func BenchmarkDecodingAnEvent(b *testing.B) {
	payload := `{\"kind\":\"HTTPApp\",\"apiVersion\":\"apps.http.keda.sh/v1alpha1\",\"metadata\":{\"name\":\"shop\"},\"spec\":{\"serviceName\":\"shop\"`
	for i := range 60 {
		payload += fmt.Sprintf(`,\"f%d\":{\"name\":\"value\"}`, i)
	}
	event := []byte(`{"type":"MODIFIED","object":{"apiVersion":"storage.apps.http.keda.sh/v1","kind":"HTTPAppRecord",` + metadata + `,"object":"` + payload + `}}"}}`)
	stock := serializer.NewCodecFactory(Scheme).WithoutConversion()
	for name, n := range map[string]runtime.NegotiatedSerializer{"stock": stock, "ours": negotiator{stock}} {
		d, stream, _, err := runtime.NewClientNegotiator(n, SchemeGroupVersion).StreamDecoder(runtime.ContentTypeJSON, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var e metav1.WatchEvent
				if _, _, err := stream.Decode(event, nil, &e); err != nil {
					b.Fatal(err)
				}
				if _, err := runtime.Decode(d, e.Object.Raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
