// Package record knows how an HTTPApp is kept in the host cluster: as the opaque payload of one HTTPAppRecord of the same
// namespace and name. The API server writes records; everybody else only reads them, straight from the host, so that routing
// and scaling go on while every API server of ours is away.
package record

import (
	"bytes"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

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

	// Object is the HTTPApp of version v1alpha1, without resourceVersion and without live traffic.
	Object Payload `json:"object"`

	// Fields are those of the app's fields that lists and watches can select by, as strings at the paths that they have in the
	// app: the host evaluates selectors, and does not look into the object. One that is "" is left out.
	Fields *runtime.RawExtension `json:"fields,omitempty"`
}

// HTTPAppRecordList is a list of records.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type HTTPAppRecordList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HTTPAppRecord `json:"items"`
}

// Payload is an object in JSON, and a string in the JSON of its record: so the host has nothing to do with what is in it. Of an
// object it would make a tree, and a text again, at each read, and work out who manages which field at each write.
type Payload string

// UnmarshalJSON implements json.Unmarshaler. What is no string is taken as it is, for one record that somebody wrote otherwise
// must not end a list of all.
func (p *Payload) UnmarshalJSON(data []byte) error {
	if !bytes.HasPrefix(data, []byte(`"`)) {
		*p = Payload(data)
		return nil
	}
	return json.Unmarshal(data, (*string)(p))
}

// AddToScheme adds the records to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion, &HTTPAppRecord{}, &HTTPAppRecordList{})
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}

// Decode returns the app as the API server has it in memory: without a type, and with the defaults of this version.
func (p Payload) Decode() (*v1alpha1.HTTPApp, error) {
	app := &v1alpha1.HTTPApp{}
	if err := unmarshal([]byte(p), app); err != nil {
		return nil, err
	}
	if err := checkType(app.TypeMeta); err != nil {
		return nil, err
	}
	app.TypeMeta = metav1.TypeMeta{}
	v1alpha1.SetObjectDefaults_HTTPApp(app)
	return app, nil
}

// unmarshal reads an app, or a part of one.
func unmarshal(data []byte, into any) error {
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, into); err != nil {
		return fmt.Errorf("its object is no HTTPApp: %w", err)
	}
	return nil
}

func checkType(t metav1.TypeMeta) error {
	if gvk := t.GroupVersionKind(); gvk != v1alpha1.SchemeGroupVersion.WithKind("HTTPApp") {
		return fmt.Errorf("its object is a %s, not an HTTPApp", gvk)
	}
	return nil
}
