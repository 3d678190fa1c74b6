// Package process knows processes that outlive the command which started them.
package process

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ID names one process for as long as the machine is up: a pid alone may belong to somebody else by now.
type ID struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // clock ticks since boot, from /proc/PID/stat
}

// Of returns the identity of the process that now has this pid, and false if there is none or it is a zombie.
func Of(pid int) (ID, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ID{}, false
	}
	// the command in parentheses may hold anything, so count from its end
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const state, starttime = 0, 19
	if len(fields) <= starttime || fields[state] == "Z" || fields[state] == "X" {
		return ID{}, false
	}
	return ID{PID: pid, Start: fields[starttime]}, true
}

// Alive says whether the process still runs.
func (id ID) Alive() bool {
	now, ok := Of(id.PID)
	return ok && now == id
}

// Signal sends a signal to the process and to nobody who inherited its pid.
func (id ID) Signal(sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	if !id.Alive() {     // checked after the pidfd is held: from here on it cannot become somebody else
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// Stop asks the process to end, and ends it when it has not after grace.
func (id ID) Stop(grace time.Duration) error {
	if err := id.Signal(unix.SIGTERM); err != nil {
		return err
	}
	if Gone(grace, id) {
		return nil
	}
	return Kill(id)
}

// Kill ends processes at once and waits until they are gone.
func Kill(ids ...ID) error {
	for _, id := range ids {
		if err := id.Signal(unix.SIGKILL); err != nil {
			return fmt.Errorf("kill process %d: %w", id.PID, err)
		}
	}
	if !Gone(10*time.Second, ids...) {
		return fmt.Errorf("processes %v did not end within 10 s of SIGKILL", ids)
	}
	return nil
}

// Gone waits until none of the processes is left, but no longer than timeout.
func Gone(timeout time.Duration, ids ...ID) bool {
	deadline := time.Now().Add(timeout)
	for {
		left := false
		for _, id := range ids {
			left = left || id.Alive()
		}
		if !left {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Find returns every process for which match is true; this one is never among them.
func Find(match func(pid int) bool) ([]ID, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []ID
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if id, ok := Of(pid); ok && match(pid) {
			found = append(found, id)
		}
	}
	return found, nil
}

// Daemon is a program to be kept running.
type Daemon struct {
	Name string
	Path string
	Args []string
	// Config are files that the daemon reads at its start: when one has changed, it is started anew.
	Config []string
	// Files are handed over as descriptors 3, 4, …; see Table.Ensure.
	Files func() ([]*os.File, error)
	// Within calls start where the process shall live, for example in a network namespace.
	Within func(start func() error) error
	// Adopt is called right after the start.
	Adopt func(pid int) error
}

type record struct {
	ID
	Fingerprint string `json:"fingerprint"`
}

// Table is the daemons of one owner: their pid files and logs.
type Table struct {
	Pids string
	Logs string
	Home string
}

func (t Table) pidFile(name string) string { return filepath.Join(t.Pids, name+".json") }

// Log is the path of a daemon's log.
func (t Table) Log(name string) string { return filepath.Join(t.Logs, name+".log") }

// Running returns the daemon's process, if it runs.
func (t Table) Running(name string) (ID, bool) {
	r, ok := t.read(name)
	return r.ID, ok && r.Alive()
}

func (t Table) read(name string) (record, bool) {
	var r record
	data, err := os.ReadFile(t.pidFile(name))
	return r, err == nil && json.Unmarshal(data, &r) == nil
}

// Ensure starts the daemon unless it runs already, the way it is described. It says whether it started it.
func (t Table) Ensure(d Daemon) (started bool, err error) {
	fingerprint, err := d.fingerprint()
	if err != nil {
		return false, err
	}
	if r, ok := t.read(d.Name); ok && r.Alive() {
		if r.Fingerprint == fingerprint {
			return false, nil
		}
		if err := r.Stop(5 * time.Second); err != nil {
			return false, err
		}
	}
	id, err := t.start(d)
	if err != nil {
		return false, fmt.Errorf("start %s: %w", d.Name, err)
	}
	data, err := json.Marshal(record{ID: id, Fingerprint: fingerprint})
	if err == nil {
		err = os.WriteFile(t.pidFile(d.Name), data, 0o644)
	}
	return true, err
}

// environment is all that a daemon gets to see: above all no proxy settings, which kube-apiserver would use for
// webhooks and aggregated APIs.
func (t Table) environment() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + t.Home}
}

func (t Table) start(d Daemon) (ID, error) {
	if err := errors.Join(os.MkdirAll(t.Pids, 0o755), os.MkdirAll(t.Logs, 0o755)); err != nil {
		return ID{}, err
	}
	log, err := os.OpenFile(t.Log(d.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return ID{}, err
	}
	defer log.Close() //nolint:errcheck // the daemon has its own descriptor
	fmt.Fprintf(log, "--- %s: %s %s\n", time.Now().Format(time.RFC3339), d.Path, strings.Join(d.Args, " "))

	cmd := exec.Command(d.Path, d.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = t.Home
	cmd.Env = t.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // survives the terminal and the command
	if d.Files != nil {
		files, err := d.Files()
		if err != nil {
			return ID{}, err
		}
		for _, f := range files {
			defer f.Close() //nolint:errcheck // the daemon has its own descriptor
		}
		cmd.ExtraFiles = files
	}
	within := d.Within
	if within == nil {
		within = func(start func() error) error { return start() }
	}
	if err := within(cmd.Start); err != nil {
		return ID{}, err
	}
	if d.Adopt != nil {
		if err := d.Adopt(cmd.Process.Pid); err != nil {
			return ID{}, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
		}
	}
	id, ok := Of(cmd.Process.Pid)
	go cmd.Wait() //nolint:errcheck // only reaps it, should it end before this command does
	if !ok {
		return ID{}, fmt.Errorf("it ended at once:\n%s", t.Tail(d.Name, 20))
	}
	return id, nil
}

func (d Daemon) fingerprint() (string, error) {
	h := sha256.New()
	for _, s := range append([]string{d.Path}, d.Args...) {
		fmt.Fprintf(h, "%d %s\n", len(s), s)
	}
	for _, path := range d.Config {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// Await polls ready until it succeeds, the daemon ends, or the timeout is over; in the last two cases the error
// carries the end of the daemon's log. A context that is done ends it, too.
func (t Table) Await(ctx context.Context, name string, timeout time.Duration, ready func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		switch _, running := t.Running(name); {
		case ctx.Err() != nil:
			return ctx.Err()
		case !running:
			return fmt.Errorf("%s ended; the end of %s:\n%s", name, t.Log(name), t.Tail(name, 20))
		case time.Now().After(deadline):
			return fmt.Errorf("%s is not ready after %s: %w; the end of %s:\n%s", name, timeout, err, t.Log(name), t.Tail(name, 20))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Tail is the last lines of a daemon's log.
func (t Table) Tail(name string, lines int) string {
	f, err := os.Open(t.Log(name))
	if err != nil {
		return "(no log)"
	}
	defer f.Close() //nolint:errcheck // only read
	const most = 16 << 10
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		f.Seek(max(0, size-most), io.SeekStart) //nolint:errcheck // a failure shows as an empty tail
	}
	data, _ := io.ReadAll(f)
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Stop ends a daemon, politely for as long as grace.
func (t Table) Stop(name string, grace time.Duration) error {
	if id, ok := t.Running(name); ok {
		if err := id.Stop(grace); err != nil {
			return fmt.Errorf("stop %s: %w", name, err)
		}
	}
	if err := os.Remove(t.pidFile(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Kill ends a daemon at once.
func (t Table) Kill(name string) error { return t.Stop(name, 0) }
