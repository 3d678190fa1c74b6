package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/mount"
	"github.com/kedahttp/kedahttp/hack/cluster/process"
)

// Folders of the machine that containerd, CNI and the kubelet use whatever their configuration says.
const (
	containerdRun  = "/run/containerd"
	shimSockets    = containerdRun + "/s"
	cniResults     = "/var/lib/cni/results"
	containerLogs  = "/var/log/containers"
	kubeletDefault = "/var/lib/kubelet"
)

// Remove takes the cluster down, and with it everything that it has made on this machine. It goes by what is there and
// not by what is remembered, so that it also cleans up after something was killed or lost.
func (n *Node) Remove() error {
	// The kubelet first, or it would start again what is stopped below. A SIGKILL would do: nothing is kept.
	for _, name := range []string{"kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kube-apiserver", "etcd",
		"forward-apiserver", "forward-http", "forward-https", "containerd"} {
		if err := n.Daemons.Kill(name); err != nil {
			return err
		}
	}
	if err := n.killRest(); err != nil {
		return err
	}
	traces := n.traces() // while the folders that name them are there
	if err := mount.UnmountBelow(n.Data(), n.Run()); err != nil {
		return err
	}
	if err := n.Namespace.Remove(); err != nil {
		return err
	}
	if err := n.Cgroup.Remove(); err != nil {
		return err
	}
	for _, path := range traces {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return errors.Join(os.RemoveAll(n.Run()), removeData(n.Data()))
}

// removeData removes the state file last: while it is there, the cluster is listed and can be taken down again.
func removeData(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != "state.json" {
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}

// killRest ends every process that lives in the cluster's network namespace (components and the containers' shims) or in
// its control group (containers), until none is left: some start others while they are being killed.
func (n *Node) killRest() error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		left, err := process.Find(func(pid int) bool { return n.Namespace.Holds(pid) || n.Cgroup.Holds(pid) })
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes of cluster %s keep appearing: %v", n.Name, left)
		}
		if err := process.Kill(left...); err != nil {
			return err
		}
	}
}

// shimSockets are the sockets of the containers' shims, which containerd keeps outside of its state folder.
func (n *Node) shimSockets() []string {
	files, _ := filepath.Glob(n.Run("containerd", "io.containerd.runtime.v2.task", "*", "*", "address"))
	var sockets []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		path := strings.TrimPrefix(strings.TrimSpace(string(data)), "unix://")
		if err == nil && mount.Below(path, shimSockets) && path != shimSockets {
			sockets = append(sockets, path)
		}
	}
	return sockets
}

// traces are files in folders that clusters share. The last cluster also removes what belongs to none in particular.
func (n *Node) traces() []string {
	found := n.shimSockets()
	results, _ := os.ReadDir(cniResults)
	for _, entry := range results {
		if id, ok := containerOf(n.Scope(), entry.Name()); ok {
			// containerd also gives each sandbox a loopback network, which has the same name everywhere
			found = append(found, filepath.Join(cniResults, entry.Name()), filepath.Join(cniResults, "cni-loopback-"+id+"-lo"))
		}
	}
	links, _ := os.ReadDir(containerLogs)
	for _, entry := range links {
		link := filepath.Join(containerLogs, entry.Name())
		if target, err := os.Readlink(link); err == nil && mount.Below(target, n.Logs()) {
			found = append(found, link)
		}
	}
	if n.last() {
		const plugins = kubeletDefault + "/device-plugins"
		for _, path := range []string{plugins + "/kubelet.sock", plugins + "/kubelet_internal_checkpoint", plugins, kubeletDefault, containerLogs, cniResults, shimSockets, containerdRun} {
			if removable(path, found) {
				found = append(found, path)
			}
		}
	}
	return found
}

// last says whether there is no other cluster on this machine.
func (n *Node) last() bool {
	all, err := cluster.SystemRoots.All()
	return err == nil && !slices.ContainsFunc(all, func(c cluster.Cluster) bool { return c.Name != n.Name })
}

// removable says whether the path is a file, or a folder with nothing in it but what is going to be removed.
func removable(path string, going []string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return err == nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return false
	}
	for _, entry := range entries {
		gone := false
		for _, g := range going {
			gone = gone || g == filepath.Join(path, entry.Name())
		}
		if !gone {
			return false
		}
	}
	return true
}

// containerOf reads CNI's "NETWORK-CONTAINER-INTERFACE", where another network's name may begin with this one.
func containerOf(network, file string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(file, network+"-")
	if match := container.FindStringSubmatch(rest); ok && match != nil {
		return match[1], true
	}
	return "", false
}

var container = regexp.MustCompile(`^([0-9a-f]{64})-`)
