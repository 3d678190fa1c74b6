//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

// servingSecret is a Secret with a new certificate, as cert-manager and people make them, and its serial number.
func (u user) servingSecret(name string) (manifest, serial string) {
	u.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		u.Fatal(err)
	}
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		u.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: number,
		DNSNames:     []string{"kedahttp-apiserver." + systemNamespace + ".svc"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		u.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		u.Fatal(err)
	}
	data := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: %s}
type: kubernetes.io/tls
data: {tls.crt: %s, tls.key: %s}
`, name, data("CERTIFICATE", cert), data("PRIVATE KEY", keyDER)), number.String()
}

// What the library offers an administrator works: a certificate of one's own in files, audit, metrics, priority and fairness.
func TestAServerTakesItsCertificateFromFilesAndHasWhatEveryAPIServerHas(t *testing.T) {
	u := onlyUser(t)
	o := operator(t)
	u.apply(manifest("seen", container, idle))
	name := u.namespace // of everything that this test adds to the system's namespace
	t.Cleanup(func() { o.kubectl("delete", "pod,secret,configmap", name, "--ignore-not-found", "--timeout=2m") })
	secret, serial := u.servingSecret(name)
	o.apply(secret)
	bundle, _ := u.bundle()
	// Not of the Service: it is asked by its address.
	o.apply(fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: %[1]s}
data:
  policy.yaml: |
    apiVersion: audit.k8s.io/v1
    kind: Policy
    rules: [{level: Metadata, resources: [{group: apps.http.keda.sh}]}, {level: None}]
---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s}
spec:
  serviceAccountName: kedahttp-apiserver
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: apiserver
    image: kedahttp/apiserver:dev
    imagePullPolicy: Never
    args:
    - --secure-port=8443
    - --namespace=%[2]s
    - --domain=localhost
    - --tls-cert-file=/serving/tls.crt
    - --tls-private-key-file=/serving/tls.key
    - --audit-policy-file=/audit/policy.yaml
    - --audit-log-path=-
    readinessProbe: {periodSeconds: 1, httpGet: {scheme: HTTPS, port: 8443, path: /readyz}}
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: serving, mountPath: /serving}, {name: audit, mountPath: /audit}]
  volumes:
  - {name: serving, secret: {secretName: %[1]s}}
  - {name: audit, configMap: {name: %[1]s}}
`, name, systemNamespace))
	o.kubectl("wait", "--for=condition=Ready", "pod/"+name, "--timeout=2m")
	address := o.kubectl("get", "pod", name, "-o", "jsonpath={.status.podIP}") + ":8443"

	shows := func(want string) error {
		conn, err := inside(t.Context(), "tcp4", address)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // only looked at
		if err := c.HandshakeContext(t.Context()); err != nil {
			return err
		}
		if got := c.ConnectionState().PeerCertificates[0].SerialNumber.String(); got != want {
			return fmt.Errorf("its certificate is %s and not %s", got, want)
		}
		return nil
	}
	if err := shows(serial); err != nil {
		t.Fatal(err)
	}

	client := u.direct()
	ask := func(client *http.Client, path string) (*http.Response, string) {
		t.Helper()
		resp, err := client.Get("https://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	resp, body := ask(client, appPath(u.namespace, "seen"))
	if resp.StatusCode != http.StatusOK {
		t.Errorf("GET of an app: %s: %s", resp.Status, body)
	}
	if resp.Header.Get("X-Kubernetes-Pf-Flowschema-Uid") == "" {
		t.Errorf("no flow schema had the request: %v", resp.Header)
	}
	for _, path := range []string{"/livez?verbose", "/readyz?verbose"} {
		if resp, body := ask(client, path); resp.StatusCode != http.StatusOK || strings.HasPrefix(path, "/readyz") && (!strings.Contains(body, "[+]records ok") || !strings.Contains(body, "[+]apps ok")) {
			t.Errorf("%s: %s\n%s", path, resp.Status, body)
		}
	}
	if _, body := ask(client, "/metrics"); !strings.Contains(body, "kedahttp_apiserver_broken_records_total") ||
		!strings.Contains(body, `apiserver_request_total{`) || !strings.Contains(body, "apiserver_flowcontrol_dispatched_requests_total") {
		t.Errorf("the metrics are %.2000s", body)
	}
	nobody := &http.Client{Transport: &http.Transport{DialContext: inside, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	if resp, _ := ask(nobody, "/metrics"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("anybody may read the metrics: %s", resp.Status)
	}
	u.eventually(soon, "the request in the audit log", func() error {
		log, err := o.try("", "logs", name)
		if err != nil {
			return err
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, `"kind":"Event"`) && strings.Contains(line, `"verb":"get"`) && strings.Contains(line, `"name":"seen"`) {
				return nil
			}
		}
		return fmt.Errorf("it is not in %d bytes", len(log))
	})

	secret, serial = u.servingSecret(name)
	o.apply(secret)
	o.kubectl("annotate", "pod", name, "example.com/look=again") // so that the kubelet looks at its volumes now
	u.eventually(later, "the server with the new certificate of the files", func() error { return shows(serial) })
	if err := o.field("pod/"+name, "{.status.containerStatuses[0].restartCount}", "0"); err != nil {
		t.Error(err)
	}
	if now, _ := u.bundle(); string(now) != string(bundle) {
		t.Error("it told the APIService of authorities that are not its own")
	}
}
