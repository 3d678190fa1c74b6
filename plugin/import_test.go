package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/validation"
)

// What other systems' objects become is written beside them. go test -update writes it anew.
func TestImportSaysWhatTheAppsWouldBeAndWhatDoesNotTranslate(t *testing.T) {
	files, err := filepath.Glob("migrate/testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no objects", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			got, _ := call(t, "import", "-f", file) // one of them has no ScaledObject
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			// The server would take it.
			for doc := range strings.SplitSeq(got, "\n---\n") {
				app := &v1alpha1.HTTPApp{}
				if err := utilyaml.UnmarshalStrict([]byte(doc), app); err != nil {
					t.Fatal(err)
				}
				v1alpha1.SetObjectDefaults_HTTPApp(app)
				if len(app.Spec.Routes) == 0 {
					app.Spec.Routes = []v1alpha1.Route{{Hosts: []string{"default.example.com"}, PathPrefix: "/"}}
				}
				if errs := validation.ValidateHTTPApp(app); len(errs) > 0 {
					t.Errorf("the server would refuse %s: %v", app.Name, errs.ToAggregate())
				}
			}
		})
	}
}

func TestImportSaysWhatItCannotFind(t *testing.T) {
	const file = "migrate/testdata/interceptorroute.yaml"
	for _, c := range []struct {
		want string
		args []string
	}{
		{"there is no interceptorroute/nobody", []string{"-f", file, "interceptorroute/nobody"}},
		{"of 1 nothing could be made", []string{"-f", file}},
		{"a deployment cannot be imported", []string{"deployment/shop"}},
		{"is not KIND/NAME", []string{"shop"}},
		{"say what", nil},
		{"say what", []string{"-f", file, "--all"}},
		{"--all-namespaces is for --all", []string{"-f", file, "-A"}},
		{"--output is", []string{"-f", file, "-o", "table"}},
	} {
		if _, err := call(t, append([]string{"import"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("import %v: %v; not %q", c.args, err, c.want)
		}
	}
	out, err := call(t, "import", "-f", file, "interceptorroute/api", "-o", "json")
	if err != nil || strings.Contains(out, "#") || !strings.Contains(out, `"kind": "HTTPApp"`) {
		t.Errorf("as JSON: %v\n%s", err, out)
	}
}
