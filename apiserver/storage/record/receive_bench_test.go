package record

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	restwatch "k8s.io/client-go/rest/watch"
)

// typical is an app as it is stored, with a container as they are, that two managers wrote.
//
//go:embed testdata/app.json
var typical string

// endless is a stream of one event again and again.
type endless struct {
	event []byte
	rest  []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		e.rest = e.event
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// eventOf is an event of a record with a payload as the host writes it, which is in the order of the fields' names.
func eventOf(t testing.TB, payload string) []byte {
	t.Helper()
	object, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, `{"type":"MODIFIED","object":{"apiVersion":"storage.apps.http.keda.sh/v1","fields":{"status":{"ready":"True"}},"kind":"HTTPAppRecord",`+
		`"metadata":{"creationTimestamp":"2026-01-02T03:04:05Z","generation":7,"labels":{"app.kubernetes.io/name":"shop","team":"web","tier":"front"},`+
		`"name":"shop","namespace":"default","resourceVersion":"7","uid":"7b2cbb2e-1a66-4a4e-a7a7-000000000002"},"object":%s}}`+"\n", object)
}

// following is a watch of a stream.
func following(b testing.TB, n runtime.NegotiatedSerializer, stream io.Reader) *restwatch.Decoder {
	b.Helper()
	object, serializer, framer, err := runtime.NewClientNegotiator(n, SchemeGroupVersion).StreamDecoder(runtime.ContentTypeJSON, nil)
	if err != nil {
		b.Fatal(err)
	}
	return restwatch.NewDecoder(streaming.NewDecoder(framer.NewFrameReader(io.NopCloser(stream)), serializer), object)
}

// From the bytes of a watch to what a reader keeps.
func BenchmarkReceivingAChange(b *testing.B) {
	stock := serializer.NewCodecFactory(Scheme).WithoutConversion()
	event := eventOf(b, strings.TrimSpace(typical))
	b.Run("everything", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(event)))
		watch, shared := following(b, negotiator{stock}, &endless{event: event}), NewShared()
		for b.Loop() {
			_, obj, err := watch.Decode()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := shared.Decode(obj.(*HTTPAppRecord).Object); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("served", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(event)))
		watch := following(b, negotiator{stock}, &endless{event: event})
		for b.Loop() {
			_, obj, err := watch.Decode()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := DecodeServed(obj.(*HTTPAppRecord)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("event", func(b *testing.B) {
		b.ReportAllocs()
		watch := following(b, negotiator{stock}, &endless{event: event})
		for b.Loop() {
			if _, _, err := watch.Decode(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("payload", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Payload(typical).Decode(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("share", func(b *testing.B) {
		b.ReportAllocs()
		shared := NewShared()
		app, err := Payload(typical).Decode()
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			shared.Share(app)
		}
	})
}
