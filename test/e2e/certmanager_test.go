//go:build e2e && chart && certmanager

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const certManagerModule = "github.com/cert-manager/cert-manager"

// certManager runs cert-manager's controllers beside the cluster.
func (u user) certManager() {
	u.Helper()
	o := user{T: u.T}
	dir, err := exec.Command("go", "-C", "../../hack/tools/cert-manager", "list", "-m", "-f", "{{.Dir}}", certManagerModule).Output()
	if err != nil {
		u.Fatal(err)
	}
	crds := filepath.Join(strings.TrimSpace(string(dir)), "deploy", "crds")
	o.kubectl("apply", "--server-side", "-f", crds)
	u.Cleanup(func() { o.kubectl("delete", "-f", crds, "--ignore-not-found", "--timeout=2m") })
	o.kubectl("wait", "--for=condition=Established", "-f", crds, "--timeout=2m")
	log, err := os.Create(filepath.Join(u.TempDir(), "cert-manager.log"))
	if err != nil {
		u.Fatal(err)
	}
	cmd := exec.Command("../../bin/tools/cert-manager")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		u.Fatal(err)
	}
	u.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
		if said, _ := os.ReadFile(log.Name()); u.Failed() {
			u.Logf("cert-manager said\n%s", said[max(0, len(said)-20000):])
		}
	})
}

// trusted makes handshakes with every API server as the host does, which trusts what the APIService names, and knows the certificates that were shown.
type trusted struct {
	mu    sync.Mutex
	shown map[string]map[string]bool // by pod, serial numbers
}

func (s *trusted) handshake(ctx context.Context, u user) (int, string, error) {
	bundle, err := u.value("apiservice/"+apiServiceName, "{.spec.caBundle}")
	if err != nil {
		return 0, "", err
	}
	pem, err := base64.StdEncoding.DecodeString(bundle)
	if err != nil {
		return 0, "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, p := range u.servers() {
		conn, err := inside(ctx, "tcp4", net.JoinHostPort(p.Status.PodIP, "8443"))
		if err != nil {
			return 0, "", err
		}
		c := tls.Client(conn, &tls.Config{ServerName: "kedahttp-apiserver." + systemNamespace + ".svc", RootCAs: roots})
		err = c.HandshakeContext(ctx)
		if err == nil {
			leaf := c.ConnectionState().PeerCertificates[0]
			s.mu.Lock()
			if s.shown[p.Name] == nil {
				s.shown[p.Name] = map[string]bool{}
			}
			s.shown[p.Name][leaf.SerialNumber.String()] = true
			s.mu.Unlock()
		}
		if err = errors.Join(err, c.Close()); err != nil {
			return 0, "", fmt.Errorf("the host with %s: %w", p.Name, err)
		}
	}
	return http.StatusOK, "", nil
}

// replaced waits until each of the API servers has shown as many certificates.
func (s *trusted) replaced(u user, times int) {
	u.Helper()
	u.eventually(later, fmt.Sprintf("%d certificates of each API server", times), func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.shown) != 2 {
			return fmt.Errorf("there are %d", len(s.shown))
		}
		for pod, serials := range s.shown {
			if len(serials) < times {
				return fmt.Errorf("%s has shown %d", pod, len(serials))
			}
		}
		return nil
	})
}

// cert-manager's own shortest lives are an hour; without its webhook, which would say so, they may be shorter.
func TestChartsCertificateIsCertManagersAndRotatesWithoutAFailedCall(t *testing.T) {
	u := onlyUser(t)
	everybody, system := user{T: t}, operator(t)
	u.certManager()
	_, port, err := net.SplitHostPort(environment.interceptor)
	if err != nil {
		t.Fatal(err)
	}
	everybody.kubectl("create", "namespace", systemNamespace)
	t.Cleanup(func() { everybody.kubectl("delete", "namespace", systemNamespace, "--timeout=2m") })
	u.helm("install", "kedahttp", "../../artifacts/chart", "--set", strings.Join([]string{
		"domain=localhost", "publicPort=" + port, "publicTLSPort=0", "image.pullPolicy=Never", "scaler.enabled=false", "crds.keep=false",
		"interceptor.service.type=NodePort", "interceptor.service.nodePorts.http=30080", "certManager.enabled=true", "networkPolicies.enabled=true",
	}, ","))
	t.Cleanup(func() { u.helm("uninstall", "kedahttp") })
	u.allServersReady()
	u.apply(manifest("secured", container, "  scaling: {autoscaler: HPA}"))
	u.routed("secured")
	if _, err := u.get("secured", "/"); err != nil {
		t.Fatal("the first request: ", err)
	}

	client, host := u.throughTheHost()
	outages := u.availability()
	reads := u.probe(client, host+appPath(u.namespace, "secured"), false, http.StatusOK)
	external := u.probe(client, host+"/apis/external.metrics.k8s.io/v1beta1/namespaces/"+u.namespace+"/http_in_flight", false, http.StatusOK)
	hosts := &trusted{shown: map[string]map[string]bool{}}
	handshakes := u.probeBy(func(ctx context.Context) (int, string, error) { return hosts.handshake(ctx, u) }, false, http.StatusOK)
	hosts.replaced(u, 1)

	// It is renewed as often as that, once it has been made for no longer.
	system.kubectl("patch", "certificate/kedahttp-apiserver-serving", "--type=merge", "--patch", `{"spec": {"duration": "1h", "renewBefore": "59m40s"}}`)
	system.kubectl("delete", "secret", "kedahttp-apiserver-serving")
	hosts.replaced(u, 4)
	reads.check(u, "GET of an app")
	external.check(u, "external metrics")
	handshakes.check(u, "handshakes of the host")
	if now := outages(); len(now) > 0 {
		t.Errorf("the APIService became unavailable: %v", now)
	}
	if err := u.field("httpapp/secured", "{.status.traffic.interceptors.reporting}", "2"); err != nil {
		t.Error("the counts: ", err)
	}
	u.kubectl("delete", "httpapp", "secured", "--timeout=2m")
}
