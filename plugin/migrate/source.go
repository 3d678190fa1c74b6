package migrate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// source is an object that is read field by field. What was read is taken out of it, so that the rest is what does not translate.
type source struct {
	object *unstructured.Unstructured
	// at is where the fields are in the object, such as spec.
	at     string
	fields map[string]any
	// notes are what the reader has to know, in one list for all parts of an object.
	notes *[]string
}

func sourceOf(o *unstructured.Unstructured, notes *[]string) *source {
	spec, _, _ := unstructured.NestedMap(o.Object, "spec") // a copy; an object without a spec lacks everything
	return &source{o, "spec", spec, notes}
}

func (s *source) note(format string, args ...any) {
	*s.notes = append(*s.notes, fmt.Sprintf(format, args...))
}

// take takes a value out; nil if it is not there.
func (s *source) take(field string) any {
	value := s.fields[field]
	delete(s.fields, field)
	return value
}

// into takes a value out and decodes it. It is false when it is not there, or not what it is to be, which is noted.
func (s *source) into(field string, to any) bool {
	value := s.take(field)
	if value == nil {
		return false
	}
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		s.note("%s.%s cannot be read: %v", s.at, field, err)
	}
	return err == nil
}

func (s *source) text(field string) (v string) {
	s.into(field, &v)
	return v
}

func (s *source) texts(field string) (v []string) {
	s.into(field, &v)
	return v
}

func (s *source) number(field string) (v int32, ok bool) {
	ok = s.into(field, &v)
	return v, ok
}

func (s *source) duration(field string) *metav1.Duration {
	var v metav1.Duration
	if !s.into(field, &v) {
		return nil
	}
	return &v
}

// seconds is a duration that is a number of seconds.
func (s *source) seconds(field string) *metav1.Duration {
	v, ok := s.number(field)
	if !ok {
		return nil
	}
	return &metav1.Duration{Duration: time.Duration(v) * time.Second}
}

// part takes out an object inside of the object. What is left in it is told by its own rest. One that is not there is empty.
func (s *source) part(field string) (part *source, there bool) {
	fields, there := s.take(field).(map[string]any)
	return &source{s.object, s.at + "." + field, fields, s.notes}, there
}

// parts takes out a list of objects.
func (s *source) parts(field string) (parts []*source) {
	list, _ := s.take(field).([]any)
	for i, item := range list {
		fields, _ := item.(map[string]any)
		parts = append(parts, &source{s.object, s.at + "." + field + "[" + strconv.Itoa(i) + "]", fields, s.notes})
	}
	return parts
}

// drop takes out fields that an app has no need of.
func (s *source) drop(fields ...string) {
	for _, field := range fields {
		delete(s.fields, field)
	}
}

// rest notes what is left.
func (s *source) rest() {
	var paths []string
	var visit func(at string, value any)
	visit = func(at string, value any) {
		inner, ok := value.(map[string]any)
		if !ok {
			paths = append(paths, at)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(inner)) {
			visit(at+"."+key, inner[key])
		}
	}
	visit(s.at, s.fields)
	if len(s.fields) > 0 && len(paths) > 0 {
		s.note("not translated: %s", strings.Join(paths, ", "))
	}
}

// because notes that a field does not translate, if it is there, and why.
func (s *source) because(field, why string) {
	if s.take(field) != nil {
		s.note("not translated: %s.%s; %s", s.at, field, why)
	}
}
