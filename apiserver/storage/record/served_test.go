package record

import (
	"encoding/json"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const module = "github.com/kedahttp/kedahttp/"

func TestAServedAppIsTheAppWithoutWhatIsLeftOut(t *testing.T) {
	for name, payload := range map[string]string{"typical": typical, "empty": `{"kind":"HTTPApp","apiVersion":"apps.http.keda.sh/v1alpha1"}`} {
		want, err := Payload(payload).Decode()
		if err != nil {
			t.Fatal(err)
		}
		want.ObjectMeta = metav1.ObjectMeta{
			Namespace: "default", Name: "shop", ResourceVersion: "7",
			UID: want.UID, Generation: want.Generation, CreationTimestamp: want.CreationTimestamp,
		}
		want.Spec.Template, want.Spec.Expose, want.Status.URL, want.Status.Workload = nil, nil, "", nil
		want.Status.Conditions = slices.DeleteFunc(want.Status.Conditions, func(c metav1.Condition) bool { return c.Type != v1alpha1.ConditionWorkloadReady })
		for i := range want.Status.Conditions {
			c := &want.Status.Conditions[i]
			c.Message, c.LastTransitionTime = "", metav1.Time{}
		}
		got, err := DecodeServed(&HTTPAppRecord{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop", ResourceVersion: "7"}, Object: Payload(payload)})
		if err != nil || !equality.Semantic.DeepEqual(got, want) {
			t.Errorf("%s: %v\n%+v instead of\n%+v", name, err, got, want)
		}
	}
}

// leftOut are the fields that a served app has not, by type.
func leftOut() map[string][]string {
	names := func(of reflect.Type, which func(reflect.StructField) bool) (names []string) {
		for _, f := range reflect.VisibleFields(of) {
			if len(f.Index) == 1 && !f.Anonymous && which(f) {
				names = append(names, f.Name)
			}
		}
		return names
	}
	isSkipped := func(f reflect.StructField) bool { return f.Type == reflect.TypeFor[skipped]() }
	missing := func(from reflect.Type, besides ...string) func(reflect.StructField) bool {
		return func(f reflect.StructField) bool {
			_, there := from.FieldByName(f.Name)
			return !there && !slices.Contains(besides, f.Name)
		}
	}
	s := served{}
	return map[string][]string{
		"HTTPAppSpec":   names(reflect.TypeOf(s.Spec), isSkipped),
		"HTTPAppStatus": append(names(reflect.TypeOf(s.Status), isSkipped), "Traffic"),
		"HTTPApp":       append(names(reflect.TypeFor[metav1.ObjectMeta](), missing(reflect.TypeOf(s.Metadata), "Namespace", "Name", "ResourceVersion")), "ObjectMeta"),
		"Condition":     names(reflect.TypeFor[metav1.Condition](), missing(reflect.TypeFor[servedCondition]())),
	}
}

// Whoever gets served apps, and whatever of ours they hand them to, reads no field that is left out.
func TestNobodyReadsOfAServedAppWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	out := leftOut()
	for kind, some := range map[string]string{"HTTPAppSpec": "Template", "HTTPAppStatus": "URL", "HTTPApp": "Labels", "Condition": "Message"} {
		if !slices.Contains(out[kind], some) {
			t.Fatalf("%s of %s is not found to be left out: %v", some, kind, out)
		}
	}
	readers := packagesOf(t, "interceptor/...", "scaler/...")
	read := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(readers)) {
		p := readers[path]
		rest, ours := strings.CutPrefix(path, module)
		if !ours || rest == "apiserver/apis/apps/v1alpha1" || strings.HasPrefix(rest, "apiserver/storage/") {
			continue
		}
		files := token.NewFileSet()
		var syntax []*ast.File
		written := map[ast.Expr]bool{}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			syntax = append(syntax, f)
			ast.Inspect(f, func(n ast.Node) bool {
				if a, ok := n.(*ast.AssignStmt); ok {
					for _, to := range a.Lhs {
						written[to] = true
					}
				}
				return true
			})
		}
		info := &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}, Uses: map[*ast.Ident]types.Object{}}
		config := types.Config{Importer: importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(readers[path].Export) })}
		if _, err := config.Check(path, files, syntax, info); err != nil {
			t.Fatal(err)
		}
		for at, s := range info.Selections {
			of, name := selected(s)
			read[of+"."+name] = true
			if !written[at] && slices.Contains(out[of], strings.TrimPrefix(name, "Get")) {
				t.Errorf("%s: %s of %s is left out of a served app", files.Position(at.Pos()), name, of)
			}
		}
		for at, o := range info.Uses {
			c, ok := o.(*types.Const)
			if ok && c.Pkg() != nil && c.Pkg().Path() == module+"apiserver/apis/apps/v1alpha1" && strings.HasPrefix(c.Name(), "Condition") && constant.StringVal(c.Val()) != v1alpha1.ConditionWorkloadReady {
				t.Errorf("%s: the condition %s is left out of a served app", files.Position(at.Pos()), c.Name())
			}
		}
	}
	if !read["HTTPAppSpec.Routes"] || !read["HTTPApp.UID"] || !read["Condition.Reason"] {
		t.Errorf("nothing is found to be read: %v", slices.Sorted(maps.Keys(read)))
	}
}

// selected is a field or a method of a type of the app's. One of the metadata is the app's: other objects have metadata, too.
func selected(s *types.Selection) (of, name string) {
	recv := types.Unalias(s.Recv())
	if p, ok := recv.(*types.Pointer); ok {
		recv = types.Unalias(p.Elem())
	}
	n, ok := recv.(*types.Named)
	if !ok || n.Obj().Pkg() == nil {
		return "", ""
	}
	of = n.Obj().Name()
	switch path := n.Obj().Pkg().Path(); {
	case path == module+"apiserver/apis/apps/v1alpha1", path == "k8s.io/apimachinery/pkg/apis/meta/v1" && of == "Condition":
		return of, s.Obj().Name()
	}
	return "", ""
}

type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// packagesOf lists packages of ours with all that they are made of.
func packagesOf(t *testing.T, patterns ...string) map[string]listed {
	t.Helper()
	args := []string{"list", "-deps", "-export", "-json=ImportPath,Dir,Export,GoFiles"}
	for _, p := range patterns {
		// What the go command reads is not what go test knows that this depends on: it would give the result of another tree.
		if err := filepath.WalkDir(filepath.Join("../../..", strings.TrimSuffix(p, "/...")), func(path string, _ os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") {
				_, err = os.Stat(path)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		args = append(args, module+p)
	}
	c := exec.Command("go", args...)
	c.Stderr = os.Stderr
	data, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]listed{}
	for d := json.NewDecoder(strings.NewReader(string(data))); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
	return all
}
