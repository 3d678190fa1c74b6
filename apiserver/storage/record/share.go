package record

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// most is how many different values are remembered. When there are more, all are forgotten: those who have them keep them.
const most = 4096

// Shared lets apps that are kept in memory have in common what is the same in many: words, which fields a manager manages, and how
// containers are asked and bounded take a third of an app. An app that shares must not be changed any more, as is the rule for what
// informers keep.
//
// +k8s:deepcopy-gen=false
type Shared struct {
	mu        sync.Mutex
	strings   map[string]string
	fields    map[string]*metav1.FieldsV1
	resources map[string]corev1.ResourceList
	parts     map[part]any
}

// part is an object of a type, in JSON.
type part struct {
	kind reflect.Type
	text string
}

// NewShared makes a Shared of nothing.
func NewShared() *Shared {
	s := &Shared{}
	s.forget()
	return s
}

func (s *Shared) forget() {
	s.strings, s.fields = map[string]string{}, map[string]*metav1.FieldsV1{}
	s.resources, s.parts = map[string]corev1.ResourceList{}, map[part]any{}
}

// Share replaces what an app has the same as another by the other's.
func (s *Shared) Share(app *v1alpha1.HTTPApp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.strings)+len(s.fields)+len(s.resources)+len(s.parts) > most {
		s.forget()
	}
	for i := range app.ManagedFields {
		m := &app.ManagedFields[i]
		m.FieldsV1 = s.same(m.FieldsV1)
	}
	app.Spec.Scaling.Target = common(s, app.Spec.Scaling.Target)
	if app.Spec.Template != nil {
		pod := &app.Spec.Template.Spec
		pod.SecurityContext = common(s, pod.SecurityContext)
		for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
			for i := range containers {
				c := &containers[i]
				c.Resources.Requests, c.Resources.Limits = s.amounts(c.Resources.Requests), s.amounts(c.Resources.Limits)
				c.ReadinessProbe, c.LivenessProbe, c.StartupProbe = common(s, c.ReadinessProbe), common(s, c.LivenessProbe), common(s, c.StartupProbe)
				c.SecurityContext = common(s, c.SecurityContext)
			}
		}
	}
	s.words(reflect.ValueOf(app).Elem())
}

// words replaces the strings in something by others' of the same text.
func (s *Shared) words(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if text := v.String(); text != "" {
			v.SetString(s.one(text))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			s.words(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Field(i); field.CanSet() && !field.IsZero() {
				s.words(field)
			}
		}
	case reflect.Slice:
		switch v.Type().Elem().Kind() {
		case reflect.String, reflect.Pointer, reflect.Struct:
			for i := range v.Len() {
				s.words(v.Index(i))
			}
		}
	case reflect.Map:
		if texts, ok := v.Interface().(map[string]string); ok {
			shared := make(map[string]string, len(texts))
			for key, text := range texts {
				shared[s.one(key)] = s.one(text)
			}
			v.Set(reflect.ValueOf(shared))
		}
	}
}

// common returns the part of another app that is the same in JSON.
func common[T any](s *Shared, of *T) *T {
	if of == nil {
		return nil
	}
	text, err := json.Marshal(of)
	if err != nil {
		return of
	}
	key := part{reflect.TypeFor[T](), string(text)}
	if same, ok := s.parts[key].(*T); ok {
		return same
	}
	s.parts[key] = of
	return of
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
