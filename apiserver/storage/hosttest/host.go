// Package hosttest starts a host of records for a test: a kube-apiserver that nobody else writes to.
package hosttest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/yaml"

	"github.com/kedahttp/kedahttp/apiserver/storage/embedded"
	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// Host is a kube-apiserver, with an etcd of the test's. Nobody but the test writes to it, so that tests of exact versions hold,
// and the test may compact its etcd.
type Host struct {
	Etcd    *clientv3.Client
	Config  *rest.Config
	Records *rest.RESTClient
}

// Definition is the product's definition of records, for the test of a package three folders below the top.
func Definition(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	data, err := os.ReadFile("../../../artifacts/base/crd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(data, crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

// Start starts the kube-apiserver at $KUBE_APISERVER, with that definition of records, until the test ends.
func Start(t *testing.T, records *apiextensionsv1.CustomResourceDefinition) *Host {
	binary := os.Getenv("KUBE_APISERVER")
	if binary == "" {
		t.Fatal("KUBE_APISERVER must be the path of a kube-apiserver; make conformance has one")
	}
	etcd, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Unsafe: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	h := &Host{}
	if h.Etcd, err = clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint}, DialTimeout: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Etcd.Close() })
	h.Config = startAPIServer(t, binary, etcd.Endpoint)
	h.define(t, records)
	h.rest(t)
	return h
}

func startAPIServer(t *testing.T, binary, etcd string) *rest.Config {
	const token = "conformance"
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key, err := certutil.GenerateSelfSignedCertKey("localhost", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := file("tls.key", key)
	private, err := keyutil.ParsePrivateKeyPEM(key)
	if err != nil {
		t.Fatalf("%T, %v", private, err)
	}
	port := freePort(t)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	cmd := exec.Command(binary,
		"--etcd-servers="+etcd,
		"--bind-address=127.0.0.1",
		"--secure-port="+strconv.Itoa(port),
		"--tls-cert-file="+file("tls.crt", cert),
		"--tls-private-key-file="+keyFile,
		"--token-auth-file="+file("tokens", []byte(token+",admin,admin,system:masters\n")),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--service-account-issuer=https://localhost",
		"--service-account-key-file="+keyFile,
		"--service-account-signing-key-file="+keyFile,
		// Namespaces are parts of keys to the suite, and nobody makes them.
		"--disable-admission-plugins=NamespaceLifecycle,ServiceAccount",
		// What it would write now and then by itself.
		"--endpoint-reconciler-type=none",
		"--feature-gates=APIServerIdentity=false,UnknownVersionInteroperabilityProxy=false",
		"--etcd-compaction-interval=1h",
		"--event-ttl=1h",
	)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })

	config := &rest.Config{Host: fmt.Sprintf("https://127.0.0.1:%d", port), BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: cert}, QPS: -1}
	client := kubernetes.NewForConfigOrDie(config)
	deadline := time.After(2 * time.Minute)
	for {
		select {
		case err := <-exited:
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("kube-apiserver ended: %v\n%s", err, said[max(0, len(said)-4000):])
		case <-deadline:
			t.Fatal("kube-apiserver does not become ready")
		case <-time.After(200 * time.Millisecond):
			if client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(t.Context()).Error() == nil {
				return config
			}
		}
	}
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // only its number matters
	return l.Addr().(*net.TCPAddr).Port
}

// define makes the definition, and waits until records are served.
func (h *Host) define(t *testing.T, records *apiextensionsv1.CustomResourceDefinition) {
	if _, err := apiextensions.NewForConfigOrDie(h.Config).CustomResourceDefinitions().Create(t.Context(), records, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.Records, err = record.NewClient(h.Config); err != nil {
		t.Fatal(err)
	}
	h.Await(t, "the records to be served", func(ctx context.Context) bool {
		return h.Records.Get().Resource(record.Resource.Resource).Do(ctx).Error() == nil
	})
}

// Await waits until it is done.
func (h *Host) Await(t *testing.T, what string, done func(context.Context) bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(t.Context()); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// rest waits until the host has written what it writes when it starts.
func (h *Host) rest(t *testing.T) {
	var last int64
	var since time.Time
	h.Await(t, "the host to be quiet", func(ctx context.Context) bool {
		if now := h.version(ctx, t); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 3*time.Second
	})
}

func (h *Host) version(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	r, err := h.Etcd.Get(ctx, "version")
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

// Increase makes the host's version greater by one.
func (h *Host) Increase(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	r, err := h.Etcd.Put(ctx, "increase", "")
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

// Clear removes all records, and returns the version at which there are none.
func (h *Host) Clear(t *testing.T) int64 {
	t.Helper()
	list := &record.HTTPAppRecordList{}
	if err := h.Records.Get().Resource(record.Resource.Resource).Do(t.Context()).Into(list); err != nil {
		t.Fatal(err)
	}
	for _, r := range list.Items {
		err := h.Records.Delete().Namespace(r.Namespace).Resource(record.Resource.Resource).Name(r.Name).Do(t.Context()).Error()
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	if err := h.Records.Get().Resource(record.Resource.Resource).Do(t.Context()).Into(list); err != nil || len(list.Items) > 0 {
		t.Fatalf("%d records are left: %v", len(list.Items), err)
	}
	version, err := strconv.ParseInt(list.ResourceVersion, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return version
}
