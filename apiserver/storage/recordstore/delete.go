package recordstore

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/klog/v2"
)

// Delete implements storage.Interface. The deletion has the resourceVersion that was read as a precondition; the returned
// object has that of the deletion.
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
		version, retry, err := s.tryDelete(ctx, key, t, st, preconditions, validate)
		if err == nil && !retry {
			if err := s.versioner.UpdateObject(st.obj, version); err != nil {
				return storage.NewInternalError(err)
			}
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
	validate storage.ValidateObjectFunc) (deleted uint64, retry bool, err error) {
	if err := preconditions.Check(key, st.obj); err != nil {
		return 0, false, err
	}
	if err := validate(ctx, st.obj); err != nil {
		return 0, false, err
	}
	last, err := s.versioner.ParseResourceVersion(st.version)
	if err != nil {
		return 0, false, storage.NewInternalError(err)
	}
	end, stop := s.watchEnd(ctx, t, last)
	defer stop()
	version := st.version
	if st.guarded {
		data, err := st.data()
		if err != nil {
			return 0, false, err
		}
		r, err := s.recordOf(t, st.before, data, version)
		if err != nil {
			return 0, false, err
		}
		r.Finalizers = nil
		var ends bool
		if version, ends, err = s.write(ctx, s.request("PUT", t), r); err != nil {
			if raced(err) {
				return 0, true, nil
			}
			return 0, false, s.translate(ctx, err, key, t.name)
		}
		if ends {
			return end(), false, nil // the finalizer was all that kept it
		}
	}
	err = s.request("DELETE", t).Body(&metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}}).Do(ctx).Error()
	switch {
	case err == nil:
		return end(), false, nil
	case raced(err):
		return 0, true, nil
	}
	return 0, false, s.translate(ctx, err, key, t.name)
}

// patience is how long a deletion waits to hear of its version.
const patience = time.Second

// watchEnd begins to watch a record that is about to be deleted, because the host does not say at which version it deleted one.
// end returns that version once it was, or the last that was known when there is none to be had: nothing depends on it that
// would be worth failing for.
func (s *Store) watchEnd(ctx context.Context, t target, last uint64) (end func() uint64, stop func()) {
	unknown := func() uint64 { return last }
	// The host's cache is the cheapest place to begin; what it has not seen yet comes as an event.
	options := metav1.ListOptions{Watch: true, ResourceVersion: "0", FieldSelector: fields.OneTermEqualSelector("metadata.name", t.name).String()}
	ctx, cancel := context.WithTimeout(ctx, 5*patience)
	w, err := s.request("GET", target{namespace: t.namespace}).SpecificallyVersionedParams(&options, metav1.ParameterCodec, optionsVersion).Watch(ctx)
	if err != nil {
		cancel()
		klog.V(4).InfoS("The version of a deletion will not be known", "resource", s.Resource, "namespace", t.namespace, "name", t.name, "err", err)
		return unknown, func() {}
	}
	stop = func() { cancel(); w.Stop() }
	end = func() uint64 {
		timeout := time.NewTimer(patience)
		defer timeout.Stop()
		for {
			select {
			case e, ok := <-w.ResultChan():
				if !ok || e.Type == watch.Error {
					return last
				}
				if e.Type != watch.Deleted {
					continue
				}
				// An earlier record of the same name may have ended, too.
				if version, err := s.versioner.ObjectResourceVersion(e.Object); err == nil && version > last {
					return version
				}
			case <-timeout.C:
				return last
			}
		}
	}
	return end, stop
}
