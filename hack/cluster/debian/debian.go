// Package debian knows which of the distribution's packages a cluster needs.
package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/progress"
)

// needs names a program, or a file, for which a package is there.
var needs = []struct{ program, pkg string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"runc", "runc"},
	{"/usr/lib/cni/bridge", "containernetworking-plugins"},
	{"/usr/lib/cni/host-local", "containernetworking-plugins"},
	{"/usr/lib/cni/portmap", "containernetworking-plugins"},
	{"iptables", "iptables"},
	{"iptables-restore", "iptables"},
	{"mount", "mount"},
}

func missing(has func(program string) bool) []string {
	var packages []string
	for _, n := range needs {
		if !has(n.program) && !slices.Contains(packages, n.pkg) {
			packages = append(packages, n.pkg)
		}
	}
	return packages
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// Ensure installs what is missing.
func Ensure(ctx context.Context, report *progress.Reporter) error {
	packages := missing(installed)
	if len(packages) == 0 {
		return nil
	}
	list := strings.Join(packages, " ")
	if os.Geteuid() != 0 {
		return fmt.Errorf("these packages are missing: %s; install them, or run this as root", list)
	}
	if !installed("apt-get") {
		return fmt.Errorf("these packages are missing: %s; this machine has no apt-get, so install what has the programs of those Debian packages", list)
	}
	return report.Step("install "+list, func() error {
		// One of several clusters that are started at once does it for all.
		unlock, err := cluster.LockFile(filepath.Join(cluster.SystemRoots.Run, ".debian.lock"), func() {})
		if err != nil {
			return err
		}
		defer unlock()
		if packages = missing(installed); len(packages) == 0 {
			return nil
		}
		for _, args := range [][]string{{"update"}, append([]string{"install", "--yes", "--no-install-recommends"}, packages...)} {
			cmd := exec.CommandContext(ctx, "apt-get", args...)
			cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, out)
			}
		}
		if left := missing(installed); len(left) > 0 {
			return errors.New("installed, but their programs are still not found: " + strings.Join(left, " "))
		}
		return nil
	})
}
