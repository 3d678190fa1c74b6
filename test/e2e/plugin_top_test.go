//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// terminal is a real one, with a screen that can be looked at and keys that can be pressed: tmux's.
type terminal struct {
	user
	session string
}

// installing is one test's at a time: the system's package manager turns away whoever comes while it is at work.
var installing sync.Mutex

// installed installs those of the packages that are missing.
func installed(packages string) error {
	installing.Lock()
	defer installing.Unlock()
	if exec.Command("sh", "-c", "dpkg -s "+packages).Run() == nil {
		return nil
	}
	out, err := exec.Command("sh", "-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends "+packages).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s cannot be installed: %w\n%s", packages, err, out)
	}
	return err
}

// newTerminal runs a command in a terminal of 110 columns and 20 lines.
func (u user) newTerminal(args ...string) *terminal {
	u.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if err := installed("tmux"); err != nil {
			u.Fatal(err)
		}
	}
	t := &terminal{u, u.namespace}
	words := []string{"new-session", "-d", "-s", t.session, "-x", "110", "-y", "20"}
	for _, variable := range []string{"KUBECONFIG", "PATH", "KUBECACHEDIR"} {
		words = append(words, "-e", variable+"="+os.Getenv(variable))
	}
	t.tmux(append(words, strings.Join(append(args, "; echo ended with $?; cat"), " "))...)
	u.Cleanup(func() { t.tmux("kill-session", "-t", t.session) })
	return t
}

func (t *terminal) tmux(args ...string) string {
	t.Helper()
	// A server of this test's own, in the language of the lines that it shows.
	out, err := exec.Command("tmux", append([]string{"-u", "-L", "kedahttp-" + t.session}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (t *terminal) press(keys ...string) {
	t.Helper()
	t.tmux(append([]string{"send-keys", "-t", t.session, "--"}, keys...)...)
}

func (t *terminal) screen() string { return t.tmux("capture-pane", "-p", "-t", t.session) }

// shows waits until the screen has all of the parts.
func (t *terminal) shows(what string, parts ...string) {
	t.Helper()
	t.eventually(soon, what, func() error {
		screen := t.screen()
		for _, part := range parts {
			if !strings.Contains(screen, part) {
				return fmt.Errorf("no %q on the screen\n%s", part, screen)
			}
		}
		return nil
	})
}

func TestTopFillsATerminalAndObeysItsKeys(t *testing.T) {
	u := newUser(t)
	u.deploy("first")
	u.deploy("second")
	top := u.newTerminal("kubectl", "http", "top", "-n", u.namespace)
	top.shows("both apps", "2 apps of namespace "+u.namespace, "first", "second", "idle", "q quit")

	stop := u.load("second", 3, "/?delay=300ms")
	top.shows("the requests", "serving", "█")
	// Who is busy comes first, and is opened first.
	top.press("Enter")
	top.shows("the page of the busy app", u.namespace+"/second", "requests/s", "esc back")
	top.tmux("resize-window", "-t", top.session, "-x", "60", "-y", "12")
	top.press("Escape")
	top.shows("the list in a smaller terminal", "> second", "first", "q quit")
	stop()
	top.press("/", "f", "i", "r")
	top.shows("what the filter leaves", "filter: fir", "1 app of")
	top.press("Escape")
	top.shows("both again", "2 apps of")
	u.plugin("delete", "first")
	top.shows("one app less", "1 app of")
	top.press("q")
	top.shows("its end", "ended with 0")
}

func TestTopIsLinesForOtherPrograms(t *testing.T) {
	u := newUser(t)
	u.deploy("told")
	out := u.plugin("top", "--once", "-o", "json")
	var told struct {
		Name, State string
		Pending     int64
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil || told.Name != "told" || told.State != "idle" {
		t.Errorf("it says %s (%v)", out, err)
	}
	lines := u.goesOn("top", "told")
	u.eventually(soon, "the first line", func() error { return lines.has("told  idle") })
	out = u.plugin("load", "told", "--requests", "40", "-c", "4", "-o", "json")
	var load struct {
		Requests   int64
		Statuses   map[string]int64
		Warm, Cold *struct{ Count int64 }
	}
	if err := json.Unmarshal([]byte(out), &load); err != nil || load.Requests != 40 || load.Statuses["200"] != 40 || load.Cold == nil || load.Warm == nil {
		t.Errorf("the load says %s (%v)", out, err)
	}
	u.eventually(soon, "the app serving", func() error { return lines.has("told  serving") })
	u.says(u.plugin("load", "told", "--cold", "--requests", "2"), "2 with 200", "cold", "first-byte", "probe")
	u.says(u.fails(1, "load", "told", "/?delay=x", "--requests", "5", "--timeout", "1ns"), "without a response")
}

func TestTheDoctorFindsAnInstallationThatIsWell(t *testing.T) {
	u := newUser(t)
	u.deploy("patient")
	out := u.plugin("doctor", "patient", "--report", t.TempDir()+"/report.tar.gz")
	for _, line := range []string{"cluster", "clock", "APIService", "certificate", "apps", "apiserver", "interceptor", "scaler", "rights", "interceptors", "health"} {
		u.says(out, "pass  "+line+" ")
	}
	if strings.Contains(out, "fail  ") {
		t.Errorf("something fails:\n%s", out)
	}
	u.says(u.fails(1, "install", "--domain", "apps.test"), "is installed already")
	u.says(u.fails(1, "uninstall"), "there are ", "uninstall --yes")
	u.says(u.plugin("upgrade", "--yes", "--dry-run=server"), "deployment.apps/kedahttp-apiserver applied (server dry run)", "apiservice.apiregistration.k8s.io/")
}
