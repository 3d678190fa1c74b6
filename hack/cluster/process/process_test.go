package process

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func table(t *testing.T) Table {
	dir := t.TempDir()
	return Table{Pids: filepath.Join(dir, "pids"), Logs: filepath.Join(dir, "logs"), Home: dir}
}

func sleeper(t *testing.T, tab Table, d Daemon) Daemon {
	t.Helper()
	d.Name, d.Path = "sleeper", "/bin/sh"
	if d.Args == nil {
		d.Args = []string{"-c", "echo started; while :; do sleep 1; done"}
	}
	t.Cleanup(func() { tab.Kill("sleeper") }) //nolint:errcheck // best effort
	return d
}

func TestADaemonIsStartedOnceAndAgainAfterItsEnd(t *testing.T) {
	tab := table(t)
	d := sleeper(t, tab, Daemon{})
	for i, want := range []bool{true, false, false} {
		if started, err := tab.Ensure(d); err != nil || started != want {
			t.Fatalf("ensure %d: started %t, %v; want %t", i, started, err, want)
		}
	}
	id, ok := tab.Running("sleeper")
	if !ok {
		t.Fatal("does not run")
	}
	if err := Kill(id); err != nil {
		t.Fatal(err)
	}
	if started, err := tab.Ensure(d); err != nil || !started {
		t.Errorf("after kill -9: started %t, %v", started, err)
	}
}

func TestADaemonWhoseConfigurationChangedIsStartedAnew(t *testing.T) {
	tab := table(t)
	config := filepath.Join(t.TempDir(), "config")
	write := func(s string) {
		if err := os.WriteFile(config, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	d := sleeper(t, tab, Daemon{Config: []string{config}})
	if _, err := tab.Ensure(d); err != nil {
		t.Fatal(err)
	}
	first, _ := tab.Running("sleeper")
	write("b")
	if started, err := tab.Ensure(d); err != nil || !started {
		t.Fatalf("started %t, %v", started, err)
	}
	if second, _ := tab.Running("sleeper"); second == first || first.Alive() {
		t.Error("the old process is still there")
	}
}

func TestADaemonThatDiesIsReportedWithItsLastWords(t *testing.T) {
	tab := table(t)
	d := sleeper(t, tab, Daemon{Args: []string{"-c", "echo no such luck >&2; sleep 0.1; exit 1"}})
	if _, err := tab.Ensure(d); err != nil {
		t.Fatal(err)
	}
	err := tab.Await(t.Context(), "sleeper", 30*time.Second, func() error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("got %v", err)
	}
}

func TestAPidThatBelongsToSomebodyElseIsNotTheDaemon(t *testing.T) {
	me, ok := Of(os.Getpid())
	if !ok || !me.Alive() {
		t.Fatal("I do not live")
	}
	other := ID{PID: me.PID, Start: "1"}
	if other.Alive() {
		t.Error("a process with my pid but another start counts as me")
	}
	if err := other.Signal(unix.SIGKILL); err != nil {
		t.Errorf("signalling a process that is gone: %v", err)
	}
}

func TestAStubbornDaemonIsKilledAfterItsGrace(t *testing.T) {
	tab := table(t)
	d := sleeper(t, tab, Daemon{Args: []string{"-c", "trap '' TERM; echo started; while :; do sleep 1; done"}})
	if _, err := tab.Ensure(d); err != nil {
		t.Fatal(err)
	}
	err := tab.Await(t.Context(), "sleeper", 30*time.Second, func() error {
		if !strings.HasSuffix(tab.Tail("sleeper", 1), "started") {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := tab.Running("sleeper")
	if err := tab.Stop("sleeper", 50*time.Millisecond); err != nil || id.Alive() {
		t.Errorf("alive %t, %v", id.Alive(), err)
	}
	if err := tab.Stop("sleeper", 0); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
}
