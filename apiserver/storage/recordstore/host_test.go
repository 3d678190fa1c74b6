//go:build e2e

package recordstore

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

// host is a kube-apiserver, with an etcd of the test's. Nobody but the test writes to it, so that the suite's tests of exact
// versions hold, and the test may compact its etcd.
type host struct {
	etcd    *clientv3.Client
	config  *rest.Config
	records *rest.RESTClient
}

// newHost starts the kube-apiserver at $KUBE_APISERVER.
func newHost(t *testing.T) *host {
	binary := os.Getenv("KUBE_APISERVER")
	if binary == "" {
		t.Fatal("KUBE_APISERVER must be the path of a kube-apiserver; make conformance has one")
	}
	etcd, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Unsafe: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	h := &host{}
	if h.etcd, err = clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint}, DialTimeout: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.etcd.Close() })
	h.config = startAPIServer(t, binary, etcd.Endpoint)
	h.define(t)
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

// define makes the product's definition of records on the host, for the suite's pods: of another kind, with another field to
// select by.
func (h *host) define(t *testing.T) {
	data, err := os.ReadFile("../../../artifacts/base/crd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(data, crd); err != nil {
		t.Fatal(err)
	}
	version := &crd.Spec.Versions[0]
	version.SelectableFields = []apiextensionsv1.SelectableField{{JSONPath: ".fields.spec.nodeName"}}
	object := func(name string, of apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{name: of}}
	}
	properties := version.Schema.OpenAPIV3Schema.Properties
	properties["fields"] = object("spec", object("nodeName", apiextensionsv1.JSONSchemaProps{Type: "string"}))
	payload := properties["object"]
	payload.Pattern = ""
	properties["object"] = payload
	if _, err := apiextensions.NewForConfigOrDie(h.config).CustomResourceDefinitions().Create(t.Context(), crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if h.records, err = record.NewClient(h.config); err != nil {
		t.Fatal(err)
	}
	h.await(t, "the records to be served", func(ctx context.Context) bool {
		return h.records.Get().Resource(record.Resource.Resource).Do(ctx).Error() == nil
	})
}

func (h *host) await(t *testing.T, what string, done func(context.Context) bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(t.Context()); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// rest waits until the host has written what it writes when it starts.
func (h *host) rest(t *testing.T) {
	var last int64
	var since time.Time
	h.await(t, "the host to be quiet", func(ctx context.Context) bool {
		if now := h.version(ctx, t); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 3*time.Second
	})
}

func (h *host) version(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	r, err := h.etcd.Get(ctx, "version")
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

// increase makes the host's version greater by one.
func (h *host) increase(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	r, err := h.etcd.Put(ctx, "increase", "")
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

// clear removes all records, and returns the version at which there are none.
func (h *host) clear(t *testing.T) int64 {
	t.Helper()
	list := &record.HTTPAppRecordList{}
	if err := h.records.Get().Resource(record.Resource.Resource).Do(t.Context()).Into(list); err != nil {
		t.Fatal(err)
	}
	for _, r := range list.Items {
		err := h.records.Delete().Namespace(r.Namespace).Resource(record.Resource.Resource).Name(r.Name).Do(t.Context()).Error()
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	if err := h.records.Get().Resource(record.Resource.Resource).Do(t.Context()).Into(list); err != nil || len(list.Items) > 0 {
		t.Fatalf("%d records are left: %v", len(list.Items), err)
	}
	version, err := strconv.ParseInt(list.ResourceVersion, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return version
}
