package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fakediscovery "k8s.io/client-go/discovery/fake"
	kubetesting "k8s.io/client-go/testing"
)

// hostWith is a host that serves these resources by group and version.
func hostWith(served map[string][]string) *fakediscovery.FakeDiscovery {
	host := &fakediscovery.FakeDiscovery{Fake: &kubetesting.Fake{}}
	for version, resources := range served {
		list := &metav1.APIResourceList{GroupVersion: version}
		for _, r := range resources {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: r})
		}
		host.Resources = append(host.Resources, list)
	}
	return host
}

// What waits for an API that the host does not have would hold up every write for ever.
func TestOnOlderHostsTheServerDoesWithoutWhatTheyHaveNoAPIFor(t *testing.T) {
	const admission, flow = "admissionregistration.k8s.io/v1", "flowcontrol.apiserver.k8s.io/v1"
	for name, c := range map[string]struct {
		served   map[string][]string
		disabled []string
		fairness bool
	}{
		"1.36": {map[string][]string{admission: {"mutatingadmissionpolicies", "validatingadmissionpolicies"}, flow: {"flowschemas"}}, nil, true},
		"1.30": {map[string][]string{admission: {"validatingadmissionpolicies"}, flow: {"flowschemas"}}, []string{"MutatingAdmissionPolicy"}, true},
		"1.28": {map[string][]string{admission: {"validatingwebhookconfigurations"}}, []string{"MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"}, false},
	} {
		options := NewOptions().Generic
		if err := fitHost(options, hostWith(c.served)); err != nil {
			t.Fatal(err)
		}
		if got := options.Admission.DisablePlugins; !slices.Equal(got, c.disabled) || options.Features.EnablePriorityAndFairness != c.fairness {
			t.Errorf("%s: without %v, with fairness: %v", name, got, options.Features.EnablePriorityAndFairness)
		}
	}
}

func TestWrongOptionsAreNamedByTheirFlag(t *testing.T) {
	right := NewOptions()
	right.Complete()
	if err := right.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for flag, spoil := range map[string]func(*Options){
		"--domain":                     func(o *Options) { o.Domain = "under_score" },
		"--namespace":                  func(o *Options) { o.Namespace = "a.b" },
		"--scaler-address":             func(o *Options) { o.ScalerAddress = "nowhere" },
		"--keda-client-secret":         func(o *Options) { o.KEDAClientSecret = "kedahttp-keda-tls" },
		"--shutdown-delay-duration":    func(o *Options) { o.ShutdownDelay = -1 },
		"--ca-lifetime":                func(o *Options) { o.Lifetimes.Authority = time.Hour },
		"--certificate-lifetime":       func(o *Options) { o.Lifetimes.Leaf = time.Hour },
		"--certificate-overlap":        func(o *Options) { o.Lifetimes.Overlap = 0 },
		"--public-port":                func(o *Options) { o.PublicPort = 0 },
		"--interceptor-counts-service": func(o *Options) { o.CountsService = "" },
	} {
		o := NewOptions()
		spoil(o)
		o.Complete()
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
