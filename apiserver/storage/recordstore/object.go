package recordstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// encode prepares the object for storage at the target and returns its payload. An object has the name of its record.
func (s *Store) encode(t target, obj runtime.Object) ([]byte, error) {
	if err := s.versioner.PrepareObjectForStorage(obj); err != nil {
		return nil, fmt.Errorf("preparing an object for storage: %w", err)
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, storage.NewInternalError(err)
	}
	m.SetNamespace(t.namespace)
	m.SetName(t.name)
	data, err := runtime.Encode(s.Codec, obj)
	return bytes.TrimSpace(data), err
}

// decode returns the object that a record keeps, with the record's name, namespace and resourceVersion.
func (s *Store) decode(r *record.HTTPAppRecord) (runtime.Object, error) {
	return s.decodeBy(s.decodePayload, r)
}

// keep is decode of an object that is kept in memory.
func (s *Store) keep(r *record.HTTPAppRecord) (runtime.Object, error) {
	by := s.Keep
	if by == nil {
		by = s.decodePayload
	}
	return s.decodeBy(by, r)
}

func (s *Store) decodeBy(decode func(record.Payload) (runtime.Object, error), r *record.HTTPAppRecord) (runtime.Object, error) {
	broken := func(format string, args ...any) error {
		return fmt.Errorf("the record of %s/%s is broken: %w", r.Namespace, r.Name, fmt.Errorf(format, args...))
	}
	if r.Object == "" {
		return nil, broken("it is empty")
	}
	obj, err := decode(r.Object)
	if err != nil {
		return nil, broken("%w", err)
	}
	if want := reflect.TypeOf(s.New()); reflect.TypeOf(obj) != want {
		return nil, broken("it holds %T, not %v", obj, want)
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, broken("%w", err)
	}
	// The record may have been restored in another namespace than it was saved in.
	m.SetNamespace(r.Namespace)
	m.SetName(r.Name)
	m.SetResourceVersion(r.ResourceVersion)
	return obj, nil
}

func (s *Store) decodePayload(p record.Payload) (runtime.Object, error) {
	if s.Decode != nil {
		return s.Decode(p)
	}
	obj, _, err := s.Codec.Decode([]byte(p), nil, nil)
	return obj, err
}

// tell tells of an object that was read to be kept in memory.
func (s *Store) tell(obj runtime.Object) {
	if s.kept != nil {
		s.kept(obj)
	}
}

// recordOf is the record to write for an object.
func (s *Store) recordOf(t target, obj runtime.Object, data []byte, version string) (*record.HTTPAppRecord, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, storage.NewInternalError(err)
	}
	r := &record.HTTPAppRecord{
		ObjectMeta: metav1.ObjectMeta{Namespace: t.namespace, Name: t.name, Labels: m.GetLabels(), ResourceVersion: version},
		Object:     record.Payload(data),
	}
	if version != "" {
		// The host is to forget who manages which field of the record, and then does not work it out at each write, store it and
		// send it to all who watch. Of a record that it had none of it goes on without; at a creation it cannot be had otherwise.
		r.ManagedFields = []metav1.ManagedFieldsEntry{{}}
	}
	if len(m.GetFinalizers()) > 0 {
		r.Finalizers = []string{Finalizer}
	}
	r.Fields, err = s.fieldsOf(obj)
	return r, err
}

// fieldsOf are the fields that the host selects the record by, nil if all are empty.
func (s *Store) fieldsOf(obj runtime.Object) (*runtime.RawExtension, error) {
	if len(s.selectable) == 0 {
		return nil, nil
	}
	_, set, err := s.Attrs(obj)
	if err != nil {
		return nil, storage.NewInternalError(err)
	}
	tree := map[string]any{}
	for _, field := range s.selectable {
		if value := set[field]; value != "" {
			if err := unstructured.SetNestedField(tree, value, strings.Split(field, ".")...); err != nil {
				return nil, storage.NewInternalError(err)
			}
		}
	}
	if len(tree) == 0 {
		return nil, nil
	}
	raw, err := json.Marshal(tree)
	return &runtime.RawExtension{Raw: raw}, err
}

// upToDate reports that a stored record is what would be written for its object now. It may not be after an upgrade of the
// server, or when somebody else wrote it; then even an update that changes nothing writes it anew.
func upToDate(stored, now *record.HTTPAppRecord) bool {
	return maps.Equal(stored.Labels, now.Labels) && slices.Equal(stored.Finalizers, now.Finalizers) &&
		stored.Object == now.Object && sameJSON(stored.Fields, now.Fields)
}

func sameJSON(a, b *runtime.RawExtension) bool {
	if a == nil || b == nil {
		return a == b
	}
	if bytes.Equal(a.Raw, b.Raw) {
		return true
	}
	var x, y any
	return json.Unmarshal(a.Raw, &x) == nil && json.Unmarshal(b.Raw, &y) == nil && reflect.DeepEqual(x, y)
}

// assign sets *out to *obj.
func assign(out, obj runtime.Object) error {
	to, from := reflect.ValueOf(out), reflect.ValueOf(obj)
	if to.Kind() != reflect.Pointer || to.IsNil() || to.Type() != from.Type() {
		return storage.NewInternalError(fmt.Errorf("cannot return %T as %T", obj, out))
	}
	to.Elem().Set(from.Elem())
	return nil
}
