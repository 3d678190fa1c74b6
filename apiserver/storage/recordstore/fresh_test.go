package recordstore

import (
	"maps"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// An object that goes while the informer does not watch is never taken: the informer learns of its end from the list that it begins with.
func TestWhatWasGivenIsForgottenWhenTheInformerDoesNotTakeItAnyMore(t *testing.T) {
	of := func(name, version string) *v1alpha1.HTTPApp {
		return &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, ResourceVersion: version}}
	}
	store := storeOf(t, nil)
	s := &Shared{Store: store, fresh: map[string]runtime.Object{}}
	for _, app := range []*v1alpha1.HTTPApp{of("gone", "3"), of("listed", "5"), of("older", "4"), of("coming", "11"), of("next", "12")} {
		key, err := s.keyOf(app)
		if err != nil {
			t.Fatal(err)
		}
		s.fresh[key] = app
	}
	list := &v1alpha1.HTTPAppList{ListMeta: metav1.ListMeta{ResourceVersion: "10"}, Items: []v1alpha1.HTTPApp{*of("listed", "5"), *of("older", "6"), *of("next", "7")}}
	if err := s.listed(list); err != nil {
		t.Fatal(err)
	}
	if left, want := slices.Sorted(maps.Keys(s.fresh)), []string{"/httpapps/ns/coming", "/httpapps/ns/listed", "/httpapps/ns/next"}; !slices.Equal(left, want) {
		t.Errorf("%v are left, and not %v", left, want)
	}
	if s.given("/httpapps/ns/listed", of("listed", "5"), true) == nil || len(s.fresh) != 2 {
		t.Error("what is in the list is not taken by it")
	}
}
