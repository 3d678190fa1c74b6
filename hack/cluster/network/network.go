// Package network knows the network namespace in which a whole cluster lives, and from which no packet can leave.
package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The addresses inside a namespace. Each cluster has a namespace of its own, so all of them use the same.
const (
	NodeIP       = "172.31.255.1"
	nodePrefix   = 24
	PodCIDR      = "10.244.0.0/16"
	PodGateway   = "10.244.0.1" // the node's address among the pods, from which it speaks to them
	ServiceCIDR  = "10.96.0.0/16"
	KubernetesIP = "10.96.0.1"
	DNSIP        = "10.96.0.10"
)

const nodeLink = "node0"

// Namespace is a network namespace with a name, as `ip netns` knows it too.
type Namespace struct{ Name string }

// Path is the file that keeps the namespace alive.
func (n Namespace) Path() string { return filepath.Join("/run/netns", n.Name) }

// Exists says whether the namespace is there; after a reboot only its file may be.
func (n Namespace) Exists() bool {
	var s unix.Statfs_t
	return unix.Statfs(n.Path(), &s) == nil && s.Type == unix.NSFS_MAGIC
}

// Make makes the namespace and its interfaces where they are missing.
func (n Namespace) Make() error {
	if err := loadBridgeFilter(); err != nil {
		return err
	}
	if !n.Exists() {
		if err := errors.Join(n.Remove(), n.create()); err != nil {
			return fmt.Errorf("make network namespace %s: %w", n.Name, err)
		}
	}
	if err := n.configure(); err != nil {
		return fmt.Errorf("configure network namespace %s: %w", n.Name, err)
	}
	return nil
}

func (n Namespace) create() error {
	return onThread(func() error {
		ns, err := netns.NewNamed(n.Name)
		if err != nil {
			return err
		}
		return ns.Close()
	})
}

func (n Namespace) configure() error {
	ns, err := netns.GetFromPath(n.Path())
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // nothing was written
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()

	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(lo); err != nil {
		return err
	}
	// A bridge without ports swallows what is sent to it, which is all that is asked of the node's interface.
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nodeLink
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	link, err := h.LinkByName(nodeLink)
	if err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(NodeIP).To4(), Mask: net.CIDRMask(nodePrefix, 32)}}
	if err := h.AddrReplace(link, address); err != nil {
		return err
	}
	if err := h.LinkSetUp(link); err != nil {
		return err
	}
	// Service addresses are rewritten only after a route was found for them, so there has to be one.
	everywhere := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if err := h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: everywhere, Scope: netlink.SCOPE_LINK}); err != nil {
		return err
	}
	return n.Do(sysctls)
}

// loadBridgeFilter loads the module that lets Services see the packets between two pods, where it is a module.
func loadBridgeFilter() error {
	const module, sign = "br_netfilter", "/proc/sys/net/bridge"
	if _, err := os.Stat(sign); err == nil {
		return nil
	}
	if out, err := exec.Command("modprobe", module).CombinedOutput(); err != nil {
		return fmt.Errorf("the kernel's %s is not loaded, and cannot be: modprobe %s: %w %s", module, module, err, out)
	}
	return nil
}

func sysctls() error {
	for _, s := range []struct{ key, value string }{
		{"ipv4/ip_forward", "1"},
		{"ipv4/ip_local_port_range", "32768 65535"},
		{"bridge/bridge-nf-call-iptables", "1"}, // or a pod's answer to a neighbour goes past the Service's rules
	} {
		err := os.WriteFile(filepath.Join("/proc/sys/net", s.key), []byte(s.value), 0o644)
		if err != nil {
			return err
		}
	}
	return nil
}

// Do calls f in the namespace: what f starts lives there, and what it looks up in /proc/sys/net is there.
func (n Namespace) Do(f func() error) error {
	ns, err := netns.GetFromPath(n.Path())
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // nothing was written
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", n.Name, err)
		}
		return f()
	})
}

// onThread calls f on a thread that ends with it, so that no other goroutine ever runs in a namespace that f entered.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread goes away with this goroutine
		result <- f()
	}()
	return <-result
}

// Holds says whether the process lives in the namespace.
func (n Namespace) Holds(pid int) bool {
	var own, its unix.Stat_t
	if unix.Stat(n.Path(), &own) != nil || unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &its) != nil {
		return false
	}
	return n.Exists() && own.Dev == its.Dev && own.Ino == its.Ino
}

// Remove removes the namespace, and with it its links, routes and packet filter rules.
func (n Namespace) Remove() error {
	for n.Exists() {
		if err := unix.Unmount(n.Path(), unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", n.Path(), err)
		}
	}
	err := os.Remove(n.Path())
	for deadline := time.Now().Add(5 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); err = os.Remove(n.Path()) {
		time.Sleep(10 * time.Millisecond)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
