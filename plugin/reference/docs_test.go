package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/plugin"
)

// pages are all that is written for readers.
func pages(t *testing.T) map[string]string {
	pages := map[string]string{}
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/tasks/*.md", "../../hack/cluster/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			pages[name] = string(text)
		}
	}
	if len(pages) < 3 {
		t.Fatalf("only %d pages were found", len(pages))
	}
	return pages
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	// block is code in a page, with its language, which the name of a file can follow.
	block = regexp.MustCompile("(?ms)^ *```([a-z]*)(?: [a-z.-]+)?\n(.*?)^ *```$")
	// said is a command of the plugin in the running text.
	said = regexp.MustCompile("`(kubectl http [^`]+)`")
	made = regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z0-9-]*)")
)

// anchor is what a heading is linked by, as GitHub has it.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

func TestEveryLinkInTheDocsLeadsSomewhere(t *testing.T) {
	all := pages(t)
	n := 0
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(block.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			n++
			file, fragment, _ := strings.Cut(m[1], "#")
			to := page
			if file != "" {
				to = filepath.Join(filepath.Dir(page), file)
				if _, err := os.Stat(to); err != nil {
					t.Errorf("%s links to %s: %v", page, m[1], err)
					continue
				}
			}
			if fragment == "" {
				continue
			}
			found := false
			for _, h := range heading.FindAllStringSubmatch(all[to], -1) {
				found = found || anchor(h[1]) == fragment
			}
			if !found {
				t.Errorf("%s links to %s, which has no such heading", page, m[1])
			}
		}
	}
	if n < 5 {
		t.Errorf("only %d links were looked at", n)
	}
}

func TestEveryCommandInTheDocsIsOne(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for page, text := range pages(t) {
		if strings.HasSuffix(page, "kubectl-http.md") {
			continue // it is made of the commands
		}
		var lines []string
		for _, m := range said.FindAllStringSubmatch(text, -1) {
			lines = append(lines, strings.ReplaceAll(m[1], "\n", " "))
		}
		for _, b := range block.FindAllStringSubmatch(text, -1) {
			for line := range strings.Lines(strings.ReplaceAll(b[2], "\\\n", " ")) {
				if line = strings.TrimPrefix(strings.TrimSpace(line), "$ "); strings.HasPrefix(line, "kubectl http ") {
					lines = append(lines, line)
				}
			}
		}
		for _, line := range lines {
			n++
			if err := understands(line); err != nil {
				t.Errorf("%s: %s: %v", page, line, err)
			}
		}
		for _, m := range made.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("%s: there is no make %s", page, m[1])
			}
		}
	}
	if n < 5 {
		t.Errorf("only %d commands were looked at", n)
	}
}

// understands reports what is wrong with a command line of the plugin. Nothing is run.
func understands(line string) error {
	words := strings.Fields(line)
	for i, word := range words {
		if word == "&" || word == "|" || word == ">" || word == "&&" {
			words = words[:i]
			break
		}
	}
	root := plugin.NewCommand("kubectl http", genericiooptions.NewTestIOStreamsDiscard())
	cmd, rest, err := root.Find(words[2:])
	if err != nil {
		return err
	}
	if cmd == root && len(words) > 2 && !strings.HasPrefix(words[2], "-") {
		return root.Args(root, words[2:])
	}
	cmd.InheritedFlags() // merges them
	if err := cmd.ParseFlags(rest); !errors.Is(err, pflag.ErrHelp) {
		return err
	}
	return nil
}

func TestEveryManifestInTheDocsIsOne(t *testing.T) {
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, scheme.AddToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	strict := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	n := 0
	for page, text := range pages(t) {
		for _, b := range block.FindAllStringSubmatch(text, -1) {
			if b[1] != "yaml" {
				continue
			}
			for doc := range strings.SplitSeq(b[2], "\n---\n") {
				var parsed map[string]any
				if err := yaml.UnmarshalStrict([]byte(doc), &parsed); err != nil {
					t.Errorf("%s: %v in\n%s", page, err, doc)
				}
				if parsed["kind"] == nil {
					continue // a part of an object
				}
				if _, _, err := strict.Decode([]byte(doc), nil, nil); err == nil {
					n++
				} else if !runtime.IsNotRegisteredError(err) {
					t.Errorf("%s: %v in\n%s", page, err, doc)
				}
			}
		}
	}
	if n < 3 {
		t.Errorf("only %d objects were looked at", n)
	}
}
