package record

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// negotiator is client-go's serializer with a shorter way for what comes most: a record, and an event of one. The stock way
// goes through the JSON of an event again and again, to find out what it is, and takes three times as long for each of those who
// watch the records. Whatever is not as the host writes it goes the stock way, with its results and its errors.
type negotiator struct{ runtime.NegotiatedSerializer }

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (n negotiator) SupportedMediaTypes() []runtime.SerializerInfo {
	// What the stock one returns is its own: every request asks, and would wrap it once more.
	infos := slices.Clone(n.NegotiatedSerializer.SupportedMediaTypes())
	for i, info := range infos {
		if info.MediaType != runtime.ContentTypeJSON || info.StreamSerializer == nil {
			continue
		}
		infos[i].Serializer = recordSerializer{info.Serializer}
		stream := *info.StreamSerializer
		stream.Serializer, stream.Framer = eventSerializer{stream.Serializer}, lineFramer{stream.Framer}
		infos[i].StreamSerializer = &stream
	}
	return infos
}

// recordSerializer decodes a record at once: it has no need to find out first of what type it is.
type recordSerializer struct{ runtime.Serializer }

// wire is a record as the host writes it. Its managed fields are the host's own affair: nobody here looks at them.
type wire struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        struct {
		metav1.ObjectMeta `json:",inline"`
		ManagedFields     skipped `json:"managedFields"`
	} `json:"metadata"`
	Object string                `json:"object"`
	Fields *runtime.RawExtension `json:"fields"`
}

// skipped is JSON that is not read.
type skipped struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*skipped) UnmarshalJSON([]byte) error { return nil }

// Decode implements runtime.Decoder.
func (s recordSerializer) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	r, wanted := into.(*HTTPAppRecord)
	if into != nil && (!wanted || r == nil) {
		return s.Serializer.Decode(data, defaults, into)
	}
	var w wire
	gvk := SchemeGroupVersion.WithKind("HTTPAppRecord")
	head, payload, cut := cutPayload(data)
	if !cut {
		head = data
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(head, &w); err != nil || w.GroupVersionKind() != gvk {
		return s.Serializer.Decode(data, defaults, into)
	}
	if cut {
		w.Object = payload
	}
	if r == nil {
		r = &HTTPAppRecord{}
	}
	*r = HTTPAppRecord{TypeMeta: w.TypeMeta, ObjectMeta: w.Metadata.ObjectMeta, Object: Payload(w.Object), Fields: w.Fields}
	return r, &gvk, nil
}

// cutPayload takes the payload out of a record of which it is the last field, as the host writes it, and leaves a record without:
// most of a record is its payload, and is read once here.
func cutPayload(data []byte) (head []byte, payload string, ok bool) {
	before, text, ok := bytes.Cut(bytes.TrimRight(data, "\n"), []byte(`,"object":"`))
	if !ok {
		return nil, "", false
	}
	if text, ok = bytes.CutSuffix(text, []byte(`"}`)); !ok {
		return nil, "", false
	}
	if payload, ok = unquote(text); !ok {
		return nil, "", false
	}
	return slices.Concat(before, []byte("}")), payload, true
}

// unquote returns what a JSON string means that has no other escapes than JSON in it needs.
func unquote(text []byte) (string, bool) {
	var out strings.Builder
	out.Grow(len(text))
	from := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"', c < ' ':
			return "", false
		case c == '\\':
			out.Write(text[from:i])
			if i++; i == len(text) {
				return "", false
			}
			switch text[i] {
			case '"', '\\', '/':
				from = i // and goes on with it
			case 'n':
				out.WriteByte('\n')
				from = i + 1
			default:
				return "", false
			}
		}
	}
	out.Write(text[from:])
	return out.String(), utf8.Valid(text)
}

// Encode returns a record as the host reads it.
func Encode(r *HTTPAppRecord) ([]byte, error) {
	typed := *r
	typed.APIVersion, typed.Kind = SchemeGroupVersion.String(), "HTTPAppRecord"
	return json.Marshal(&typed)
}

// eventSerializer takes the object out of an event without reading it: whoever decodes the object finds out whether it is JSON. What it
// takes out is there until the next event is read, as all that client-go does with it is to decode it.
type eventSerializer struct{ runtime.Serializer }

// Decode implements runtime.Decoder.
func (s eventSerializer) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	event, ok := into.(*metav1.WatchEvent)
	if !ok {
		return s.Serializer.Decode(data, defaults, into)
	}
	kind, object, ok := splitEvent(data)
	if !ok {
		return s.Serializer.Decode(data, defaults, into)
	}
	event.Type, event.Object.Raw = kind, object
	return event, defaults, nil
}

// splitEvent splits {"type":"KIND","object":OBJECT}.
func splitEvent(data []byte) (kind string, object []byte, ok bool) {
	rest, ok := bytes.CutPrefix(bytes.TrimSpace(data), []byte(`{"type":"`))
	if !ok {
		return "", nil, false
	}
	word, rest, ok := bytes.Cut(rest, []byte(`","object":`))
	if !ok || bytes.ContainsAny(word, `"\`) {
		return "", nil, false
	}
	object, ok = bytes.CutSuffix(rest, []byte("}"))
	return string(word), object, ok && whole(object)
}

// whole reports that what begins as a JSON object ends where data ends, and not before.
func whole(data []byte) bool {
	depth, text := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case text:
			if c == '\\' {
				i++
			} else if c == '"' {
				text = false
			}
		case c == '"':
			text = true
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth <= 0 {
				return depth == 0 && i == len(data)-1
			}
		case depth == 0:
			return false
		}
	}
	return false
}
