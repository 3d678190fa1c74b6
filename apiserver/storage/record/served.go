package record

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// served is of an app what its requests are served by, and what it is scaled by. The rest is the API server's affair, and most of an app:
// who only serves and scales spends no time and no memory on it. A field that comes to be is read until it is left out here; those who
// read served apps do not touch what is.
type served struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        struct {
		UID               types.UID   `json:"uid"`
		Generation        int64       `json:"generation"`
		CreationTimestamp metav1.Time `json:"creationTimestamp"`
	} `json:"metadata"`
	Spec struct {
		v1alpha1.HTTPAppSpec `json:",inline"`
		Template             skipped `json:"template"`
		Expose               skipped `json:"expose"`
	} `json:"spec"`
	Status struct {
		v1alpha1.HTTPAppStatus `json:",inline"`
		Conditions             []servedCondition `json:"conditions"`
		URL                    skipped           `json:"url"`
		Workload               skipped           `json:"workload"`
	} `json:"status"`
}

// servedCondition is a condition without what it says to people.
type servedCondition struct {
	Type               string                 `json:"type"`
	Status             metav1.ConditionStatus `json:"status"`
	ObservedGeneration int64                  `json:"observedGeneration"`
	Reason             string                 `json:"reason"`
}

// DecodeServed returns of the app that a record keeps what served has, and of its conditions WorkloadReady, with the record's name,
// namespace and resourceVersion: an app is where its record is, also when somebody restored the record in another namespace. An error
// means that the payload is no HTTPApp.
func DecodeServed(r *HTTPAppRecord) (*v1alpha1.HTTPApp, error) {
	var s served
	if err := unmarshal([]byte(r.Object), &s); err != nil {
		return nil, fmt.Errorf("record %s/%s: %w", r.Namespace, r.Name, err)
	}
	if err := checkType(s.TypeMeta); err != nil {
		return nil, fmt.Errorf("record %s/%s: %w", r.Namespace, r.Name, err)
	}
	app := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: r.Name, ResourceVersion: r.ResourceVersion,
			UID: s.Metadata.UID, Generation: s.Metadata.Generation, CreationTimestamp: s.Metadata.CreationTimestamp,
		},
		Spec:   s.Spec.HTTPAppSpec,
		Status: s.Status.HTTPAppStatus,
	}
	if i := slices.IndexFunc(s.Status.Conditions, func(c servedCondition) bool { return c.Type == v1alpha1.ConditionWorkloadReady }); i >= 0 {
		c := s.Status.Conditions[i]
		app.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionWorkloadReady, Status: c.Status, ObservedGeneration: c.ObservedGeneration, Reason: c.Reason}}
	}
	v1alpha1.SetObjectDefaults_HTTPApp(app)
	return app, nil
}
