package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

// GroupName is the API group of HTTPApp.
const GroupName = "apps.http.keda.sh"

// AppLabel is on everything that is made for an app, its pods included, with the app's name as its value.
const AppLabel = GroupName + "/httpapp"

// ExposeServiceName is the name of the Service behind the Ingress of an app, whose own Service has the app's name.
func ExposeServiceName(app string) string {
	name := "kedahttp-" + app
	if most := validation.DNS1035LabelMaxLength; len(name) > most {
		sum := sha256.Sum256([]byte(app))
		name = name[:most-9] + "-" + hex.EncodeToString(sum[:4])
	}
	return name
}

// SchemeGroupVersion is the group and version of the types in this package.
var SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// Resource qualifies a resource name with the group, as errors want it.
func Resource(resource string) schema.GroupResource {
	return SchemeGroupVersion.WithResource(resource).GroupResource()
}

var (
	// SchemeBuilder collects the functions that add this package to a scheme.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes, addDefaultingFuncs, addFieldLabels)
	// AddToScheme adds the types and their defaults to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion, &HTTPApp{}, &HTTPAppList{})
	// httpapps/scale answers with it, and a client sends only what its scheme knows.
	scheme.AddKnownTypes(autoscalingv1.SchemeGroupVersion, &autoscalingv1.Scale{})
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}
