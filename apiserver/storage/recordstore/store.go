// Package recordstore is k8s.io/apiserver's storage.Interface over records in the host cluster: every object is the opaque
// payload of one record of the same namespace and name. Any number of servers may use the same records, and what they answer is
// as consistent as what the host answers: what a Store keeps of them in memory saves work, and decides nothing.
package recordstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/rest"

	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// Finalizer keeps a record while its object has finalizers: the host's namespace controller sweeps away records and objects
// alike, and knows only the record's.
const Finalizer = record.GroupName + "/object"

// fieldsPrefix is where a record has the fields to select by.
const fieldsPrefix = "fields."

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
	// Decode reads what Codec wrote, to the same, where there is a quicker way; nil: there is none.
	Decode func(record.Payload) (runtime.Object, error)
	// Keep reads as Decode does what is kept in memory: it may have in common with other objects what is the same, as it is not
	// changed any more. nil: there is no difference.
	Keep func(record.Payload) (runtime.Object, error)
	// New makes an empty object, NewList an empty list.
	New, NewList func() runtime.Object
	// Attrs tells the fields of an object that it can be selected by; nil: only metadata.name and metadata.namespace. Others
	// are written beside the payload, and the definition of the records has each among its selectableFields, as fields.NAME.
	Attrs storage.AttrFunc
}

// Store keeps objects as records. See the package.
type Store struct {
	Config
	versioner storage.Versioner
	// selectable are the fields to select by besides those of metadata, in order.
	selectable []string
	// known saves work; nil: nothing is known.
	known *known
	// kept is told what was read to be kept in memory; nil: nobody is.
	kept func(runtime.Object)
}

var _ storage.Interface = &Store{}

// New makes a store.
func New(config Config) (*Store, error) {
	config.Prefix = "/" + strings.Trim(config.Prefix, "/") + "/"
	s := &Store{Config: config, versioner: storage.APIObjectVersioner{}}
	if s.Attrs == nil {
		return s, nil
	}
	_, set, err := s.Attrs(s.New())
	if err != nil {
		return nil, fmt.Errorf("the fields that %s can be selected by: %w", s.Resource, err)
	}
	for _, field := range slices.Sorted(maps.Keys(set)) {
		if !ofMetadata(field) {
			s.selectable = append(s.selectable, field)
		}
	}
	return s, nil
}

// Versioner implements storage.Interface.
func (s *Store) Versioner() storage.Versioner { return s.versioner }

// ReadinessCheck implements storage.Interface. The store is never on its way to be ready: it has nothing to load.
func (s *Store) ReadinessCheck() error { return nil }

// EnableResourceSizeEstimation implements storage.Interface. The host knows the sizes.
func (s *Store) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }

// CompactRevision implements storage.Interface. Compaction is the host's.
func (s *Store) CompactRevision() int64 { return 0 }

// RequestWatchProgress implements storage.Interface. It is for lists from a cacher, which asks nobody else.
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

// target parses a key. A recursive request is for what is below the key.
func (s *Store) target(key string, recursive bool) (target, error) {
	key, err := storage.PrepareKey(s.Prefix, key, recursive)
	if err != nil {
		return target{}, storage.NewInternalError(err)
	}
	parts := strings.Split(strings.Trim(strings.TrimPrefix(key, s.Prefix), "/"), "/")
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
	t, err := s.target(key, false)
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
