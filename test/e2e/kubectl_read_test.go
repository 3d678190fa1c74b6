//go:build e2e

package e2e

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// small is an app that nothing is made for: neither pods nor a Service of its own.
func small(name string, more ...string) string {
	return manifest(name, append([]string{
		"  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: backend}",
		"  serviceName: backend",
		"  port: 8080",
		"  scaling: {autoscaler: None}",
	}, more...)...)
}

func TestTheResourceIsFoundByAllItsNames(t *testing.T) {
	u := newUser(t)
	u.apply(small("found"))
	out := u.kubectl("api-resources", "--api-group=apps.http.keda.sh", "--no-headers", "-o", "wide")
	if got, want := strings.Join(strings.Fields(out), " "), "httpapps ha apps.http.keda.sh/v1alpha1 true HTTPApp create,delete,deletecollection,get,list,patch,update,watch keda"; got != want {
		t.Errorf("api-resources says %q, not %q", got, want)
	}
	for _, name := range []string{"ha", "httpapp", "httpapps", "HTTPApp", "httpapps.apps.http.keda.sh", "httpapps.v1alpha1.apps.http.keda.sh", "keda"} {
		if out := u.kubectl("get", name, "-o", "name"); strings.TrimSpace(out) != "httpapp.apps.http.keda.sh/found" {
			t.Errorf("get %s says %q", name, out)
		}
	}
	if out := u.kubectl("get", "all", "-o", "name"); strings.Contains(out, "httpapp") {
		t.Errorf("get all names apps, which would make it fail while their server is away:\n%s", out)
	}
}

func TestTheRolesThatComeWithKubernetesHoldForApps(t *testing.T) {
	u := newUser(t)
	for _, role := range []string{"view", "edit", "admin"} {
		u.kubectl("create", "rolebinding", role, "--clusterrole="+role, "--user=e2e-"+role)
		u.may("e2e-"+role, "get", httpapps)
	}
	const all = "create delete deletecollection get list patch update watch"
	for role, may := range map[string]map[string]string{
		"view":   {"httpapps": "get list watch", "httpapps/scale": "get", "httpapps/status": "get"},
		"edit":   {"httpapps": all, "httpapps/scale": "get patch update", "httpapps/status": "get"},
		"admin":  {"httpapps": all, "httpapps/scale": "get patch update", "httpapps/status": "get"},
		"nobody": {},
	} {
		got := map[string]map[string]bool{}
		for _, line := range strings.Split(u.kubectl("auth", "can-i", "--list", "--no-headers", "--as=e2e-"+role), "\n") {
			resource, rest, _ := strings.Cut(line, " ")
			resource = strings.Replace(resource, ".apps.http.keda.sh", "", 1)
			for _, verb := range strings.Fields(strings.Trim(rest[strings.LastIndex(rest, "[")+1:], "]")) {
				if got[resource] == nil {
					got[resource] = map[string]bool{}
				}
				got[resource][verb] = true
			}
		}
		for _, resource := range []string{"httpapps", "httpapps/scale", "httpapps/status"} {
			verbs := slices.DeleteFunc(slices.Sorted(maps.Keys(got[resource])), func(verb string) bool {
				// Roles name a verb for subresources that have none of it.
				return strings.Contains(resource, "/") && !strings.Contains("get update patch", verb)
			})
			if got, want := strings.Join(verbs, " "), may[resource]; got != want {
				t.Errorf("%s may %q %s, not %q", role, got, resource, want)
			}
		}
	}
	if out := u.said("", "auth", "can-i", "update", "httpapps", "--subresource=scale", "--as=e2e-view"); out != "no\nexit 1\n" {
		t.Errorf("a viewer may scale: %q", out)
	}
	// And what they may, they can.
	for _, c := range []struct{ role, manifest, want string }{
		{"edit", small("theirs"), "created"},
		{"view", small("others"), "Forbidden"},
	} {
		if out := u.said(c.manifest, "create", "-f", "-", "--as=e2e-"+c.role); !strings.Contains(out, c.want) {
			t.Errorf("create as %s says\n%s", c.role, out)
		}
	}
}

func TestAppsAreFoundByWhatTheySendTheirRequestsToAndByHowTheyAre(t *testing.T) {
	u := newUser(t)
	u.apply(small("adopting") + "---\n" + manifest("making", container, "  scaling: {autoscaler: HPA}"))
	u.kubectl("wait", "httpapps", "--all", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=2m")
	for selector, want := range map[string]string{
		"spec.workloadRef.name=backend":                          "adopting",
		"spec.workloadRef.name!=backend":                         "making",
		"spec.serviceName=backend":                               "adopting",
		"spec.serviceName=":                                      "making",
		"spec.scaling.autoscaler=HPA":                            "making",
		"spec.scaling.autoscaler=None,metadata.name=adopting":    "adopting",
		"spec.scaling.autoscaler=KEDA":                           "",
		"spec.scaling.autoscaler=None,spec.workloadRef.name=web": "",
		"status.ready=False,spec.serviceName=backend":            "adopting",
	} {
		if got := u.kubectl("get", "httpapps", "--field-selector="+selector, "-o", "jsonpath={.items[*].metadata.name}"); got != want {
			t.Errorf("by %s are found %q, not %q", selector, got, want)
		}
	}
	// It comes into a watch, and into a list, when it begins to match.
	ready := u.watch("get", "httpapps", "-w", "--field-selector=status.ready=True,spec.serviceName=backend", "-o", "name")
	u.kubectl("create", "deployment", "backend", "--image=kedahttp/test-echo:dev", "--replicas=0")
	u.kubectl("create", "service", "clusterip", "backend", "--tcp=8080:8080")
	ready.await(0, "httpapp.apps.http.keda.sh/adopting")
	if got := u.kubectl("get", "ha", "--field-selector=status.ready=True,spec.serviceName=backend", "-o", "name"); got != "httpapp.apps.http.keda.sh/adopting\n" {
		t.Errorf("ready are %q", got)
	}
}
