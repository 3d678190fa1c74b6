package recordstore

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

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
	options := metav1.GetOptions{ResourceVersion: opts.ResourceVersion}
	obj, err := s.getKnown(ctx, t, options)
	if err == nil && obj != nil {
		return assign(out, obj)
	}
	r := &record.HTTPAppRecord{}
	if err == nil {
		err = s.request("GET", t).SpecificallyVersionedParams(&options, metav1.ParameterCodec, optionsVersion).Do(ctx).Into(r)
	}
	if err != nil {
		err = s.translate(ctx, err, key, t.name)
		if opts.IgnoreNotFound && storage.IsNotFound(err) {
			return runtime.SetZeroValue(out)
		}
		return err
	}
	return s.answer(r, out)
}

// GetList implements storage.Interface.
func (s *Store) GetList(ctx context.Context, key string, opts storage.ListOptions, listObj runtime.Object) error {
	t, options, err := s.options(key, opts)
	if err != nil {
		return err
	}
	options.Limit, options.Continue = opts.Predicate.Limit, opts.Predicate.Continue
	options.ResourceVersionMatch = opts.ResourceVersionMatch
	itemsPtr, err := meta.GetItemsPtr(listObj)
	if err != nil {
		return storage.NewInternalError(err)
	}
	items := reflect.ValueOf(itemsPtr).Elem()
	list, ok, err := s.listKnown(ctx, t, options, items)
	if err == nil && !ok {
		list, err = s.listDecoded(ctx, t, options, items)
	}
	if err != nil {
		return err
	}
	version, err := s.versioner.ParseResourceVersion(list.ResourceVersion)
	if err != nil {
		return storage.NewInternalError(err)
	}
	return s.versioner.UpdateList(listObj, version, list.Continue, list.RemainingItemCount)
}

// listDecoded lists the objects that the records hold.
func (s *Store) listDecoded(ctx context.Context, t target, options metav1.ListOptions, items reflect.Value) (*metav1.ListMeta, error) {
	records, err := s.listRecords(ctx, t, options)
	if err != nil {
		return nil, err
	}
	items.Set(reflect.MakeSlice(items.Type(), 0, len(records.Items)))
	for i := range records.Items {
		obj, err := s.keep(&records.Items[i])
		if err != nil {
			leftOut(err)
			continue
		}
		s.tell(obj)
		items.Set(reflect.Append(items, reflect.ValueOf(obj).Elem()))
	}
	return &records.ListMeta, nil
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
	var options metav1.ListOptions
	t, err := s.target(key, opts.Recursive)
	if err != nil {
		return t, options, err
	}
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
	if opts.Predicate.Field != nil && !opts.Predicate.Field.Empty() {
		selector, err := opts.Predicate.Field.Transform(s.ofRecord)
		if err != nil {
			return t, options, err
		}
		selectors = append(selectors, selector)
	}
	if !opts.Recursive || t.name != "" {
		// A list or watch of one object is one of its namespace that selects it. Below an object there is nothing, and nothing
		// has the name "".
		name := t.name
		if opts.Recursive {
			name = ""
		}
		selectors = append(selectors, fields.OneTermEqualSelector("metadata.name", name))
		t.name = ""
	}
	if len(selectors) > 0 {
		options.FieldSelector = fields.AndSelectors(selectors...).String()
	}
	return t, options, nil
}

func ofMetadata(field string) bool { return field == "metadata.name" || field == "metadata.namespace" }

// ofRecord is what a selector of objects means for records.
func (s *Store) ofRecord(field, value string) (string, string, error) {
	switch {
	case ofMetadata(field):
		return field, value, nil
	case slices.Contains(s.selectable, field):
		return fieldsPrefix + field, value, nil
	}
	known := append([]string{"metadata.name", "metadata.namespace"}, s.selectable...)
	return "", "", apierrors.NewBadRequest(fmt.Sprintf("%q is not a known field selector: only \"%s\"", field, strings.Join(known, `", "`)))
}
