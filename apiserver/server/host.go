package server

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/discovery"
	"k8s.io/klog/v2"
)

// needs are parts of the generic API server that watch an API of the host which older hosts do not have. Such a part would
// wait for ever, and every write with it.
var needs = []struct {
	groupVersion, resource string
	disable                func(*genericoptions.RecommendedOptions)
}{
	{"admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", disablePlugin(mutatingpolicy.PluginName)},
	{"admissionregistration.k8s.io/v1", "validatingadmissionpolicies", disablePlugin(validatingpolicy.PluginName)},
	{"flowcontrol.apiserver.k8s.io/v1", "flowschemas", func(o *genericoptions.RecommendedOptions) {
		o.Features.EnablePriorityAndFairness = false
	}},
}

func disablePlugin(name string) func(*genericoptions.RecommendedOptions) {
	return func(o *genericoptions.RecommendedOptions) {
		o.Admission.DisablePlugins = append(o.Admission.DisablePlugins, name)
	}
}

// fitHost leaves out what the host does not have the APIs for.
func fitHost(options *genericoptions.RecommendedOptions, host discovery.ServerResourcesInterface) error {
	for _, need := range needs {
		served, err := serves(host, need.groupVersion, need.resource)
		if err != nil {
			return err
		}
		if !served {
			klog.InfoS("Doing without what the host cluster has no API for", "groupVersion", need.groupVersion, "resource", need.resource)
			need.disable(options)
		}
	}
	return nil
}

func serves(host discovery.ServerResourcesInterface, groupVersion, resource string) (bool, error) {
	list, err := host.ServerResourcesForGroupVersion(groupVersion)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking the host cluster for %s: %w", groupVersion, err)
	}
	for _, r := range list.APIResources {
		if r.Name == resource {
			return true, nil
		}
	}
	return false, nil
}
