package recordstore

import (
	"context"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// known is what this process has heard of the stored objects by itself. It saves work and decides nothing: an object of it is
// returned only where the host has just said that its version is the present one, and written over only on that condition.
type known struct {
	objects cache.Store
	// versions reads the records' metadata, which is a fraction of the records.
	versions metadata.Interface
}

// get returns an object as it was at its resourceVersion, or nil. It is not to be changed.
func (k *known) get(t target) runtime.Object {
	obj, there, err := k.objects.GetByKey(t.namespace + "/" + t.name)
	if err != nil || !there {
		return nil
	}
	o, _ := obj.(runtime.Object)
	return o
}

const (
	// fewest is how many objects a list must be of for their versions to be asked for first.
	fewest = 50
	// strangers is how many objects of a list may be read one by one because they are not known at their version.
	strangers = 20
)

// getKnown returns a copy of what is known of an object, if the host says that it is that version of it which was asked for.
func (s *Store) getKnown(ctx context.Context, t target, options metav1.GetOptions) (runtime.Object, error) {
	if s.known == nil {
		return nil, nil
	}
	obj := s.known.get(t)
	if obj == nil {
		return nil, nil
	}
	now, err := s.known.versions.Resource(record.Resource).Namespace(t.namespace).Get(ctx, t.name, options)
	if err != nil || now.ResourceVersion != versionOf(obj) {
		return nil, err
	}
	return obj.DeepCopyObject(), nil
}

// listKnown lists what is known of objects whose versions the host lists, if it can: the result is the same as that of a list of
// the records. What its objects point to is shared.
func (s *Store) listKnown(ctx context.Context, t target, options metav1.ListOptions, items reflect.Value) (_ *metav1.ListMeta, ok bool, _ error) {
	if s.known == nil || options.Limit > 0 && options.Limit < fewest {
		return nil, false, nil
	}
	versions, err := s.known.versions.Resource(record.Resource).Namespace(t.namespace).List(ctx, options)
	if err != nil {
		return nil, false, s.translate(ctx, err, "", "")
	}
	slice := reflect.MakeSlice(items.Type(), 0, len(versions.Items))
	unknown := 0
	for i := range versions.Items {
		one := target{versions.Items[i].Namespace, versions.Items[i].Name}
		obj := s.known.get(one)
		if obj == nil || versionOf(obj) != versions.Items[i].ResourceVersion {
			if unknown++; unknown > strangers {
				return nil, false, nil
			}
			r := &record.HTTPAppRecord{}
			if err := s.request("GET", one).Do(ctx).Into(r); err != nil || r.ResourceVersion != versions.Items[i].ResourceVersion {
				return nil, false, nil // it has changed since
			}
			if obj, err = s.decode(r); err != nil {
				leftOut(err)
				continue
			}
		}
		slice = reflect.Append(slice, reflect.ValueOf(obj).Elem())
	}
	items.Set(slice)
	return &versions.ListMeta, true, nil
}

// versionOf is an object's resourceVersion; "" when it has none.
func versionOf(obj runtime.Object) string {
	m, err := meta.Accessor(obj)
	if err != nil {
		return ""
	}
	return m.GetResourceVersion()
}
