package node

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/network"
	"github.com/kedahttp/kedahttp/hack/cluster/process"
)

func (n *Node) ensure(daemons ...process.Daemon) error {
	for _, d := range daemons {
		d.Within = n.Namespace.Do
		d.Adopt = func(pid int) error { return n.Cgroup.Adopt("system", pid) }
		if _, err := n.Daemons.Ensure(d); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) etcd(path string) process.Daemon {
	return process.Daemon{Name: "etcd", Path: path, Args: []string{
		"--name=" + n.Name,
		"--data-dir=" + n.Data("etcd"),
		"--listen-client-urls=http://127.0.0.1:2379",
		"--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=" + n.Name + "=http://127.0.0.1:2380",
		"--unsafe-no-fsync",
		"--log-level=warn",
	}}
}

func (n *Node) containerd() process.Daemon {
	config := n.Data("config", "containerd.toml")
	return process.Daemon{Name: "containerd", Path: "containerd", Args: []string{"--config", config}, Config: []string{config}}
}

func (n *Node) apiserver(path string) process.Daemon {
	p := n.PKI
	return process.Daemon{Name: "kube-apiserver", Path: path, Args: []string{
		"--advertise-address=" + network.NodeIP,
		"--secure-port=6443",
		"--tls-cert-file=" + p.Cert("apiserver"),
		"--tls-private-key-file=" + p.Key("apiserver"),
		"--client-ca-file=" + p.Cert("ca"),
		"--etcd-servers=http://127.0.0.1:2379",
		"--service-cluster-ip-range=" + network.ServiceCIDR,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--kubelet-certificate-authority=" + p.Cert("ca"),
		"--kubelet-client-certificate=" + p.Cert("apiserver-kubelet-client"),
		"--kubelet-client-key=" + p.Key("apiserver-kubelet-client"),
		"--kubelet-preferred-address-types=InternalIP", // the node's name is in no DNS
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + p.PublicKey("service-account"),
		"--service-account-signing-key-file=" + p.Key("service-account"),
		"--requestheader-client-ca-file=" + p.Cert("front-proxy-ca"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-uid-headers=X-Remote-Uid",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + p.Cert("front-proxy-client"),
		"--proxy-client-key-file=" + p.Key("front-proxy-client"),
		"--enable-aggregator-routing=true",
		"--v=1",
	}, Config: []string{p.Cert("ca"), p.Cert("apiserver")}}
}

// clientOf are the flags by which a component is a client of kube-apiserver, and lets it check who its own clients are.
func (n *Node) clientOf(component string) []string {
	kubeconfig := n.KubeconfigOf(component)
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--leader-elect=false", // there is only one
		"--v=1",
	}
}

func (n *Node) controllerManager(path string) process.Daemon {
	const name = "kube-controller-manager"
	return process.Daemon{Name: name, Path: path, Args: append(n.clientOf(name),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+n.PKI.Key("service-account"),
		"--root-ca-file="+n.PKI.Cert("ca"),
		"--cluster-signing-cert-file="+n.PKI.Cert("ca"),
		"--cluster-signing-key-file="+n.PKI.Key("ca"),
		"--flex-volume-plugin-dir="+n.Data("volume-plugins"),
		"--horizontal-pod-autoscaler-sync-period=5s", // a third of the default, for tests that wait for it
	), Config: []string{n.KubeconfigOf(name)}}
}

func (n *Node) scheduler(path string) process.Daemon {
	const name = "kube-scheduler"
	return process.Daemon{Name: name, Path: path, Args: n.clientOf(name), Config: []string{n.KubeconfigOf(name)}}
}

func (n *Node) kubelet(path string) process.Daemon {
	config := n.Data("config", "kubelet.yaml")
	return process.Daemon{Name: "kubelet", Path: path, Args: []string{
		"--config=" + config,
		"--kubeconfig=" + n.KubeconfigOf("kubelet"),
		"--hostname-override=" + n.Name,
		"--node-ip=" + network.NodeIP,
		"--root-dir=" + n.Data("kubelet"),
		"--v=1",
	}, Config: []string{config, n.KubeconfigOf("kubelet")}}
}

func (n *Node) proxy(path string) process.Daemon {
	config := n.Data("config", "kube-proxy.yaml")
	return process.Daemon{Name: "kube-proxy", Path: path, Args: []string{"--config=" + config, "--v=1"},
		Config: []string{config, n.KubeconfigOf("kube-proxy")}}
}

// networkPolicies lets packets to pods through, or does not. What comes from the node's own address goes for that of another machine.
func (n *Node) networkPolicies(path string) process.Daemon {
	const name = "network-policies"
	return process.Daemon{Name: name, Path: path, Args: []string{
		"--kubeconfig=" + n.KubeconfigOf(name), "--node=" + n.Name, "--pods=" + network.PodCIDR, "--exempt=" + network.PodGateway,
	}, Config: []string{n.KubeconfigOf(name)}}
}

func (n *Node) forwarder() string { return filepath.Join(n.Data("forward"), "cluster") }

// forwarders join ports of the host's loopback with the node. Each has a process of its own, so that a benchmark that
// uses up the descriptors of one does not cut off kubectl.
func (n *Node) forwarders(ports cluster.Ports) []process.Daemon {
	var daemons []process.Daemon
	for _, f := range []struct {
		name         string
		port, target int
	}{
		{"apiserver", ports.APIServer, 6443},
		{"http", ports.HTTP, NodePortHTTP},
		{"https", ports.HTTPS, NodePortHTTPS},
	} {
		daemons = append(daemons, process.Daemon{
			Name:  "forward-" + f.name,
			Path:  n.forwarder(),
			Args:  []string{"forward", fmt.Sprintf("%s:%d", network.NodeIP, f.target), fmt.Sprintf("--from=127.0.0.1:%d", f.port)},
			Files: func() ([]*os.File, error) { return listenOnHost(f.port) },
		})
	}
	return daemons
}

// listenOnHost opens the listener here, in the host's namespace; the forwarder inherits it and dials in its own.
func listenOnHost(port int) ([]*os.File, error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return nil, fmt.Errorf("%w; the port belongs to this cluster, but somebody else listens on it", err)
	}
	defer l.Close() //nolint:errcheck // the file is a duplicate
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	return []*os.File{f}, nil
}
