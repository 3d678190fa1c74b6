// Package v1alpha1 holds the HTTPApp, the one object that an app developer writes: what to run, under which names it is
// reached, and how many replicas the requests may call for.
//
// +k8s:deepcopy-gen=package
// +k8s:defaulter-gen=TypeMeta
// +k8s:openapi-gen=true
// +k8s:openapi-model-package=sh.keda.http.apps.v1alpha1
// +groupName=apps.http.keda.sh
package v1alpha1
