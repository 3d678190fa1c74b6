package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheReferenceInTheTreeIsWhatTheCommandsSay(t *testing.T) {
	var page bytes.Buffer
	if err := markdown(&page); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile("../../docs/kubectl-http.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, page.Bytes()) {
		t.Error("docs/kubectl-http.md is stale: run make generate and commit it")
	}
}

func TestEveryCommandHasAManPage(t *testing.T) {
	dir := t.TempDir()
	if err := write("man", dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubectl-http", "kubectl-http-deploy", "kubectl-http-set-image"} {
		text, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(string(text), "SYNOPSIS") {
			t.Errorf("%s is no man page:\n%s", name, text)
		}
	}
}
