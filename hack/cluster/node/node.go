// Package node knows how the parts of a single-node Kubernetes are configured, started in order, and taken down.
package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/kedahttp/kedahttp/hack/cluster/cgroup"
	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/components"
	"github.com/kedahttp/kedahttp/hack/cluster/image"
	"github.com/kedahttp/kedahttp/hack/cluster/kubectl"
	"github.com/kedahttp/kedahttp/hack/cluster/network"
	"github.com/kedahttp/kedahttp/hack/cluster/pki"
	"github.com/kedahttp/kedahttp/hack/cluster/process"
	"github.com/kedahttp/kedahttp/hack/cluster/progress"
)

//go:embed config
var configs embed.FS

// cniPlugins is where Debian installs them.
const cniPlugins = "/usr/lib/cni"

// The node ports that the host's loopback is joined with: an interceptor's Service uses them.
const (
	NodePortHTTP  = 30080
	NodePortHTTPS = 30443
)

// Node is the one machine of a cluster.
type Node struct {
	cluster.Cluster
	Cgroup    cgroup.Group
	Namespace network.Namespace
	PKI       pki.Store
	Daemons   process.Table
	Progress  *progress.Reporter
}

// Of returns the node of a cluster, whether it runs or not.
func Of(c cluster.Cluster, report *progress.Reporter) *Node {
	return &Node{
		Cluster:   c,
		Cgroup:    cgroup.Group{Name: c.Scope()},
		Namespace: network.Namespace{Name: c.Scope()},
		PKI:       pki.Store{Dir: c.Data("pki")},
		Daemons:   process.Table{Pids: c.Run("pids"), Logs: c.Logs(), Home: c.Data()},
		Progress:  report,
	}
}

// What the templates in config ask for.

func (*Node) NodeIP() string     { return network.NodeIP }
func (*Node) PodCIDR() string    { return network.PodCIDR }
func (*Node) DNSIP() string      { return network.DNSIP }
func (*Node) CNIPlugins() string { return cniPlugins }

// SandboxImage is the pause image's canonical name.
func (*Node) SandboxImage() (string, error) {
	return image.Canonical(components.Pause.Programs[0].Image.Name)
}

// SyncFrequency is how often the kubelet looks at each pod, empty for its default.
func (n *Node) SyncFrequency() (string, error) {
	state, err := n.Load()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return state.Sync, err
}

// KubeconfigOf is the kubeconfig of one of the components.
func (n *Node) KubeconfigOf(component string) string {
	return n.Data("config", component+".kubeconfig")
}

// Kubectl is the administrator's kubectl.
func (n *Node) Kubectl() kubectl.Client {
	return kubectl.Client{Binary: filepath.Join(n.Bin(), "kubectl"), Kubeconfig: n.Kubeconfig()}
}

// Running says whether the node's API server runs.
func (n *Node) Running() bool {
	_, ok := n.Daemons.Running("kube-apiserver")
	return ok
}

// Start starts whatever of the node does not run, and returns when the node is ready for pods. self is this program,
// for the forwarders. NetworkPolicies are enforced if policies has been built.
func (n *Node) Start(ctx context.Context, kubernetes, policies components.Built, images []components.Image, self string) error {
	if err := n.afterReboot(); err != nil {
		return err
	}
	ports, err := n.ClaimPorts()
	if err != nil {
		return err
	}
	if err := n.prepare(kubernetes, self, ports); err != nil {
		return err
	}
	program := kubernetes.Program

	return n.Progress.Step("start Kubernetes", func() error {
		if err := n.ensure(n.etcd(program("etcd")), n.containerd()); err != nil {
			return err
		}
		if err := n.Daemons.Await(ctx, "etcd", 60*time.Second, func() error { return n.Namespace.Get("127.0.0.1:2379", "/health") }); err != nil {
			return err
		}
		if err := n.ensure(n.apiserver(program("kube-apiserver"))); err != nil {
			return err
		}
		if err := n.ensure(n.forwarders(ports)...); err != nil {
			return err
		}
		if err := n.Daemons.Await(ctx, "containerd", 60*time.Second, n.containerdAnswers); err != nil {
			return err
		}
		if err := n.LoadMissing(ctx, images); err != nil {
			return err
		}
		if err := n.Daemons.Await(ctx, "kube-apiserver", 180*time.Second, func() error { return n.readyz(ctx, ports.APIServer) }); err != nil {
			return err
		}
		if err := n.ensure(n.controllerManager(program("kube-controller-manager")), n.scheduler(program("kube-scheduler")), n.kubelet(program("kubelet")), n.proxy(program("kube-proxy"))); err != nil {
			return err
		}
		if policies.Dir != "" {
			if err := n.ensure(n.networkPolicies(policies.Program("network-policies"))); err != nil {
				return err
			}
		}
		for _, d := range []struct{ name, address string }{
			{"kubelet", "127.0.0.1:10248"},
			{"kube-proxy", network.NodeIP + ":10256"},
		} {
			if err := n.Daemons.Await(ctx, d.name, 120*time.Second, func() error { return n.Namespace.Get(d.address, "/healthz") }); err != nil {
				return err
			}
		}
		return n.awaitReady(ctx)
	})
}

// afterReboot begins anew when the cluster was last started in another boot: etcd ran without fsync.
func (n *Node) afterReboot() error {
	boot, err := cluster.BootID()
	if err != nil {
		return err
	}
	state, err := n.Load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if state.Boot == boot {
		return nil
	}
	if state.Boot != "" {
		n.Progress.Printf("the machine was started anew since cluster %s ran: it begins afresh, on the same ports", n.Name)
	}
	if err := n.Remove(); err != nil { // also what is left of a cluster whose data folder somebody deleted
		return err
	}
	state.Boot = boot
	return n.Save(state)
}

func (n *Node) prepare(kubernetes components.Built, self string, ports cluster.Ports) error {
	for _, dir := range []string{n.Data("cni", "net.d"), n.Data("config"), n.Data("volume-plugins"), n.Data("kubelet"), n.Data("etcd"), n.Logs("pods"), n.Bin(), n.Run("containerd")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(n.Data("etcd"), 0o700); err != nil { // or etcd warns
		return err
	}
	if err := errors.Join(n.Cgroup.Make(), n.Namespace.Make(), raiseWatchLimit()); err != nil {
		return err
	}
	if err := n.certificates(); err != nil {
		return err
	}
	link := filepath.Join(n.Bin(), "kubectl")
	if target, _ := os.Readlink(link); target != kubernetes.Program("kubectl") {
		os.Remove(link) //nolint:errcheck // the next line says what is wrong
		if err := os.Symlink(kubernetes.Program("kubectl"), link); err != nil {
			return err
		}
	}
	if err := install(self, n.forwarder()); err != nil {
		return err
	}
	if err := cluster.WriteFile(n.Data("resolv.conf"), []byte("# nothing outside the cluster can be resolved\n"), 0o644); err != nil {
		return err
	}
	for file, target := range map[string]string{
		"containerd.toml": n.Data("config", "containerd.toml"),
		"cni.conflist":    n.Data("cni", "net.d", "10-pods.conflist"),
		"kubelet.yaml":    n.Data("config", "kubelet.yaml"),
		"kube-proxy.yaml": n.Data("config", "kube-proxy.yaml"),
	} {
		if err := render(file, target, 0o644, n); err != nil {
			return err
		}
	}
	inside := fmt.Sprintf("https://%s:6443", network.NodeIP)
	for _, component := range []string{"kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "network-policies"} {
		if err := n.kubeconfig(n.KubeconfigOf(component), inside, component); err != nil {
			return err
		}
	}
	return n.kubeconfig(n.Kubeconfig(), fmt.Sprintf("https://127.0.0.1:%d", ports.APIServer), "admin")
}

// raiseWatchLimit makes room for the inotify instances of many pods: all of them run as the same user, and the kernel's
// default of 128 is used up by a few dozen.
func raiseWatchLimit() error {
	const file, want = "/proc/sys/fs/inotify/max_user_instances", 1024
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var now int
	if _, err := fmt.Sscan(string(data), &now); err != nil || now >= want {
		return err
	}
	return os.WriteFile(file, fmt.Appendf(nil, "%d", want), 0o644)
}

// install copies a program unless the copy is there; the copy outlives what `go run` made.
func install(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(to); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return cluster.WriteFile(to, data, 0o755)
}

func render(file, target string, perm os.FileMode, data any) error {
	t, err := template.ParseFS(configs, "config/"+file)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return err
	}
	return cluster.WriteFile(target, out.Bytes(), perm)
}

func (n *Node) certificates() error {
	return n.PKI.Make([]string{"ca", "front-proxy-ca"}, []pki.Leaf{
		{
			Name: "apiserver", CA: "ca", Common: "kube-apiserver",
			Names: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
			IPs:   []string{"127.0.0.1", network.NodeIP, network.KubernetesIP},
		},
		{Name: "kubelet-server", CA: "ca", Common: n.Name, Names: []string{n.Name}, IPs: []string{network.NodeIP}},
		{Name: "admin", CA: "ca", Common: "kubernetes-admin", Groups: []string{"system:masters"}},
		{Name: "apiserver-kubelet-client", CA: "ca", Common: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}},
		{Name: "kube-controller-manager", CA: "ca", Common: "system:kube-controller-manager"},
		{Name: "kube-scheduler", CA: "ca", Common: "system:kube-scheduler"},
		{Name: "kube-proxy", CA: "ca", Common: "system:kube-proxy"},
		{Name: "kubelet", CA: "ca", Common: "system:node:" + n.Name, Groups: []string{"system:nodes"}},
		{Name: "network-policies", CA: "ca", Common: "network-policies", Groups: []string{"system:masters"}},
		{Name: "front-proxy-client", CA: "front-proxy-ca", Common: "front-proxy-client"},
	}, []string{"service-account"})
}

func (n *Node) kubeconfig(target, server, user string) error {
	values := map[string]string{"Cluster": n.Name, "Server": server, "User": user}
	for key, file := range map[string]string{"CA": n.PKI.Cert("ca"), "Cert": n.PKI.Cert(user), "Key": n.PKI.Key(user)} {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		values[key] = base64.StdEncoding.EncodeToString(data)
	}
	return render("kubeconfig.yaml", target, 0o600, values)
}

func (n *Node) containerdAnswers() error {
	conn, err := net.DialTimeout("unix", n.ContainerdSocket(), time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// readyz asks kube-apiserver by the way that every client takes: through the forwarder.
func (n *Node) readyz(ctx context.Context, port int) error {
	pair, err := tls.LoadX509KeyPair(n.PKI.Cert("admin"), n.PKI.Key("admin"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(n.PKI.Cert("ca"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/readyz", port), nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	return nil
}

func (n *Node) awaitReady(ctx context.Context) error {
	ctl := n.Kubectl()
	for _, condition := range []string{"create", "condition=Ready"} {
		if _, err := ctl.Run(ctx, "wait", "--for="+condition, "node/"+n.Name, "--timeout=120s"); err != nil {
			return fmt.Errorf("the node does not become ready: %w; the end of the kubelet's log:\n%s", err, n.Daemons.Tail("kubelet", 20))
		}
	}
	return nil
}
