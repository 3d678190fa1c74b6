package record

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"weak"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// most is how many different values are remembered. When there are more, all are forgotten: those who have them keep them.
const most = 4096

// fewTemplates are no burden, whether an app has them or not.
const fewTemplates = 256

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
	// templates are by the hash of their JSON. Those that no app has any more are dropped when there are as many as sweep.
	templates map[templateHash]weak.Pointer[corev1.PodTemplateSpec]
	sweep     int
}

type templateHash [sha256.Size]byte

// part is an object of a type, in JSON.
type part struct {
	kind reflect.Type
	text string
}

// NewShared makes a Shared of nothing.
func NewShared() *Shared {
	s := &Shared{templates: map[templateHash]weak.Pointer[corev1.PodTemplateSpec]{}, sweep: fewTemplates}
	s.forget()
	return s
}

func (s *Shared) forget() {
	s.strings, s.fields = map[string]string{}, map[string]*metav1.FieldsV1{}
	s.resources, s.parts = map[string]corev1.ResourceList{}, map[part]any{}
}

// shareable is an app whose template, which changes least, is not read yet.
type shareable struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		v1alpha1.HTTPAppSpec `json:",inline"`
		Template             unread `json:"template"`
	} `json:"spec"`
	Status v1alpha1.HTTPAppStatus `json:"status"`
}

// unread is JSON in what it was found in.
type unread []byte

// UnmarshalJSON implements json.Unmarshaler. It keeps no copy: it is for what nobody changes.
func (u *unread) UnmarshalJSON(data []byte) error {
	*u = data
	return nil
}

// Decode returns the same app as the payload's Decode. It shares, and with those apps whose template has the same text the whole of it:
// most changes of an app leave its template as it is, and to read that takes a third of the time.
func (s *Shared) Decode(p Payload) (*v1alpha1.HTTPApp, error) {
	var read shareable
	if err := unmarshal([]byte(p), &read); err != nil {
		return nil, err
	}
	if err := checkType(read.TypeMeta); err != nil {
		return nil, err
	}
	app := &v1alpha1.HTTPApp{ObjectMeta: read.ObjectMeta, Spec: read.Spec.HTTPAppSpec, Status: read.Status}
	text := read.Spec.Template
	if len(text) == 0 || string(text) == "null" {
		v1alpha1.SetObjectDefaults_HTTPApp(app)
		s.Share(app)
		return app, nil
	}
	hash := templateHash(sha256.Sum256(text))
	known := s.template(hash)
	if known == nil {
		app.Spec.Template = &corev1.PodTemplateSpec{}
		if err := unmarshal(text, app.Spec.Template); err != nil {
			return nil, err
		}
	}
	v1alpha1.SetObjectDefaults_HTTPApp(app)
	s.Share(app)
	if known == nil {
		known = s.setTemplate(hash, app.Spec.Template)
	}
	app.Spec.Template = known
	return app, nil
}

// template returns that of a hash, with its defaults and shared as it is; nil: no app has it.
func (s *Shared) template(hash templateHash) *corev1.PodTemplateSpec {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.templates[hash].Value()
}

// setTemplate returns the template of a hash, which is this one if no app has it.
func (s *Shared) setTemplate(hash templateHash, template *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.templates[hash].Value(); known != nil {
		return known
	}
	if len(s.templates) >= s.sweep {
		maps.DeleteFunc(s.templates, func(_ templateHash, known weak.Pointer[corev1.PodTemplateSpec]) bool { return known.Value() == nil })
		s.sweep = max(fewTemplates, 2*len(s.templates))
	}
	s.templates[hash] = weak.Make(template)
	return template
}

// Share replaces what an app has the same as another by the other's.
func (s *Shared) Share(app *v1alpha1.HTTPApp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.strings)+len(s.fields)+len(s.resources)+len(s.parts) > most {
		s.forget()
	}
	s.words(reflect.ValueOf(app).Elem()) // as long as nothing in it is another's, too, which others read
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
