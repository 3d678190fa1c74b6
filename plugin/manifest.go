package plugin

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// manifest is the app without empty values: with server-side apply, what is named is claimed.
func manifest(app *v1alpha1.HTTPApp) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(app)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	shortenDurations(content)
	dropEmpty(content)
	return &unstructured.Unstructured{Object: content}, nil
}

// durations are those of an app, which their type writes as 2m0s.
var durations = [][]string{
	{"spec", "scaling", "window"}, {"spec", "scaling", "cooldown"}, {"spec", "scaling", "pollingInterval"}, {"spec", "queue", "maxWait"},
	{"spec", "timeouts", "request"}, {"spec", "timeouts", "responseHeader"}, {"spec", "timeouts", "idle"}, {"spec", "coldStart", "fallback", "after"},
}

// shortenDurations writes them as people do: 2m.
func shortenDurations(content map[string]any) {
	for _, path := range durations {
		text, _, _ := unstructured.NestedString(content, path...)
		if d, err := time.ParseDuration(text); err == nil {
			_ = unstructured.SetNestedField(content, brief(d), path...) // it was there
		}
	}
}

// droppable are the parts that mean nothing when they are empty. Others do: an emptyDir, or a placeholder, has no field.
var droppable = map[string]bool{"metadata": true, "scaling": true, "queue": true, "timeouts": true, "resources": true}

// dropEmpty removes null values and what is droppable, from the inside out.
func dropEmpty(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			dropEmpty(inner)
			if m, ok := inner.(map[string]any); inner == nil || ok && len(m) == 0 && droppable[key] {
				delete(v, key)
			}
		}
	case []any:
		for _, inner := range v {
			dropEmpty(inner)
		}
	}
}
