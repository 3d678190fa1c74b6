//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The pages of docs/tasks are run as they stand, each by a reader with a namespace of their own, from top to bottom:
//
//	```yaml hello.yaml     is written to that file
//	```console             $ begins a command; what follows it, if anything does, is what it prints
//
// In what is printed, … is anything within a line, and on a line of its own any lines. Blanks count as one. Other blocks are not run.
type page struct {
	user
	dir         string
	environment []string
}

var fence = regexp.MustCompile("(?ms)^```(yaml|console)( \\S+)?\n(.*?)^```$")

// images are those of the tests by the names that they have in the pages.
var images = map[string]string{
	"example.com/hello:1": "test-echo", "example.com/hello:2": "test-echo", "example.com/chat:1": "test-echo", "example.com/health:1": "test-grpc",
}

func TestThePagesOfTheDocsAreTrue(t *testing.T) {
	beside(t)
	readPages(t, func(name string) bool { return name != "without-keda.md" })
}

// readPages runs the pages that match, each as a test.
func readPages(t *testing.T, which func(name string) bool) {
	names, err := filepath.Glob("../../docs/tasks/*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("there are no pages: %v", err)
	}
	tagImages(t)
	for _, name := range names {
		if !which(filepath.Base(name)) {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			p := newPage(newUser(t))
			for _, m := range p.blocks(name) {
				if m[1] == "console" {
					p.console(m[3])
				} else if file := strings.TrimSpace(m[2]); file != "" {
					if err := os.WriteFile(filepath.Join(p.dir, file), []byte(m[3]), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// The README's commands are of a cluster whose domain is example.com, and of the namespace default; each block is one shell's.
func TestTheReadmeIsTrue(t *testing.T) {
	p := newPage(onlyUser(t))
	tagImages(t)
	_, port, err := net.SplitHostPort(environment.interceptor)
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer(
		"hello.default.example.com", p.host("hello")+":"+port, "default/hello", p.namespace+"/hello",
		"get httpapps -w", "get httpapps", // it ends
		" 9901 &\n", " 9901 &\ntrap 'curl --silent -X PUT -d 0 localhost:9901/debug/flags/v; kill %1' EXIT\nuntil curl --silent --output /dev/null localhost:9901/livez; do sleep 0.1; done\n",
	)
	scripts := 0
	for _, m := range p.blocks("../../README.md") {
		if m[1] != "console" {
			continue
		}
		scripts++
		var script strings.Builder
		script.WriteString("set -e\n")
		for line := range strings.Lines(m[3]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				script.WriteString(strings.Replace(command, "curl ", "curl --fail ", 1))
			}
		}
		p.run(here.Replace(script.String()), "")
	}
	if scripts != 2 {
		t.Errorf("there are %d blocks of commands", scripts)
	}
}

func newPage(u user) page {
	u.Helper()
	p := page{user: u, dir: u.TempDir()}
	p.environment = append(os.Environ(), "KUBECONFIG="+p.kubeconfig())
	return p
}

// blocks are a file's, with their kind, the name of a file, and the text.
func (p page) blocks(name string) [][]string {
	p.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		p.Fatal(err)
	}
	return fence.FindAllStringSubmatch(string(text), -1)
}

// tagImages gives the images of the tests the names that they have in the pages.
func tagImages(t *testing.T) {
	t.Helper()
	for name, image := range images {
		tag := exec.Command("ctr", "--address", os.Getenv("KEDAHTTP_CONTAINERD"), "-n", "k8s.io", "images", "tag", "--force", "docker.io/kedahttp/"+image+":dev", name)
		if out, err := tag.CombinedOutput(); err != nil {
			t.Fatalf("%s cannot be called %s: %v\n%s", image, name, err, out)
		}
	}
}

// kubeconfig is a file with the reader's namespace.
func (p page) kubeconfig() string {
	p.Helper()
	path := filepath.Join(p.T.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(p.kubectl("config", "view", "--raw", "--flatten")), 0o600); err != nil {
		p.Fatal(err)
	}
	p.kubectl("--kubeconfig", path, "config", "set-context", "--current", "--namespace="+p.namespace)
	return path
}

// console runs the commands of a block.
func (p page) console(block string) {
	p.Helper()
	for step := range strings.SplitSeq("\n"+strings.TrimSuffix(block, "\n"), "\n$ ") {
		if step == "" {
			continue
		}
		command, printed, _ := strings.Cut(strings.ReplaceAll(step, "\\\n", ""), "\n")
		p.run(command, printed)
	}
}

// run runs a command and compares what it prints, if the page says anything about that. What only reads is run until it prints that:
// a reader takes his time between two commands, in which the status learns of what the first has done.
func (p page) run(command, printed string) {
	p.Helper()
	once := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), later)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-c", command)
		cmd.Dir = p.dir
		cmd.Env = p.environment
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w:\n%s", err, out)
		}
		if printed != "" && !prints(printed).MatchString(spaced(string(out))) {
			return fmt.Errorf("it prints\n%s\nand not, as the page says,\n%s", out, printed)
		}
		p.Logf("$ %s\n%s", command, out)
		return nil
	}
	if reads.MatchString(command) {
		p.eventually(soon, command, once)
	} else if err := once(); err != nil {
		p.Fatalf("%s: %v", command, err)
	}
}

var reads = regexp.MustCompile(`^kubectl (get|http (history|list|status|top --once))\b`)

var blanks = regexp.MustCompile(`[ \t]+`)

// spaced is a text with one blank where there are several, and none at the ends of lines.
func spaced(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(blanks.ReplaceAllString(line, " ")); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// prints matches what a page says that a command prints.
func prints(printed string) *regexp.Regexp {
	var pattern strings.Builder
	for line := range strings.Lines(spaced(printed)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "…" {
			pattern.WriteString(`(.*\n)*?`)
			continue
		}
		for i, part := range strings.Split(line, "…") {
			if i > 0 {
				pattern.WriteString(`.*`)
			}
			pattern.WriteString(regexp.QuoteMeta(part))
		}
		pattern.WriteString(`\n`)
	}
	return regexp.MustCompile(fmt.Sprintf(`^%s$`, pattern.String()))
}
