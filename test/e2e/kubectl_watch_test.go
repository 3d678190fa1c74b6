//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// watching is a kubectl that runs, and what it has printed so far.
type watching struct {
	user
	args string
	mu   sync.Mutex
	// lines are those of stdout and stderr.
	lines []string
}

// watch starts kubectl and ends it with the test.
func (u user) watch(args ...string) *watching {
	u.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{user: u, args: strings.Join(args, " ")}
	cmd := u.command(ctx, args...)
	cmd.Cancel = func() error { return cmd.Process.Kill() }
	w.start(cmd)
	u.Cleanup(func() {
		cancel()
		// It was killed: how it ended says nothing.
		_ = cmd.Wait()
	})
	return w
}

func (w *watching) start(cmd *exec.Cmd) {
	w.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			w.mu.Lock()
			w.lines = append(w.lines, scanner.Text())
			w.mu.Unlock()
		}
	}()
}

// seen are the lines so far.
func (w *watching) seen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.lines...)
}

// await waits for a line that has all of the words, after the first n lines, and returns how many lines there are up to it.
func (w *watching) await(n int, words ...string) int {
	w.Helper()
	w.eventually(soon, fmt.Sprintf("kubectl %s showing %v", w.args, words), func() error {
		lines := w.seen()
		for i := n; i < len(lines); i++ {
			if has(lines[i], words) {
				n = i + 1
				return nil
			}
		}
		return fmt.Errorf("after line %d it shows\n%s", n, strings.Join(lines[min(n, len(lines)):], "\n"))
	})
	return n
}

func has(line string, words []string) bool {
	fields := strings.Fields(line)
	for _, word := range words {
		if !strings.Contains(" "+strings.Join(fields, " ")+" ", " "+word+" ") {
			return false
		}
	}
	return true
}

func TestAWatchShowsWhatHappensInEveryForm(t *testing.T) {
	u := newUser(t)
	u.apply(small("first") + "---\n" + small("touched"))
	u.kubectl("wait", "httpapp/first", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=2m")

	table := u.watch("get", "httpapps", "-w")
	events := u.watch("get", "httpapps", "-w", "--output-watch-events")
	only := u.watch("get", "httpapps", "--watch-only")
	single := u.watch("get", "httpapp", "first", "-w", "-o", "custom-columns=NAME:.metadata.name,STEP:.metadata.labels.step")
	selected := u.watch("get", "httpapps", "-w", "-l", "step=two", "--output-watch-events")
	field := u.watch("get", "httpapps", "-w", "--field-selector=metadata.name=second", "-o", "name")
	table.await(0, "NAME")
	table.await(0, "first")
	events.await(0, "ADDED", "first")
	single.await(0, "first", "<none>")
	// It has nothing to show when it begins.
	touches := 0
	u.eventually(soon, "kubectl get --watch-only showing anything", func() error {
		touches++
		u.kubectl("label", "httpapp", "touched", fmt.Sprint("times=", touches), "--overwrite")
		if len(only.seen()) == 0 {
			return fmt.Errorf("nothing after %d changes", touches)
		}
		return nil
	})

	u.apply(small("second"))
	n := table.await(0, "second")
	m := events.await(0, "ADDED", "second")
	only.await(0, "second")
	field.await(0, "httpapp.apps.http.keda.sh/second")
	if first := only.seen(); strings.Contains(strings.Join(first, "\n"), "first") {
		t.Errorf("--watch-only shows what was there before: %q", first)
	}

	// Selectors of watches: what comes to match is added, what ceases to is deleted.
	u.kubectl("label", "httpapp", "first", "step=one")
	u.kubectl("label", "httpapp", "first", "step=two", "--overwrite")
	s := single.await(0, "first", "one")
	single.await(s, "first", "two")
	s = selected.await(0, "ADDED", "first")
	u.kubectl("label", "httpapp", "first", "step=three", "--overwrite")
	selected.await(s, "DELETED", "first")
	events.await(m, "MODIFIED", "first")

	u.kubectl("delete", "httpapp", "second")
	events.await(m, "DELETED", "second")
	table.await(n, "second")
	if lines := field.seen(); strings.Contains(strings.Join(lines, "\n"), "first") {
		t.Errorf("a watch of one name shows others: %q", lines)
	}
}

func TestWaitWaitsForAConditionAFieldACreationAndADeletion(t *testing.T) {
	u := newUser(t)
	for _, c := range []struct {
		wait []string
		then func()
	}{
		{[]string{"httpapp/waited", "--for=create"}, func() { u.apply(small("waited")) }},
		{[]string{"httpapp/waited", "--for=condition=WorkloadReady=false"}, func() {}},
		{[]string{"httpapp/waited", "--for=condition=Ready"}, func() {
			u.kubectl("create", "deployment", "backend", "--image=kedahttp/test-echo:dev", "--replicas=0")
			u.kubectl("create", "service", "clusterip", "backend", "--tcp=8080:8080")
		}},
		{[]string{"httpapp/waited", "--for=jsonpath={.metadata.labels.step}=done"}, func() { u.kubectl("label", "httpapp", "waited", "step=done") }},
		{[]string{"httpapp/waited", "--for=jsonpath={.spec.scaling.maxReplicas}=7"}, func() {
			u.kubectl("patch", "httpapp", "waited", "--type=merge", "-p", `{"spec":{"scaling":{"maxReplicas":7}}}`)
		}},
		{[]string{"httpapp", "--all", "--for=delete"}, func() { u.kubectl("delete", "httpapp", "waited") }},
	} {
		waiting := u.watch(append([]string{"wait", "--timeout=2m", "-v=6"}, c.wait...)...)
		if c.wait[0] == "httpapp" {
			u.eventually(soon, "that there is one to wait for known to kubectl", func() error {
				if lines := waiting.seen(); !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "/httpapps") && strings.Contains(l, "200 OK") }) {
					return fmt.Errorf("it says\n%s", strings.Join(lines, "\n"))
				}
				return nil
			})
		}
		c.then()
		waiting.await(0, "met")
	}
}
