package plugin

import (
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// role is what a command is for: to read, to write, or neither, and why not.
type role struct {
	reads, writes bool
	neither       string
	// args call it so that it does something in the usual cluster, until it has said so.
	args  string
	until string
	given func(*cluster)
}

// roles are those of all commands: who reads takes -o, and who writes --dry-run and -o.
var roles = map[string]role{
	"list":         {reads: true},
	"status":       {reads: true, args: "hello"},
	"history":      {reads: true, args: "hello"},
	"export":       {reads: true, args: "--all"},
	"import":       {reads: true, args: "-f migrate/testdata/httpscaledobject.yaml"},
	"url":          {reads: true, args: "hello"},
	"open":         {reads: true, args: "hello"},
	"curl":         {reads: true, args: "hello"},
	"port-forward": {reads: true, args: "hello", until: "Ctrl-C"},
	"logs":         {reads: true, args: "hello"},
	"top":          {reads: true, args: "--once"},
	"load":         {reads: true, args: "hello --requests 1"},
	"generate":     {reads: true, args: "-k testdata/edition"},
	"doctor":       {reads: true, args: "--host app.nowhere.test"},
	"version":      {reads: true},

	"deploy":        {writes: true, args: "hello --image example.com/hello:9"},
	"scale":         {writes: true, args: "hello 2"},
	"wake":          {writes: true, args: "hello", given: asleep},
	"sleep":         {writes: true, args: "hello"},
	"pause":         {writes: true, args: "hello"},
	"resume":        {writes: true, args: "hello", given: pausedAtZero},
	"set image":     {writes: true, args: "hello example.com/hello:9"},
	"set env":       {writes: true, args: "hello C=3"},
	"set host":      {writes: true, args: "hello a.test"},
	"set expose":    {writes: true, args: "hello --ingress"},
	"set port":      {writes: true, args: "hello 3000"},
	"set health":    {writes: true, args: "hello /ready"},
	"set timeout":   {writes: true, args: "hello 30s"},
	"set resources": {writes: true, args: "hello --cpu 250m"},
	"restart":       {writes: true, args: "hello"},
	"rollback":      {writes: true, args: "hello"},
	"delete":        {writes: true, args: "hello"},
	"install":       {writes: true, args: "-k testdata/edition", given: func(c *cluster) { c.lacks("deployments") }},
	"upgrade":       {writes: true, args: "-k testdata/edition"},
	"uninstall":     {writes: true, args: "-k testdata/edition --yes"},

	"set":        {neither: "its subcommands do"},
	"completion": {neither: "what it prints is a program for the shell"},
	"options":    {neither: "it is help"},
}

func TestWhoReadsTakesAnOutputAndWhoWritesADryRunToo(t *testing.T) {
	t.Setenv("HOME", "/home/jo")
	root := tree()
	for _, name := range names(root) {
		r, ok := roles[name]
		if !ok {
			t.Errorf("%s is neither said to read nor to write", name)
			continue
		}
		cmd, _, err := root.Find(strings.Fields(name))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			switch {
			case r.neither != "":
			case r.reads:
				r.testReads(t, name, cmd)
			case r.writes:
				r.testWrites(t, name, cmd)
			default:
				t.Error("nothing is said of it")
			}
		})
	}
}

// call calls the command with flags, and returns what was printed and written.
func (r role) call(t *testing.T, name, flags string) (stdout string, writes []string) {
	t.Helper()
	c := newCluster(t, usual()...)
	c.logs["hello-1/app"] = "one\ntwo\n"
	if r.given != nil {
		r.given(c)
	}
	stdout, stderr, err := scene{until: r.until}.call(c, strings.Fields(name+" "+r.args+" "+flags))
	if err != nil {
		t.Errorf("%s: %v\n%s", flags, err, stderr)
	}
	return stdout, c.writes
}

func (r role) testReads(t *testing.T, name string, cmd *cobra.Command) {
	if f := cmd.Flags().ShorthandLookup("o"); f == nil || f.Name != "output" {
		t.Fatal("it has no -o")
	}
	out, writes := r.call(t, name, "-o json")
	if n, err := values(out); err != nil || n == 0 {
		t.Errorf("%d objects (%v) are in\n%s", n, err, out)
	}
	if len(writes) > 0 {
		t.Errorf("it writes %v", writes)
	}
	if strings.Contains(cmd.Flags().Lookup("output").Usage, "yaml") {
		out, _ := r.call(t, name, "-o yaml")
		var value any
		for doc := range strings.SplitSeq(out, "---\n") {
			if err := yaml.Unmarshal([]byte(doc), &value); err != nil || value == nil {
				t.Errorf("%v in\n%s", err, out)
			}
		}
	}
	r.testRefuses(t, name)
}

var objectName = regexp.MustCompile(`^[a-z]+(\.[a-z0-9.]+)?/[a-z0-9.-]+\n$`)

func (r role) testWrites(t *testing.T, name string, cmd *cobra.Command) {
	for _, flag := range []string{"dry-run", "output"} {
		if cmd.Flags().Lookup(flag) == nil {
			t.Fatalf("it has no --%s", flag)
		}
	}
	for _, strategy := range []string{"client", "server", "none"} {
		dry := "--dry-run=" + strategy
		out, writes := r.call(t, name, dry+" -o json")
		n, err := values(out)
		if err != nil || n == 0 {
			t.Errorf("%s: %d objects (%v) are in\n%s", dry, n, err, out)
		}
		if wrote := len(writes) > 0; wrote != (strategy == "none") {
			t.Errorf("%s writes %v", dry, writes)
		}
		out, _ = r.call(t, name, dry+" -o yaml")
		for doc := range strings.SplitSeq(out, "---\n") {
			var object struct{ APIVersion, Kind string }
			if err := yaml.Unmarshal([]byte(doc), &object); err != nil || object.Kind == "" || object.APIVersion == "" {
				t.Errorf("%s: no object (%v) is in\n%s", dry, err, out)
			}
		}
		out, _ = r.call(t, name, dry+" -o name")
		for line := range strings.Lines(out) {
			if !objectName.MatchString(line) {
				t.Errorf("%s: %q is no name", dry, line)
			}
		}
		if got := strings.Count(out, "\n"); got != n {
			t.Errorf("%s: %d names of %d objects", dry, got, n)
		}
		out, _ = r.call(t, name, dry)
		if note := strings.Contains(out, "dry run)"); note != (strategy != "none") {
			t.Errorf("%s is said so: %v\n%s", dry, note, out)
		}
	}
	r.testRefuses(t, name)
}

// testRefuses finds out whether an output that there is not is refused before anything is done.
func (r role) testRefuses(t *testing.T, name string) {
	t.Helper()
	c := newCluster(t, usual()...)
	if r.given != nil {
		r.given(c)
	}
	_, _, err := scene{}.call(c, strings.Fields(name+" "+r.args+" -o xml"))
	if ExitCode(err) != ExitUsage || len(c.writes) > 0 {
		t.Errorf("-o xml: %v, after it wrote %v", err, c.writes)
	}
}

// values are how many values of JSON a text is: one after the other.
func values(text string) (n int, err error) {
	for decoder := json.NewDecoder(strings.NewReader(text)); ; n++ {
		var value any
		switch err := decoder.Decode(&value); {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, err
		}
	}
}

func TestTheOutputsThatAreTakenAreOffered(t *testing.T) {
	for name, r := range roles {
		if r.neither != "" {
			continue
		}
		out, err := newPlugin(t).complete(append(append([]string{"__complete"}, strings.Fields(name)...), "-o", "")...)
		if err != nil || !slices.Contains(strings.Split(out, "\n"), "json") {
			t.Errorf("of %s is offered %q (%v)", name, out, err)
		}
	}
}
