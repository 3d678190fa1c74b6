// Package rbac holds the tests of what the manifests let each part do.
package rbac

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// grant is a rule that a subject has by a role.
type grant struct {
	role string
	rbacv1.PolicyRule
}

// grants returns what the manifests give each service account.
func grants(t *testing.T) map[string][]grant {
	t.Helper()
	files, err := filepath.Glob("../../artifacts/base/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	// One type fits all four kinds; what an object does not have stays empty.
	type object struct {
		Kind     string
		Metadata struct{ Name string }
		Rules    []rbacv1.PolicyRule
		RoleRef  rbacv1.RoleRef
		Subjects []rbacv1.Subject
	}
	rules := map[string][]rbacv1.PolicyRule{}
	var bindings []object
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		decoder := yaml.NewYAMLOrJSONDecoder(f, 4096)
		for {
			var o object
			if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			switch o.Kind {
			case "Role", "ClusterRole":
				rules[o.Kind+"/"+o.Metadata.Name] = o.Rules
			case "RoleBinding", "ClusterRoleBinding":
				bindings = append(bindings, o)
			}
		}
	}
	granted := map[string][]grant{}
	for _, b := range bindings {
		for _, s := range b.Subjects {
			role := b.RoleRef.Kind + "/" + b.RoleRef.Name
			for _, rule := range rules[role] {
				granted[s.Name] = append(granted[s.Name], grant{role, rule})
			}
		}
	}
	return granted
}

// Strangers talk to the interceptor, and KEDA to the scaler; neither has anything to write.
func TestTheInterceptorAndTheScalerMayOnlyRead(t *testing.T) {
	granted := grants(t)
	for _, part := range []string{"kedahttp-interceptor", "kedahttp-scaler"} {
		if len(granted[part]) == 0 {
			t.Errorf("%s has no rights at all: were its roles found?", part)
		}
		for _, g := range granted[part] {
			for _, verb := range g.Verbs {
				if !slices.Contains([]string{"get", "list", "watch"}, verb) {
					t.Errorf("%s lets %s %s %v", g.role, part, verb, g.Resources)
				}
			}
		}
	}
}

func TestNoPartHasRightsWithoutEnd(t *testing.T) {
	for part, rules := range grants(t) {
		for _, g := range rules {
			if slices.Contains(g.Verbs, "*") || slices.Contains(g.Resources, "*") || slices.Contains(g.Resources, "*/*") {
				t.Errorf("%s gives %s %v on %v", g.role, part, g.Verbs, g.Resources)
			}
			// Of a kind that is adopted, nobody knows the group before: its scale is all that is granted of it.
			if slices.Contains(g.APIGroups, "*") && !slices.Equal(g.Resources, []string{"*/scale"}) {
				t.Errorf("%s gives %s %v in every group", g.role, part, g.Resources)
			}
			if slices.Contains(g.Resources, "secrets") && !slices.Equal(g.Verbs, []string{"create"}) && len(g.ResourceNames) == 0 {
				// Nobody can grant what they may not do. The API server grants interceptors the Secrets that apps name.
				if part != "kedahttp-apiserver" || !slices.Equal(g.Verbs, []string{"get", "list", "watch"}) {
					t.Errorf("%s gives %s %v on every secret", g.role, part, g.Verbs)
				}
			}
			for _, verb := range []string{"escalate", "bind", "impersonate"} {
				if slices.Contains(g.Verbs, verb) {
					t.Errorf("%s lets %s %s %v", g.role, part, verb, g.Resources)
				}
			}
		}
	}
}
