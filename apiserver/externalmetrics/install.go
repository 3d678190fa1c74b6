package externalmetrics

import (
	"fmt"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/metrics/pkg/apis/external_metrics/install"
	"k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/apiserver/installer"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
	registry "sigs.k8s.io/custom-metrics-apiserver/pkg/registry/external_metrics"
)

// GroupVersion is what is served.
var GroupVersion = v1beta1.SchemeGroupVersion

// NewScheme returns a scheme of the group.
func NewScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return scheme
}

// Install adds the group to a server, to both forms of its discovery.
func Install(server *genericserver.GenericAPIServer, metrics provider.ExternalMetricsProvider) error {
	scheme := NewScheme()
	codecs := serializer.NewCodecFactory(scheme)
	lister := provider.NewExternalMetricResourceLister(metrics)
	api := &installer.MetricsAPIGroupVersion{
		DynamicStorage: registry.NewREST(metrics),
		APIGroupVersion: &endpoints.APIGroupVersion{
			Root:            genericserver.APIGroupPrefix,
			GroupVersion:    GroupVersion,
			ParameterCodec:  metav1.ParameterCodec,
			Serializer:      codecs,
			Creater:         scheme,
			Convertor:       scheme,
			UnsafeConvertor: runtime.UnsafeObjectConvertor(scheme),
			Typer:           scheme,
			Namer:           runtime.Namer(meta.NewAccessor()),
		},
		ResourceLister: lister,
		Handlers:       &installer.EMHandlers{},
	}
	if err := api.InstallREST(server.Handler.GoRestfulContainer); err != nil {
		return fmt.Errorf("installing %s: %w", GroupVersion, err)
	}
	version := metav1.GroupVersionForDiscovery{GroupVersion: GroupVersion.String(), Version: GroupVersion.Version}
	group := metav1.APIGroup{Name: GroupVersion.Group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version}
	server.DiscoveryGroupManager.AddGroup(group)
	server.Handler.GoRestfulContainer.Add(discovery.NewAPIGroupHandler(server.Serializer, group).WebService())
	// The library leaves this form out, in which the host and kubectl ask first.
	resources, err := endpoints.ConvertGroupVersionIntoToDiscovery(lister.ListAPIResources())
	if err != nil {
		return fmt.Errorf("discovery of %s: %w", GroupVersion, err)
	}
	server.AggregatedDiscoveryGroupManager.AddGroupVersion(GroupVersion.Group, apidiscoveryv2.APIVersionDiscovery{
		Version: GroupVersion.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent, Resources: resources,
	})
	return nil
}
