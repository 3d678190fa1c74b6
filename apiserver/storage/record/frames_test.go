package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// framesOf reads a stream to its end, with little room at a time.
func framesOf(t *testing.T, n runtime.NegotiatedSerializer, stream io.Reader) (frames []string, _ error) {
	t.Helper()
	_, _, framer, err := runtime.NewClientNegotiator(n, SchemeGroupVersion).StreamDecoder(runtime.ContentTypeJSON, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := framer.NewFrameReader(io.NopCloser(stream))
	for room, frame := make([]byte, 700), []byte(nil); ; {
		switch n, err := r.Read(room); {
		case err == nil:
			frames, frame = append(frames, strings.TrimSpace(string(append(frame, room[:n]...)))), nil
		case errors.Is(err, io.ErrShortBuffer):
			frame = append(frame, room[:n]...)
		default:
			return frames, err
		}
	}
}

// What begins and ends as an object does and is no JSON is left to who decodes it; the stock framer says so itself.
func TestEventsEndWhereTheyDoForTheStockFramer(t *testing.T) {
	stock := serializer.NewCodecFactory(Scheme).WithoutConversion()
	short, long := `{"type":"ADDED","object":{"a":"}\\\"{"}}`, `{"type":"ADDED","object":{"a":"`+strings.Repeat("long ", 10_000)+`"}}`
	for _, stream := range []string{
		"", short, short + "\n", short + "\n" + short + "\n", long + "\n" + short + "\n" + long + "\n", short + "\r\n" + short,
		short + short + "\n", short + "\n\n" + short + "\n", "{\n" + short[1:] + "\n" + short, short + "\n" + short[:9], long + "\n" + long[:len(long)-1],
		short + "\nnull\n7\n" + short, short + "\n}\n" + short,
	} {
		for name, reader := range map[string]func() io.Reader{
			"at once":  func() io.Reader { return strings.NewReader(stream) },
			"bytewise": func() io.Reader { return iotest.OneByteReader(strings.NewReader(stream)) },
			"cut off": func() io.Reader {
				return io.MultiReader(strings.NewReader(stream), iotest.ErrReader(errors.New("gone")))
			},
		} {
			want, wantErr := framesOf(t, stock, reader())
			got, err := framesOf(t, negotiator{stock}, reader())
			if !slices.Equal(got, want) {
				t.Errorf("%s, %.80q is %.80q, and for the stock framer %.80q", name, stream, got, want)
			}
			if fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("%s, %.80q ends with %v, and for the stock framer with %v", name, stream, err, wantErr)
			}
		}
	}
}

func TestAWatchOfManyEventsTellsEach(t *testing.T) {
	stock := serializer.NewCodecFactory(Scheme).WithoutConversion()
	var stream bytes.Buffer
	const many = 50
	for n := range many {
		stream.Write(eventOf(t, strings.Repeat(fmt.Sprint(n), 1000*n)))
	}
	watch := following(t, negotiator{stock}, &stream)
	for n := range many {
		kind, obj, err := watch.Decode()
		r, ok := obj.(*HTTPAppRecord)
		if err != nil || !ok || kind != "MODIFIED" || string(r.Object) != strings.Repeat(fmt.Sprint(n), 1000*n) {
			t.Fatalf("the event %d is %s of %.80v: %v", n, kind, obj, err)
		}
	}
	if _, _, err := watch.Decode(); !errors.Is(err, io.EOF) {
		t.Errorf("it ends with %v", err)
	}
}
