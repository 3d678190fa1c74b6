package conformance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An update of the library that brings a new test must not pass unnoticed.
func TestEveryTestOfUpstreamIsInTheTable(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "k8s.io/apiserver/pkg/storage/testing").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v in %s", err, out)
	}
	there := map[string]bool{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Run") && isTest(f) {
				there[f.Name.Name] = true
				if tests[f.Name.Name] == nil {
					t.Errorf("%s is not in the table", f.Name.Name)
				}
			}
		}
	}
	for name := range tests {
		if !there[name] {
			t.Errorf("%s is in the table, but no longer among upstream's tests", name)
		}
	}
}

// isTest reports that a function has a *testing.T among its parameters; benchmarks have a *testing.B.
func isTest(f *ast.FuncDecl) bool {
	for _, p := range f.Type.Params.List {
		if star, ok := p.Type.(*ast.StarExpr); ok {
			if sel, ok := star.X.(*ast.SelectorExpr); ok && sel.Sel.Name == "T" {
				return true
			}
		}
	}
	return false
}
