// Package cgroup knows the control group below which all of a cluster runs, in every hierarchy that is mounted.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kedahttp/kedahttp/hack/cluster/mount"
	"golang.org/x/sys/unix"
)

// Group is a control group right below the root of each hierarchy.
type Group struct{ Name string }

// Path is the group as the kubelet and /proc/PID/cgroup name it.
func (g Group) Path() string { return "/" + g.Name }

func (g Group) dirs() (v1, v2 []string, err error) {
	points, err := mount.Points()
	if err != nil {
		return nil, nil, err
	}
	for _, p := range points {
		switch p.Type {
		case "cgroup":
			v1 = append(v1, filepath.Join(p.Path, g.Name))
		case "cgroup2":
			v2 = append(v2, filepath.Join(p.Path, g.Name))
		}
	}
	if len(v1)+len(v2) == 0 {
		return nil, nil, errors.New("no cgroup file system is mounted, and the kubelet cannot do without")
	}
	return v1, v2, nil
}

// Make makes the group where it is missing.
func (g Group) Make() error {
	v1, v2, err := g.dirs()
	if err != nil {
		return err
	}
	for _, dir := range v1 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := inheritCPUs(dir); err != nil {
			return err
		}
	}
	for _, dir := range v2 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, at := range []string{filepath.Dir(dir), dir} {
			if err := delegate(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// inheritCPUs fills a new cpuset: one without processors and memory nodes takes in no process.
func inheritCPUs(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), parent, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Adopt moves a process into a child of the group, so that it does not end, or count, with whoever started it.
func (g Group) Adopt(child string, pid int) error {
	v1, v2, err := g.dirs()
	if err != nil {
		return err
	}
	for _, dir := range append(v1, v2...) {
		dir = filepath.Join(dir, child)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := inheritCPUs(dir); err != nil {
			return err
		}
		err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
		if err != nil && !errors.Is(err, unix.ESRCH) { // gone already, which whoever waits for it will notice
			return err
		}
	}
	return nil
}

// delegate gives every controller that dir has to its children.
func delegate(dir string) error {
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			return fmt.Errorf("delegate the %s controller of %s: %w", c, dir, err)
		}
	}
	return nil
}

// Holds says whether the process is in the group or in one of its children, in any hierarchy.
func (g Group) Holds(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && g.listed(string(data))
}

func (g Group) listed(procCgroup string) bool {
	for line := range strings.Lines(procCgroup) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && mount.Below(fields[2], g.Path()) {
			return true
		}
	}
	return false
}

// Remove removes the group and its children. The kernel needs a moment to notice that a group's last process is gone.
func (g Group) Remove() error {
	v1, v2, err := g.dirs()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, root := range append(v1, v2...) {
		var dirs []string
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for i := len(dirs) - 1; i >= 0; i-- {
			for {
				err := unix.Rmdir(dirs[i])
				if err == nil || errors.Is(err, unix.ENOENT) {
					break
				}
				if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
					return fmt.Errorf("remove control group %s: %w", dirs[i], err)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	return nil
}
