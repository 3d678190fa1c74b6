package record

import (
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// most is how many different values are remembered. When there are more, all are forgotten: those who have them keep them.
const most = 4096

// Shared lets apps that are kept in memory have in common what is the same in many: which fields a manager manages, and what
// containers need, take more than a third of an app. An app that shares must not be changed any more, as is the rule for
// what informers keep.
//
// +k8s:deepcopy-gen=false
type Shared struct {
	mu        sync.Mutex
	strings   map[string]string
	fields    map[string]*metav1.FieldsV1
	resources map[string]corev1.ResourceList
}

// NewShared makes a Shared of nothing.
func NewShared() *Shared {
	s := &Shared{}
	s.forget()
	return s
}

func (s *Shared) forget() {
	s.strings, s.fields, s.resources = map[string]string{}, map[string]*metav1.FieldsV1{}, map[string]corev1.ResourceList{}
}

// Share replaces what an app has the same as another by the other's.
func (s *Shared) Share(app *v1alpha1.HTTPApp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.strings)+len(s.fields)+len(s.resources) > most {
		s.forget()
	}
	for i := range app.ManagedFields {
		m := &app.ManagedFields[i]
		s.text(&m.Manager, &m.APIVersion, &m.FieldsType, &m.Subresource)
		m.Operation = metav1.ManagedFieldsOperationType(s.one(string(m.Operation)))
		m.FieldsV1 = s.same(m.FieldsV1)
	}
	for i := range app.Status.Conditions {
		c := &app.Status.Conditions[i]
		s.text(&c.Type, &c.Reason)
		c.Status = metav1.ConditionStatus(s.one(string(c.Status)))
	}
	if app.Spec.Template == nil {
		return
	}
	for _, containers := range [][]corev1.Container{app.Spec.Template.Spec.InitContainers, app.Spec.Template.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			c.Resources.Requests, c.Resources.Limits = s.amounts(c.Resources.Requests), s.amounts(c.Resources.Limits)
		}
	}
}

func (s *Shared) text(of ...*string) {
	for _, t := range of {
		*t = s.one(*t)
	}
}

func (s *Shared) one(text string) string {
	same, ok := s.strings[text]
	if !ok {
		s.strings[text] = text
		return text
	}
	return same
}

func (s *Shared) same(fields *metav1.FieldsV1) *metav1.FieldsV1 {
	if fields == nil {
		return nil
	}
	text := fields.GetRawString()
	same, ok := s.fields[text]
	if !ok {
		s.fields[text] = fields
		return fields
	}
	return same
}

func (s *Shared) amounts(list corev1.ResourceList) corev1.ResourceList {
	if len(list) == 0 {
		return list
	}
	parts := make([]string, 0, len(list))
	for name, amount := range list {
		// The format is part of it: 1000m and 1 are as much, and do not look the same.
		parts = append(parts, string(name)+"="+amount.String())
	}
	slices.Sort(parts)
	key := strings.Join(parts, ",")
	same, ok := s.resources[key]
	if !ok {
		s.resources[key] = list
		return list
	}
	return same
}
