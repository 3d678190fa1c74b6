// Package imports holds the test of who may import whom: data flows one way, and a part that strangers talk to does not
// grow towards one that may write.
package imports

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/kedahttp/kedahttp/"

// allowed names, for each part, what it may import of the others, by prefix. Everybody may import the API's types.
var allowed = map[string][]string{
	"apiserver":   {"apiserver/", "interceptor/queue", "interceptor/admin", "interceptor/logging"},
	"interceptor": {"interceptor/", "apiserver/storage/record"},
	"scaler":      {"scaler", "apiserver/storage/record", "interceptor/queue", "interceptor/admin", "interceptor/logging"},
	"plugin":      {"plugin", "apiserver/client/", "artifacts"},
	"artifacts":   {},
	// The simulation of scaling runs what decides itself, by a clock of its own.
	"test": {"test/", "apiserver/client/", "interceptor/queue", "scaler"},
	"cmd":  {"apiserver/", "interceptor/", "scaler", "plugin"},
	"hack": {},
	// What is written about the programs is asked of them.
	"docs": {"apiserver/server", "interceptor/command", "scaler/command"},
}

func TestPartsImportEachOtherOnlyAsTheDesignSays(t *testing.T) {
	// What go list reads is not what go test knows that this depends on: it would give the result of another tree.
	if err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			_, err = os.Stat(path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}{{range .TestImports}} {{.}}{{end}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		importer := strings.TrimPrefix(fields[0], module)
		part, _, _ := strings.Cut(importer, "/")
		rules, ok := allowed[part]
		if !ok {
			t.Errorf("%s is in none of the parts that the design names", importer)
			continue
		}
		seen[part] = true
	imports:
		for _, imported := range fields[1:] {
			imported, ours := strings.CutPrefix(imported, module)
			if !ours || strings.HasPrefix(imported, "apiserver/apis/") {
				continue
			}
			for _, prefix := range rules {
				if strings.HasPrefix(imported, prefix) {
					continue imports
				}
			}
			t.Errorf("%s imports %s", importer, imported)
		}
	}
	for part := range allowed {
		if !seen[part] {
			t.Errorf("no package of %s was looked at", part)
		}
	}
}
