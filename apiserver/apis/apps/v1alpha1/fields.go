package v1alpha1

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Fields that lists and watches can select by, with kubectl get --field-selector.
const (
	FieldName        = "metadata.name"
	FieldNamespace   = "metadata.namespace"
	FieldAutoscaler  = "spec.scaling.autoscaler"
	FieldServiceName = "spec.serviceName"
	FieldWorkload    = "spec.workloadRef.name"
	// FieldReady is the status of the condition Ready, True, False or Unknown, of the present spec.
	FieldReady = "status.ready"
)

var selectable = []string{FieldName, FieldNamespace, FieldAutoscaler, FieldServiceName, FieldWorkload, FieldReady}

func addFieldLabels(scheme *runtime.Scheme) error {
	return scheme.AddFieldLabelConversionFunc(SchemeGroupVersion.WithKind("HTTPApp"), func(label, value string) (string, string, error) {
		if !slices.Contains(selectable, label) {
			// In Kubernetes' own words.
			return "", "", fmt.Errorf("%q is not a known field selector: only \"%s\"", label, strings.Join(selectable, `", "`))
		}
		return label, value, nil
	})
}
