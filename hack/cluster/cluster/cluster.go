// Package cluster knows the name of a cluster and every place on the machine that is derived from it.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxNameLength keeps the paths of a cluster's Unix sockets below the kernel's 107 bytes.
const MaxNameLength = 20

var nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// ValidateName says whether a cluster may be called name. A name becomes a host name, a cgroup and a network
// namespace, so it is a DNS label, and a short one.
func ValidateName(name string) error {
	switch {
	case name == "":
		return errors.New("a cluster needs a name, for example dev")
	case len(name) > MaxNameLength:
		return fmt.Errorf("cluster name %q has %d characters; at most %d fit into the paths of its sockets", name, len(name), MaxNameLength)
	case !nameForm.MatchString(name):
		return fmt.Errorf("cluster name %q is not a DNS label: use a-z, 0-9 and '-', and begin and end with a letter or digit", name)
	}
	return nil
}

// Roots are the folders below which all clusters live.
type Roots struct {
	Data string // what is kept until the cluster is taken down
	Run  string // sockets, pid files and mounts
}

// SystemRoots are the folders that the program uses.
var SystemRoots = Roots{Data: "/var/lib/kedahttp-cluster", Run: "/run/kedahttp-cluster"}

// Cluster is one cluster's name and places.
type Cluster struct {
	Name  string
	roots Roots
}

// Named returns the cluster of that name, whether it exists or not.
func (r Roots) Named(name string) (Cluster, error) {
	if err := ValidateName(name); err != nil {
		return Cluster{}, err
	}
	return Cluster{Name: name, roots: r}, nil
}

// All lists the clusters that have a data folder, by name.
func (r Roots) All() ([]Cluster, error) {
	entries, err := os.ReadDir(r.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []Cluster
	for _, entry := range entries {
		if c, err := r.Named(entry.Name()); err == nil && entry.IsDir() {
			all = append(all, c)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// Data is a path in the cluster's data folder.
func (c Cluster) Data(elem ...string) string {
	return filepath.Join(append([]string{c.roots.Data, c.Name}, elem...)...)
}

// Run is a path in the cluster's folder of sockets, pid files and mounts.
func (c Cluster) Run(elem ...string) string {
	return filepath.Join(append([]string{c.roots.Run, c.Name}, elem...)...)
}

// Scope is the name of what the cluster owns machine-wide: its network namespace and its cgroup.
func (c Cluster) Scope() string { return "kedahttp-" + c.Name }

// Kubeconfig is the administrator's kubeconfig, which works on the host.
func (c Cluster) Kubeconfig() string { return c.Data("kubeconfig") }

// ContainerdSocket is where the cluster's own containerd listens.
func (c Cluster) ContainerdSocket() string { return c.Run("containerd", "containerd.sock") }

// Logs is the folder of the components' logs.
func (c Cluster) Logs(elem ...string) string {
	return c.Data(append([]string{"logs"}, elem...)...)
}

// Bin is the folder that `cluster env` puts on the PATH.
func (c Cluster) Bin() string { return c.Data("bin") }

// State is what a cluster has to remember between two commands.
type State struct {
	// Boot is the kernel's identity of the boot in which the cluster was started. Everything but the ports is
	// made anew after a reboot: etcd runs without fsync, so what a reboot left of it is not to be trusted.
	Boot  string `json:"boot"`
	Ports Ports  `json:"ports"`
	// Kubernetes is the minor release that the cluster was made with, "" for the usual one.
	Kubernetes string `json:"kubernetes,omitempty"`
	// Sync is how often the kubelet looks at each pod, and brings changed Secrets into it; "": as usual.
	Sync string `json:"sync,omitempty"`
	// NetworkPolicies says that they are enforced.
	NetworkPolicies bool `json:"networkPolicies,omitempty"`
}

// Load reads the cluster's state; a cluster that does not exist yields the zero State and fs.ErrNotExist.
func (c Cluster) Load() (State, error) {
	var s State
	data, err := os.ReadFile(c.Data("state.json"))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w; `cluster down %s` removes what is left of the cluster", c.Data("state.json"), err, c.Name)
	}
	return s, nil
}

// Save writes the cluster's state.
func (c Cluster) Save(s State) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data(), 0o755); err != nil {
		return err
	}
	return WriteFile(c.Data("state.json"), append(data, '\n'), 0o644)
}

// WriteFile replaces a file in one step, so that nobody reads half of it.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(perm), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// BootID is the kernel's identity of the running boot.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// Lock lets one command at a time change the cluster. If another one has the lock, it calls wait and then waits. The
// lock ends with unlock, or with the process.
func (c Cluster) Lock(wait func()) (unlock func(), err error) {
	return c.roots.lock("."+c.Name+".lock", wait)
}

func (r Roots) lock(name string, wait func()) (func(), error) {
	return LockFile(filepath.Join(r.Run, name), wait)
}

// LockFile takes an exclusive lock on a file, which it makes if need be. If another process has it, it calls wait and waits.
// Whoever has the lock may remove the file.
func LockFile(path string, wait func()) (unlock func(), err error) {
	for {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // whoever had the lock may have removed that, too
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			wait()
			err = unix.EINTR
		}
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		locked, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(locked, now) {
			return func() { f.Close() }, nil //nolint:errcheck // closing releases the lock in any case
		}
		f.Close() //nolint:errcheck // the file that was locked is not there any more, so the lock is worth nothing
	}
}

// Forget removes the cluster's lock, which the caller has, and the folders of all clusters if this was the last one.
func (c Cluster) Forget() error {
	if err := os.Remove(filepath.Join(c.roots.Run, "."+c.Name+".lock")); err != nil {
		return err
	}
	if all, err := c.roots.All(); err != nil || len(all) > 0 {
		return err
	}
	os.Remove(filepath.Join(c.roots.Run, ".ports.lock")) //nolint:errcheck // made anew when it is needed
	for _, dir := range []string{c.roots.Run, c.roots.Data} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	return nil
}
