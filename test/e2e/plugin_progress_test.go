//go:build e2e

package e2e

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// told is a line of progress: when it was said, and what.
var told = regexp.MustCompile(`(?m)^ *(\d+\.\d)s  (.+)$`)

// A deployment in a terminal, by somebody who watches it, resizes the window and loses patience.
func TestDeployTellsATerminalWhatItWaitsFor(t *testing.T) {
	u := newUser(t)
	term := u.newTerminal("PS1='$ '", "sh", "-i")
	deploy := func(app string, flags ...string) string {
		return "clear; kubectl http deploy -n " + u.namespace + " " + app + " --image-pull-policy Never " + strings.Join(flags, " ") + "; echo ended with $?"
	}

	term.press(deploy("slow", "--image", "kedahttp/test-echo:dev", "--env", "LISTEN_AFTER=3s", "--try"), "Enter")
	term.shows("what it waits for", "s  httpapp "+u.namespace+"/slow created", "s  waiting for a replica to be ready")
	term.tmux("resize-window", "-t", term.session, "-x", "90", "-y", "25")
	term.shows("its end", "s  1 of 1 replicas are ready\nhttp://"+u.host("slow"), "ended with 0")
	var last float64
	var said []string
	for _, line := range told.FindAllStringSubmatch(term.screen(), -1) {
		at, err := strconv.ParseFloat(line[1], 64)
		if err != nil || at < last {
			t.Errorf("%s comes after %g", line[0], last)
		}
		last, said = at, append(said, line[2])
	}
	if len(said) < 3 || len(slices.Compact(slices.Clone(said))) != len(said) {
		t.Errorf("it says %q", said)
	}
	if last < 3 {
		t.Errorf("it is ready after %g seconds, before it listens", last)
	}

	term.press(deploy("absent", "--image", "kedahttp/there-is-none:dev", "--try", "--wait-timeout", "10m"), "Enter")
	term.shows("the wait", "s  httpapp "+u.namespace+"/absent created")
	term.press("C-c")
	term.shows("its end", "error: interrupted; what was written stays", "ended with 1")
	u.kubectl("get", "httpapp", "absent")
}

// What is read by a program is lines, without anything for a terminal.
func TestProgressIsLinesWhereNobodyLooks(t *testing.T) {
	u := newUser(t)
	stdout, stderr := u.within(nil, "deploy", "piped", "--image", "kedahttp/test-echo:dev", "--image-pull-policy", "Never", "--health", "/healthz")
	if !strings.HasPrefix(stdout, "http://"+u.host("piped")) || strings.Count(stdout, "\n") != 1 {
		t.Errorf("stdout is %q", stdout)
	}
	status := u.goesOn("status", "piped", "--watch")
	top := u.goesOn("top", "piped")
	u.eventually(soon, "both watching", func() error {
		if err := status.has("idle: "); err != nil {
			return err
		}
		return top.has("idle")
	})
	if _, err := u.get("piped", "/"); err != nil {
		t.Fatal(err)
	}
	u.eventually(soon, "both moving", func() error {
		if err := status.has("serving: "); err != nil {
			return err
		}
		return top.has("serving")
	})
	for what, text := range map[string]string{"deploy": stderr, "status": status.all(), "top": top.all()} {
		if strings.ContainsAny(text, "\x1b\r\b") {
			t.Errorf("%s has tricks for a terminal: %q", what, text)
		}
	}
	for line := range strings.Lines(stderr) {
		if !told.MatchString(line) {
			t.Errorf("%q does not say when", line)
		}
	}
}
