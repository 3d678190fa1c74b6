// Package record knows how an HTTPApp is kept in the host cluster: as the opaque payload of one HTTPAppRecord of the same
// namespace and name. The API server writes records; everybody else only reads them, straight from the host, so that routing
// and scaling go on while every API server of ours is away.
package record

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// GroupName is the group of the records: not that of HTTPApp, which belongs to the aggregated server.
const GroupName = "storage.apps.http.keda.sh"

var (
	// SchemeGroupVersion is the group and version of the records.
	SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1"}
	// Resource is the records' resource.
	Resource = SchemeGroupVersion.WithResource("httpapprecords")
)

// HTTPAppRecord is the host cluster's object behind one HTTPApp. Its labels are a copy of the app's, for selectors; its
// resourceVersion is the app's. All other metadata is its own: the app's uid, generation, finalizers, owners and
// deletionTimestamp are in the payload, because two objects with one uid confuse the garbage collector.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type HTTPAppRecord struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Object is the HTTPApp in JSON, of version v1alpha1, without resourceVersion and without live traffic.
	Object runtime.RawExtension `json:"object"`
}

// HTTPAppRecordList is a list of records.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type HTTPAppRecordList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HTTPAppRecord `json:"items"`
}

// AddToScheme adds the records to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion, &HTTPAppRecord{}, &HTTPAppRecordList{})
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}

// Decode returns the app that a record keeps, with the record's resourceVersion. An error means that the payload is no
// HTTPApp, or that of another object.
func Decode(r *HTTPAppRecord) (*v1alpha1.HTTPApp, error) {
	app := &v1alpha1.HTTPApp{}
	if err := json.Unmarshal(r.Object.Raw, app); err != nil {
		return nil, fmt.Errorf("record %s/%s holds no HTTPApp: %w", r.Namespace, r.Name, err)
	}
	if app.Namespace != r.Namespace || app.Name != r.Name {
		return nil, fmt.Errorf("record %s/%s holds the HTTPApp of another object, %s/%s", r.Namespace, r.Name, app.Namespace, app.Name)
	}
	app.ResourceVersion = r.ResourceVersion
	return app, nil
}
