package recordstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// state is what is known of a stored object.
type state struct {
	obj runtime.Object
	// version is the resourceVersion, "" when there is no object.
	version string
	// before is the object as it was found, which nobody changes; data is its payload as it would be written.
	before runtime.Object
	data   func() ([]byte, error)
	// guarded says that the record has the finalizer.
	guarded bool
	// record is what was read; nil when there is none, or when the caller suggested the object.
	record *record.HTTPAppRecord
	// current says that it was read just now, and not suggested by the caller.
	current bool
}

func (s *Store) read(ctx context.Context, key string, t target, ignoreNotFound bool) (*state, error) {
	r := &record.HTTPAppRecord{}
	if err := s.request("GET", t).Do(ctx).Into(r); err != nil {
		err = s.translate(ctx, err, key, t.name)
		if ignoreNotFound && storage.IsNotFound(err) {
			return &state{obj: s.New(), current: true}, nil
		}
		return nil, err
	}
	obj, err := s.decode(r)
	if err != nil {
		return nil, storage.NewInternalError(err)
	}
	st, err := s.stateOf(t, obj)
	if err != nil {
		return nil, err
	}
	st.guarded, st.record, st.current = len(r.Finalizers) > 0, r, true
	return st, nil
}

// stateOf is the state with this object, which is not changed. The record of an object that the caller suggests is not known, but
// follows from the object.
func (s *Store) stateOf(t target, before runtime.Object) (*state, error) {
	m, err := meta.Accessor(before)
	if err != nil {
		return nil, storage.NewInternalError(err)
	}
	return &state{
		// An update that is given up may have changed it.
		obj: before.DeepCopyObject(), version: m.GetResourceVersion(), guarded: len(m.GetFinalizers()) > 0, before: before,
		data: func() ([]byte, error) { return s.encode(t, before.DeepCopyObject()) },
	}, nil
}

// unchanged reports that what would be written is what there is.
func (st *state) unchanged(obj runtime.Object, data []byte) (bool, error) {
	if st.version == "" || differ(st.before, obj) {
		return false, nil
	}
	before, err := st.data()
	return bytes.Equal(data, before), err
}

// differ sees of most changes, by what is quickly looked at, that two objects are not the same.
func differ(a, b runtime.Object) bool {
	x, errX := meta.Accessor(a)
	y, errY := meta.Accessor(b)
	return errX == nil && errY == nil && (x.GetGeneration() != y.GetGeneration() ||
		!maps.Equal(x.GetLabels(), y.GetLabels()) || !maps.Equal(x.GetAnnotations(), y.GetAnnotations()))
}

func (s *Store) initial(ctx context.Context, key string, t target, ignoreNotFound bool, suggestion runtime.Object) (*state, error) {
	if suggestion == nil && s.known != nil {
		suggestion = s.known.get(t)
	}
	if suggestion == nil {
		return s.read(ctx, key, t, ignoreNotFound)
	}
	return s.stateOf(t, suggestion)
}

// Create implements storage.Interface. Objects do not expire: a ttl is refused.
func (s *Store) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	t, err := s.one(key)
	if err != nil {
		return err
	}
	if ttl != 0 {
		return storage.NewInternalError(errors.New("records do not expire"))
	}
	if version, err := s.versioner.ObjectResourceVersion(obj); err == nil && version != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	data, err := s.encode(t, obj)
	if err != nil {
		return err
	}
	r, err := s.recordOf(t, obj, data, "")
	if err != nil {
		return err
	}
	if r.ResourceVersion, _, err = s.write(ctx, s.request("POST", target{namespace: t.namespace}), r); err != nil {
		return s.translate(ctx, err, key, t.name)
	}
	return s.answer(r, out)
}

// onlyMetadata is what is asked for of a record whose payload is known already.
const onlyMetadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// write sends a record and returns the version that it has then, and whether it is only there until its last finalizer goes.
func (s *Store) write(ctx context.Context, request *rest.Request, r *record.HTTPAppRecord) (version string, ends bool, err error) {
	data, err := record.Encode(r)
	if err != nil {
		return "", false, storage.NewInternalError(err)
	}
	// The host need not look for fields that it does not know: it would read the record twice for that.
	result := request.Param("fieldValidation", metav1.FieldValidationIgnore).SetHeader("Content-Type", runtime.ContentTypeJSON).
		SetHeader("Accept", onlyMetadata).Body(data).Do(ctx)
	if err := result.Error(); err != nil { // which, unlike Raw, reads the host's words
		return "", false, err
	}
	answer, err := result.Raw()
	if err != nil {
		return "", false, err
	}
	var written metav1.PartialObjectMetadata
	if err := json.Unmarshal(answer, &written); err != nil {
		return "", false, fmt.Errorf("the answer to a write: %w", err)
	}
	return written.ResourceVersion, written.DeletionTimestamp != nil, nil
}

func (s *Store) answer(r *record.HTTPAppRecord, out runtime.Object) error {
	if out == nil {
		return nil
	}
	obj, err := s.decode(r)
	if err != nil {
		return storage.NewInternalError(err)
	}
	return assign(out, obj)
}

// GuaranteedUpdate implements storage.Interface. A write has the resourceVersion that was read as a precondition; when another
// write was faster, it begins again. The caller's own preconditions are checked against what was read.
func (s *Store) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, suggestion runtime.Object) error {
	t, err := s.one(key)
	if err != nil {
		return err
	}
	st, err := s.initial(ctx, key, t, ignoreNotFound, suggestion)
	if err != nil {
		return err
	}
	for {
		retry, err := s.tryUpdate(ctx, key, t, st, destination, preconditions, tryUpdate)
		if err == nil && !retry {
			return nil
		}
		if err != nil && st.current {
			return err
		}
		// Another write was faster, or the caller suggested what is no longer true.
		failed := st
		if st, err = s.reread(ctx, key, t, ignoreNotFound, failed, err); err != nil {
			return err
		}
	}
}

// reread reads the object again after what was thought of it led to cause. When it has not changed, the cause stands.
func (s *Store) reread(ctx context.Context, key string, t target, ignoreNotFound bool, before *state, cause error) (*state, error) {
	now, err := s.read(ctx, key, t, ignoreNotFound)
	if err != nil {
		return nil, err
	}
	if cause != nil && now.version == before.version {
		return nil, cause
	}
	return now, nil
}

func (s *Store) tryUpdate(ctx context.Context, key string, t target, st *state, destination runtime.Object,
	preconditions *storage.Preconditions, update storage.UpdateFunc) (retry bool, err error) {
	if err := preconditions.Check(key, st.obj); err != nil {
		return false, err
	}
	var version uint64
	if st.version != "" {
		if version, err = s.versioner.ParseResourceVersion(st.version); err != nil {
			return false, err
		}
	}
	obj, ttl, err := update(st.obj, storage.ResponseMeta{ResourceVersion: version})
	if err != nil {
		return false, err
	}
	if ttl != nil && *ttl != 0 {
		return false, storage.NewInternalError(errors.New("records do not expire"))
	}
	// The object may be the caller's, who goes on using it.
	obj = obj.DeepCopyObject()
	data, err := s.encode(t, obj)
	if err != nil {
		return false, err
	}
	r, err := s.recordOf(t, obj, data, st.version)
	if err != nil {
		return false, err
	}
	same, err := st.unchanged(obj, data)
	if err != nil {
		return false, err
	}
	if same {
		if !st.current {
			return true, nil
		}
		if upToDate(st.record, r) {
			m, err := meta.Accessor(obj)
			if err != nil {
				return false, storage.NewInternalError(err)
			}
			m.SetResourceVersion(st.version)
			return false, assign(destination, obj)
		}
	}
	request := s.request("PUT", t)
	if st.version == "" {
		request = s.request("POST", target{namespace: t.namespace})
	}
	if r.ResourceVersion, _, err = s.write(ctx, request, r); err != nil {
		if raced(err) {
			klog.V(4).InfoS("Another write was faster, trying again", "resource", s.Resource, "namespace", t.namespace, "name", t.name)
			return true, nil
		}
		return false, s.translate(ctx, err, key, t.name)
	}
	return false, s.answer(r, destination)
}

// raced reports that a write failed because of another write.
func raced(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
