package cluster

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestANameIsAShortDNSLabel(t *testing.T) {
	for name, want := range map[string]bool{
		"dev": true, "a": true, "e2e-1": true, "0": true, strings.Repeat("a", MaxNameLength): true,
		"": false, "-a": false, "a-": false, "A": false, "a.b": false, "a/b": false, "..": false, "a b": false, "ä": false,
		strings.Repeat("a", MaxNameLength+1): false,
	} {
		if got := ValidateName(name) == nil; got != want {
			t.Errorf("ValidateName(%q) accepts: %t, want %t", name, got, want)
		}
	}
}

func TestTheLongestNamesSocketPathFits(t *testing.T) {
	c, err := SystemRoots.Named(strings.Repeat("a", MaxNameLength))
	if err != nil {
		t.Fatal(err)
	}
	// containerd listens on a second socket beside its own, with a longer name
	if path := c.ContainerdSocket() + ".ttrpc"; len(path) > 107 {
		t.Errorf("%s has %d bytes", path, len(path))
	}
}

func roots(t *testing.T) Roots { return Roots{Data: t.TempDir(), Run: t.TempDir()} }

func named(t *testing.T, r Roots, name string) Cluster {
	t.Helper()
	c, err := r.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPortsAreFreeUniqueAndRemembered(t *testing.T) {
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if bindable(busy.Addr().(*net.TCPAddr).Port) {
		t.Error("a port that somebody listens on counts as free")
	}

	r := roots(t)
	seen := map[int]string{}
	for _, name := range []string{"a", "b"} {
		ports, err := named(t, r, name).ClaimPorts()
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range ports.list() {
			if owner, ok := seen[port]; ok {
				t.Errorf("port %d belongs to %s and to %s", port, owner, name)
			}
			seen[port] = name
		}
		again, err := named(t, r, name).ClaimPorts()
		if err != nil || again != ports {
			t.Errorf("second claim of %s: %v, %v; want %v", name, again, err, ports)
		}
	}
}

func TestPickingSkipsWhatIsTakenAndEndsWhenNothingIsFree(t *testing.T) {
	got, err := pick(2, func(port int) bool { return port%7 == 0 })
	if err != nil || got[0]%7 != 0 || got[1]%7 != 0 || got[0] == got[1] {
		t.Errorf("picked %v, %v", got, err)
	}
	if _, err := pick(1, func(int) bool { return false }); err == nil {
		t.Error("picked a port though none is free")
	}
}

func TestStateIsWhatWasSaved(t *testing.T) {
	c := named(t, roots(t), "a")
	if _, err := c.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("state of a cluster that does not exist: %v", err)
	}
	want := State{Boot: "x", Ports: Ports{1, 2, 3}}
	if err := c.Save(want); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Load(); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	if err := os.WriteFile(c.Data("state.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Load(); err == nil || !strings.Contains(err.Error(), "cluster down a") {
		t.Errorf("a broken state does not say what to do: %v", err)
	}
}

func TestTheSecondLockWaitsForTheFirst(t *testing.T) {
	c := named(t, roots(t), "a")
	unlock, err := c.Lock(func() { t.Error("the first one waits") })
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan bool, 1)
	got := make(chan error)
	go func() {
		unlock, err := c.Lock(func() { waits <- true })
		if err == nil {
			unlock()
		}
		got <- err
	}()
	select {
	case <-got:
		t.Fatal("two locks at once")
	case <-time.After(50 * time.Millisecond):
	}
	<-waits
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestWhoeverWaitedForARemovedLockTakesANewOne(t *testing.T) {
	r := roots(t)
	c := named(t, r, "a")
	unlock, err := c.Lock(func() {})
	if err != nil {
		t.Fatal(err)
	}
	waits, got := make(chan bool, 1), make(chan func(), 1)
	go func() {
		unlock, err := c.Lock(func() { waits <- true })
		if err != nil {
			t.Error(err)
		}
		got <- unlock
	}()
	<-waits
	if err := c.Forget(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(r.Run); err == nil {
		t.Errorf("left %v", left)
	}
	unlock()
	second := <-got
	defer second()
	waited := make(chan bool, 1)
	go func() {
		third, err := c.Lock(func() { waited <- true })
		if err == nil {
			third()
		}
	}()
	if !<-waited {
		t.Error("the second lock keeps nobody out")
	}
}
