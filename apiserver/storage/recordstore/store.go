// Package recordstore is k8s.io/apiserver's storage.Interface over records in the host cluster: every object is the opaque
// payload of one record of the same namespace and name. It keeps nothing itself, no cache either, so that any number of
// servers may use the same records, and what they answer is as consistent as what the host answers.
package recordstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// Finalizer keeps a record while its object has finalizers: the host's namespace controller sweeps away records and objects
// alike, and knows only the record's.
const Finalizer = record.GroupName + "/object"

// optionsVersion is that of options in requests, whatever the resource.
var optionsVersion = schema.GroupVersion{Version: "v1"}

// Config says what is kept, and where.
type Config struct {
	// Client is for the records; see record.NewClient.
	Client rest.Interface
	// Resource is the resource of the objects; errors speak of it.
	Resource schema.GroupResource
	// Prefix is the first part of every key: PREFIX/namespace/name.
	Prefix string
	// Codec writes payloads and reads them.
	Codec runtime.Codec
	// New makes an empty object.
	New func() runtime.Object
}

// Store keeps objects as records. See the package.
type Store struct {
	Config
	versioner storage.Versioner
}

var _ storage.Interface = &Store{}

// New makes a store.
func New(config Config) *Store {
	config.Prefix = "/" + strings.Trim(config.Prefix, "/") + "/"
	return &Store{Config: config, versioner: storage.APIObjectVersioner{}}
}

// Versioner implements storage.Interface.
func (s *Store) Versioner() storage.Versioner { return s.versioner }

// ReadinessCheck implements storage.Interface. The store is never on its way to be ready: it has nothing to load.
func (s *Store) ReadinessCheck() error { return nil }

// EnableResourceSizeEstimation implements storage.Interface. The host knows the sizes.
func (s *Store) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }

// CompactRevision implements storage.Interface. Compaction is the host's.
func (s *Store) CompactRevision() int64 { return 0 }

// RequestWatchProgress implements storage.Interface. It is for a cacher, which the store has none of.
func (s *Store) RequestWatchProgress(context.Context) error {
	return errors.New("the host cluster sends bookmarks in its own time")
}

// GetCurrentResourceVersion implements storage.Interface.
func (s *Store) GetCurrentResourceVersion(ctx context.Context) (uint64, error) {
	list, err := s.listRecords(ctx, target{}, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	return s.versioner.ParseResourceVersion(list.ResourceVersion)
}

// Stats implements storage.Interface.
func (s *Store) Stats(ctx context.Context) (storage.Stats, error) {
	list, err := s.listRecords(ctx, target{}, metav1.ListOptions{Limit: 1})
	if err != nil {
		return storage.Stats{}, err
	}
	count := int64(len(list.Items))
	if list.RemainingItemCount != nil {
		count += *list.RemainingItemCount
	}
	return storage.Stats{ObjectCount: count}, nil
}

// target is what a key means: all objects, those of a namespace, or one.
type target struct{ namespace, name string }

// target parses a key.
func (s *Store) target(key string) (target, error) {
	rest, ok := strings.CutPrefix(strings.TrimSuffix("/"+strings.Trim(key, "/"), "/")+"/", s.Prefix)
	if !ok {
		return target{}, storage.NewInternalError(fmt.Errorf("key %q is not below %q", key, s.Prefix))
	}
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	if len(parts) > 2 {
		return target{}, storage.NewInternalError(fmt.Errorf("key %q has more than a namespace and a name", key))
	}
	t := target{namespace: parts[0]}
	if len(parts) == 2 {
		t.name = parts[1]
	}
	return t, nil
}

// one parses the key of one object.
func (s *Store) one(key string) (target, error) {
	t, err := s.target(key)
	if err == nil && (t.namespace == "" || t.name == "") {
		err = storage.NewInternalError(fmt.Errorf("key %q names no object", key))
	}
	return t, err
}

func (s *Store) request(verb string, t target) *rest.Request {
	r := s.Client.Verb(verb).Resource(record.Resource.Resource)
	if t.namespace != "" {
		r = r.Namespace(t.namespace)
	}
	if t.name != "" {
		r = r.Name(t.name)
	}
	return r
}

// state is what is known of a stored object.
type state struct {
	obj runtime.Object
	// version is the resourceVersion, "" when there is no object.
	version string
	// data is the payload as it would be written.
	data []byte
	// guarded says that the record has the finalizer.
	guarded bool
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
	return s.stateOf(obj, len(r.Finalizers) > 0, true)
}

// stateOf is the state with this object. The record of an object that the caller suggests is not known, but follows from the
// object.
func (s *Store) stateOf(obj runtime.Object, guarded, current bool) (*state, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, storage.NewInternalError(err)
	}
	version := m.GetResourceVersion()
	stored := obj.DeepCopyObject()
	data, err := s.encode(stored)
	if err != nil {
		return nil, err
	}
	return &state{obj: obj, version: version, data: data, guarded: guarded, current: current}, nil
}

func (s *Store) initial(ctx context.Context, key string, t target, ignoreNotFound bool, suggestion runtime.Object) (*state, error) {
	if suggestion == nil {
		return s.read(ctx, key, t, ignoreNotFound)
	}
	m, err := meta.Accessor(suggestion)
	if err != nil {
		return nil, storage.NewInternalError(err)
	}
	// The caller's own must not be changed by an update that is given up.
	return s.stateOf(suggestion.DeepCopyObject(), len(m.GetFinalizers()) > 0, false)
}

// encode prepares the object for storage and returns its payload.
func (s *Store) encode(obj runtime.Object) ([]byte, error) {
	if err := s.versioner.PrepareObjectForStorage(obj); err != nil {
		return nil, fmt.Errorf("preparing an object for storage: %w", err)
	}
	data, err := runtime.Encode(s.Codec, obj)
	return bytes.TrimSpace(data), err
}

// decode returns the object that a record keeps, with the record's resourceVersion.
func (s *Store) decode(r *record.HTTPAppRecord) (runtime.Object, error) {
	broken := func(format string, args ...any) error {
		return fmt.Errorf("the record of %s/%s is broken: %w", r.Namespace, r.Name, fmt.Errorf(format, args...))
	}
	if len(r.Object.Raw) == 0 {
		return nil, broken("it is empty")
	}
	obj, _, err := s.Codec.Decode(r.Object.Raw, nil, nil)
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
	if m.GetNamespace() != r.Namespace || m.GetName() != r.Name {
		return nil, broken("it holds the object %s/%s", m.GetNamespace(), m.GetName())
	}
	m.SetResourceVersion(r.ResourceVersion)
	return obj, nil
}

// recordOf is the record to write for an object.
func (s *Store) recordOf(t target, obj runtime.Object, data []byte, version string) (*record.HTTPAppRecord, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, storage.NewInternalError(err)
	}
	if m.GetNamespace() != t.namespace || m.GetName() != t.name {
		// What is written here could never be read again.
		return nil, storage.NewInternalError(fmt.Errorf("the object %s/%s cannot be kept as %s/%s", m.GetNamespace(), m.GetName(), t.namespace, t.name))
	}
	r := &record.HTTPAppRecord{
		ObjectMeta: metav1.ObjectMeta{Namespace: t.namespace, Name: t.name, Labels: m.GetLabels(), ResourceVersion: version},
		Object:     runtime.RawExtension{Raw: data},
	}
	if len(m.GetFinalizers()) > 0 {
		r.Finalizers = []string{Finalizer}
	}
	return r, nil
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
	data, err := s.encode(obj)
	if err != nil {
		return err
	}
	r, err := s.recordOf(t, obj, data, "")
	if err != nil {
		return err
	}
	written := &record.HTTPAppRecord{}
	if err := s.request("POST", target{namespace: t.namespace}).Body(r).Do(ctx).Into(written); err != nil {
		return s.translate(ctx, err, key, t.name)
	}
	return s.answer(written, out)
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

// Get implements storage.Interface.
func (s *Store) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	t, err := s.one(key)
	if err != nil {
		return err
	}
	if opts.ResourceVersion != "" {
		if _, err := s.versioner.ParseResourceVersion(opts.ResourceVersion); err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
		}
	}
	r := &record.HTTPAppRecord{}
	err = s.request("GET", t).SpecificallyVersionedParams(&metav1.GetOptions{ResourceVersion: opts.ResourceVersion}, metav1.ParameterCodec, optionsVersion).Do(ctx).Into(r)
	if err != nil {
		err = s.translate(ctx, err, key, t.name)
		if opts.IgnoreNotFound && storage.IsNotFound(err) {
			return runtime.SetZeroValue(out)
		}
		return err
	}
	return s.answer(r, out)
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
	data, err := s.encode(obj)
	if err != nil {
		return false, err
	}
	if st.version != "" && bytes.Equal(data, st.data) {
		if !st.current {
			return true, nil
		}
		m, err := meta.Accessor(obj)
		if err != nil {
			return false, storage.NewInternalError(err)
		}
		m.SetResourceVersion(st.version)
		return false, assign(destination, obj)
	}
	r, err := s.recordOf(t, obj, data, st.version)
	if err != nil {
		return false, err
	}
	request := s.request("PUT", t)
	if st.version == "" {
		request = s.request("POST", target{namespace: t.namespace})
	}
	written := &record.HTTPAppRecord{}
	if err := request.Body(r).Do(ctx).Into(written); err != nil {
		if raced(err) {
			klog.V(4).InfoS("Another write was faster, trying again", "resource", s.Resource, "namespace", t.namespace, "name", t.name)
			return true, nil
		}
		return false, s.translate(ctx, err, key, t.name)
	}
	return false, s.answer(written, destination)
}

// raced reports that a write failed because of another write.
func raced(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

// Delete implements storage.Interface. The deletion has the resourceVersion that was read as a precondition. The returned
// object has that version, too: the host does not say at which version it deleted a record.
func (s *Store) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, suggestion runtime.Object, _ storage.DeleteOptions) error {
	t, err := s.one(key)
	if err != nil {
		return err
	}
	st, err := s.initial(ctx, key, t, false, suggestion)
	if err != nil {
		return err
	}
	for {
		retry, err := s.tryDelete(ctx, key, t, st, preconditions, validate)
		if err == nil && !retry {
			return assign(out, st.obj)
		}
		if err != nil && st.current {
			return err
		}
		failed := st
		if st, err = s.reread(ctx, key, t, false, failed, err); err != nil {
			return err
		}
	}
}

func (s *Store) tryDelete(ctx context.Context, key string, t target, st *state, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc) (retry bool, err error) {
	if err := preconditions.Check(key, st.obj); err != nil {
		return false, err
	}
	if err := validate(ctx, st.obj); err != nil {
		return false, err
	}
	version := st.version
	if st.guarded {
		r, err := s.recordOf(t, st.obj, st.data, version)
		if err != nil {
			return false, err
		}
		r.Finalizers = nil
		released := &record.HTTPAppRecord{}
		if err := s.request("PUT", t).Body(r).Do(ctx).Into(released); err != nil {
			if raced(err) {
				return true, nil
			}
			return false, s.translate(ctx, err, key, t.name)
		}
		if released.DeletionTimestamp != nil {
			return false, nil // the finalizer was all that kept it
		}
		version = released.ResourceVersion
	}
	err = s.request("DELETE", t).Body(&metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}}).Do(ctx).Error()
	switch {
	case err == nil:
		return false, nil
	case raced(err):
		return true, nil
	}
	return false, s.translate(ctx, err, key, t.name)
}

// GetList implements storage.Interface.
func (s *Store) GetList(ctx context.Context, key string, opts storage.ListOptions, listObj runtime.Object) error {
	t, options, err := s.options(key, opts)
	if err != nil {
		return err
	}
	options.Limit, options.Continue = opts.Predicate.Limit, opts.Predicate.Continue
	options.ResourceVersionMatch = opts.ResourceVersionMatch
	records, err := s.listRecords(ctx, t, options)
	if err != nil {
		return err
	}
	itemsPtr, err := meta.GetItemsPtr(listObj)
	if err != nil {
		return storage.NewInternalError(err)
	}
	items := reflect.ValueOf(itemsPtr).Elem()
	items.Set(reflect.MakeSlice(items.Type(), 0, len(records.Items)))
	for i := range records.Items {
		obj, err := s.decode(&records.Items[i])
		if err != nil {
			leftOut(err)
			continue
		}
		items.Set(reflect.Append(items, reflect.ValueOf(obj).Elem()))
	}
	version, err := s.versioner.ParseResourceVersion(records.ResourceVersion)
	if err != nil {
		return storage.NewInternalError(err)
	}
	return s.versioner.UpdateList(listObj, version, records.Continue, records.RemainingItemCount)
}

func (s *Store) listRecords(ctx context.Context, t target, options metav1.ListOptions) (*record.HTTPAppRecordList, error) {
	list := &record.HTTPAppRecordList{}
	if err := s.request("GET", t).SpecificallyVersionedParams(&options, metav1.ParameterCodec, optionsVersion).Do(ctx).Into(list); err != nil {
		return nil, s.translate(ctx, err, "", "")
	}
	return list, nil
}

// options are those of the host's list or watch that asks for the same. The host evaluates the selectors, so those that it
// cannot evaluate are refused.
func (s *Store) options(key string, opts storage.ListOptions) (target, metav1.ListOptions, error) {
	t, err := s.target(key)
	if err != nil {
		return t, metav1.ListOptions{}, err
	}
	var options metav1.ListOptions
	if opts.ResourceVersion != "" {
		if _, err := s.versioner.ParseResourceVersion(opts.ResourceVersion); err != nil {
			return t, options, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
		}
		options.ResourceVersion = opts.ResourceVersion
	}
	if opts.Predicate.Label != nil {
		options.LabelSelector = opts.Predicate.Label.String()
	}
	var selectors []fields.Selector
	if opts.Predicate.Field != nil {
		for _, r := range opts.Predicate.Field.Requirements() {
			if r.Field != "metadata.name" && r.Field != "metadata.namespace" {
				return t, options, apierrors.NewBadRequest(fmt.Sprintf("%s cannot be selected by field %s, only by metadata.name and metadata.namespace", s.Resource, r.Field))
			}
		}
		if !opts.Predicate.Field.Empty() {
			selectors = append(selectors, opts.Predicate.Field)
		}
	}
	if t.name != "" {
		// A list or watch of one object is one of its namespace that selects it.
		selectors = append(selectors, fields.OneTermEqualSelector("metadata.name", t.name))
		t.name = ""
	}
	if len(selectors) > 0 {
		options.FieldSelector = fields.AndSelectors(selectors...).String()
	}
	return t, options, nil
}
