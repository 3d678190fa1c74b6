package httpapp

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Attrs tells what an app can be selected by. Whatever is here and not in metadata is among the selectableFields of the records'
// definition, too.
func Attrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	app, ok := obj.(*v1alpha1.HTTPApp)
	if !ok {
		return nil, nil, fmt.Errorf("%T is no app to select", obj)
	}
	workload := ""
	if ref := app.Spec.WorkloadRef; ref != nil {
		workload = ref.Name
	}
	return app.Labels, fields.Set{
		v1alpha1.FieldName:        app.Name,
		v1alpha1.FieldNamespace:   app.Namespace,
		v1alpha1.FieldAutoscaler:  string(app.Spec.Scaling.Autoscaler),
		v1alpha1.FieldServiceName: app.Spec.ServiceName,
		v1alpha1.FieldWorkload:    workload,
		v1alpha1.FieldReady:       string(ready(app)),
	}, nil
}

// ready is the condition Ready of the present spec.
func ready(app *v1alpha1.HTTPApp) metav1.ConditionStatus {
	c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || app.Status.ObservedGeneration < app.Generation {
		return metav1.ConditionUnknown
	}
	return cmp.Or(c.Status, metav1.ConditionUnknown)
}
