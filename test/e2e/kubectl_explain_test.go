//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// openAPISchema is as much of an OpenAPI v3 schema as says what a field is for.
type openAPISchema struct {
	Description string
	Ref         string `json:"$ref"`
	Properties  map[string]openAPISchema
	Items       *openAPISchema
	AllOf       []openAPISchema
	// AdditionalProperties is a boolean at times.
	AdditionalProperties json.RawMessage
}

// refs are the schemas that this one is made of.
func (s openAPISchema) refs() (names []string) {
	if s.Ref != "" {
		names = append(names, s.Ref[strings.LastIndex(s.Ref, "/")+1:])
	}
	for _, part := range s.AllOf {
		names = append(names, part.refs()...)
	}
	if s.Items != nil {
		names = append(names, s.Items.refs()...)
	}
	return names
}

func TestEveryFieldIsExplainedInASentence(t *testing.T) {
	beside(t)
	u := user{T: t}
	var document struct {
		Components struct{ Schemas map[string]openAPISchema }
	}
	if err := json.Unmarshal([]byte(u.kubectl("get", "--raw", "/openapi/v3/apis/apps.http.keda.sh/v1alpha1")), &document); err != nil {
		t.Fatal(err)
	}
	const ours = "sh.keda.http.apps.v1alpha1."
	fields := 0
	for name, s := range document.Components.Schemas {
		if !strings.HasPrefix(name, ours) {
			continue
		}
		if !isSentence(s.Description) {
			t.Errorf("%s is explained by %q", name, s.Description)
		}
		for field, p := range s.Properties {
			fields++
			if description := p.Description; !isSentence(description) && field != "apiVersion" && field != "kind" {
				t.Errorf("%s.%s is explained by %q", name, field, description)
			}
			for _, ref := range p.refs() {
				if _, ok := document.Components.Schemas[ref]; !ok {
					t.Errorf("%s.%s is of the type %s, which the document does not have", name, field, ref)
				}
			}
		}
	}
	if fields < 60 {
		t.Errorf("the document has only %d fields of ours", fields)
	}

	// What kubectl makes of it. Every field would cost a process; the document was looked through above.
	for _, path := range []string{"httpapp", "ha.spec", "httpapps.spec.scaling.target", "httpapp.spec.routes.hosts", "httpapp.status.traffic.pending", "httpapp.spec.template.spec.containers.image"} {
		if out := u.kubectl("explain", path); !strings.Contains(out, "DESCRIPTION:") || strings.Contains(out, "<empty>") {
			t.Errorf("explain %s says\n%s", path, out)
		}
	}
	out := u.kubectl("explain", "httpapp", "--recursive")
	for _, field := range []string{"minReplicas", "containerPort", "secretName", "sampledAt", "lastTransitionTime", "stabilizationWindowSeconds"} {
		if !strings.Contains(out, field+"\t") {
			t.Errorf("explain --recursive does not name %s:\n%s", field, out)
		}
	}
	// After an upgrade the host names the old document for a while.
	if out := u.kubectl("get", "--raw", "/openapi/v3/apis/apps.http.keda.sh/v1alpha1?hash=OLD"); !strings.Contains(out, `"pathPrefix"`) {
		t.Errorf("an older document is answered with\n%.500s", out)
	}
	if out := u.kubectl("explain", "ha.spec.routes", "--output=plaintext-openapiv2"); !strings.Contains(out, "pathPrefix") {
		t.Errorf("explain by the older document says\n%s", out)
	}
}

func isSentence(s string) bool {
	s = strings.TrimSpace(s)
	return len(s) > 1 && strings.ToUpper(s[:1]) == s[:1] && strings.HasSuffix(s, ".")
}
