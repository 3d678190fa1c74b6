//go:build e2e && withoutkeda

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const (
	countsName = "kedahttp-interceptor-counts." + systemNamespace + ".svc"
	serverName = "kedahttp-apiserver." + systemNamespace + ".svc"
)

// The manifests of this cluster have certificates end within a minute: see rotating.
func TestWithoutKEDAEveryCertificateIsReplacedTwiceUnderLoadAndNoCallFails(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("counted", container, "  scaling: {autoscaler: None, minReplicas: 1, maxReplicas: 1}"))
	u.readyReplicas("counted", 1)
	u.allServersReady()
	const held = 2
	u.hold("counted", held, "/?delay=10m")
	u.load("counted", 2, "/")
	client, host := u.throughTheHost()
	outages := u.availability()
	external := u.probe(client, host+"/apis/external.metrics.k8s.io/v1beta1/namespaces/"+u.namespace+"/http_in_flight", false, http.StatusOK)
	counts := map[string]*prober{"the host": u.counts(client, host, "counted", held)}
	for _, p := range u.servers() {
		counts[p.Name] = u.counts(u.direct(), "https://"+p.Status.PodIP+":8443", "counted", held)
	}

	h := u.handshakes()
	seen := map[string]map[string]bool{}
	note := func(what, serial string) int {
		if seen[what] == nil {
			seen[what] = map[string]bool{}
		}
		seen[what][serial] = true
		return len(seen[what])
	}
	u.eventually(3*later, "each certificate replaced twice", func() error {
		for what, serial := range h.known() {
			note(what, serial)
		}
		if len(seen) != 5+2+2 { // the Secrets, the API servers and the interceptors
			return fmt.Errorf("there are %v", slices.Sorted(maps.Keys(seen)))
		}
		for what, serials := range seen {
			if len(serials) < 3 {
				return fmt.Errorf("%s has been replaced %d times", what, len(serials)-1)
			}
		}
		return nil
	})
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%s: %d certificates", what, len(seen[what]))
	}
	h.check(u)
	for _, who := range slices.Sorted(maps.Keys(counts)) {
		counts[who].check(u, "counts by "+who)
	}
	external.check(u, "external metrics")
	if now := outages(); len(now) > 0 {
		t.Errorf("the APIService became unavailable: %v", now)
	}

	// What goes on are connections of before; the parts themselves make new ones, too. They hear one interceptor at all times.
	for _, p := range append(u.servers(), u.running("app.kubernetes.io/name=kedahttp-scaler")...) {
		for _, heard := range u.running(interceptors) {
			cut := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", u.process(p)), "ss", "--kill", "--no-header", "--numeric", "dst", heard.Status.PodIP+":9443")
			if out, err := cut.CombinedOutput(); err != nil || len(out) == 0 {
				t.Fatalf("cutting %s off from %s: %v: %s", p.Name, heard.Name, err, out)
			}
			u.eventually(soon, "counts of all interceptors again in "+p.Name, func() error {
				if p.Labels["app.kubernetes.io/name"] == "kedahttp-scaler" {
					return u.scalerHears(p)
				}
				_, err := reports(t.Context(), u.direct(), "https://"+p.Status.PodIP+":8443"+appPath(u.namespace, "counted"), held)
				return err
			})
		}
	}
}

// counts reads an app again and again; each answer has to have the counts of all interceptors.
func (u user) counts(client *http.Client, host, app string, held int64) *prober {
	url := host + appPath(u.namespace, app)
	u.eventually(soon, "the counts of all interceptors at "+host, func() error {
		_, err := reports(u.Context(), client, url, held)
		return err
	})
	return u.probeBy(func(ctx context.Context) (int, string, error) {
		code, err := reports(ctx, client, url, held)
		return code, "", err
	}, false, http.StatusOK)
}

func reports(ctx context.Context, client *http.Client, url string, held int64) (int, error) {
	code, body, err := once(ctx, client, url)
	if err != nil || code != http.StatusOK {
		return code, err
	}
	var app v1alpha1.HTTPApp
	if err := json.Unmarshal([]byte(body), &app); err != nil {
		return code, err
	}
	t := app.Status.Traffic
	if t == nil || t.Interceptors.Reporting != t.Interceptors.Expected || t.Interceptors.Expected != 2 || t.InFlight < held {
		said, _ := json.Marshal(t)
		return code, fmt.Errorf("the counts are %s", said)
	}
	return code, nil
}

func (u user) scalerHears(p corev1.Pod) error {
	_, body, err := once(u.Context(), &http.Client{Transport: &http.Transport{DialContext: inside}}, "http://"+p.Status.PodIP+":9901/metrics")
	if err != nil {
		return err
	}
	for _, metric := range []string{"reporting", "expected"} {
		if !strings.Contains(body, "\nkedahttp_scaler_interceptors_"+metric+" 2\n") {
			return fmt.Errorf("they are not 2 that are %s", metric)
		}
	}
	return nil
}

// handshakes are what the parts do with each other, done with what each of them may know at a moment.
type handshakes struct {
	mu       sync.Mutex
	serials  map[string]string
	failures []string
	tried    int
	stop     func()
}

// moment is what the parts could have read then.
type moment struct {
	at     time.Time
	leaf   map[string]tls.Certificate
	trust  map[string]*x509.CertPool
	bundle *x509.CertPool
}

// late is how long after a change a pod may still have the files of before.
const late = 3 * time.Second

func (u user) handshakes() *handshakes {
	u.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	h := &handshakes{serials: map[string]string{}, stop: sync.OnceFunc(func() { cancel(); <-done })}
	u.Cleanup(h.stop)
	client, err := kubernetes.NewForConfig(administrator(u.T))
	if err != nil {
		u.Fatal(err)
	}
	servers, interceptors := u.servers(), u.running(interceptors)
	go func() {
		defer close(done)
		var past []moment
		for ctx.Err() == nil {
			now, err := h.look(ctx, client)
			if err != nil {
				h.note(ctx, err)
				continue
			}
			past = append(past, now)
			for len(past) > 1 && now.at.Sub(past[1].at) >= late {
				past = past[1:]
			}
			before := past[0]
			for _, p := range interceptors {
				for who, c := range map[string]moment{"kedahttp-apiserver": now, "kedahttp-scaler": before} {
					h.shake(ctx, who+" with "+p.Name, p.Name, p.Status.PodIP+":9443", &tls.Config{
						ServerName: countsName, RootCAs: c.trust[who], Certificates: []tls.Certificate{c.leaf[who]}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13,
					})
				}
			}
			for _, p := range servers {
				h.shake(ctx, "the host with "+p.Name, p.Name, p.Status.PodIP+":8443", &tls.Config{ServerName: serverName, RootCAs: now.bundle, NextProtos: []string{"h2"}})
			}
		}
	}()
	return h
}

// look reads what everybody's Secrets have now.
func (h *handshakes) look(ctx context.Context, client kubernetes.Interface) (moment, error) {
	now := moment{at: time.Now(), leaf: map[string]tls.Certificate{}, trust: map[string]*x509.CertPool{}}
	list, err := client.CoreV1().Secrets(systemNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=kedahttp", FieldSelector: "type=kubernetes.io/tls"})
	if err != nil {
		return now, err
	}
	// What the host trusts is said before anything else.
	raw, err := client.Discovery().RESTClient().Get().AbsPath("/apis/apiregistration.k8s.io/v1/apiservices/" + apiServiceName).DoRaw(ctx)
	if err != nil {
		return now, err
	}
	var service struct{ Spec struct{ CABundle []byte } }
	if err := json.Unmarshal(raw, &service); err != nil {
		return now, err
	}
	now.bundle = x509.NewCertPool()
	now.bundle.AppendCertsFromPEM(service.Spec.CABundle)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range list.Items {
		c, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
		if err != nil {
			return now, fmt.Errorf("the Secret %s: %w", s.Name, err)
		}
		h.serials["the Secret "+s.Name] = c.Leaf.SerialNumber.String()
		part := strings.TrimSuffix(s.Name, "-tls")
		now.leaf[part], now.trust[part] = c, x509.NewCertPool()
		now.trust[part].AppendCertsFromPEM(s.Data["ca.crt"])
	}
	return now, nil
}

// shake makes a connection on which both ends are content with each other: of TLS 1.3 a client knows that when the server says something.
func (h *handshakes) shake(ctx context.Context, what, pod, address string, config *tls.Config) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := inside(ctx, "tcp4", address)
	if err != nil {
		h.note(ctx, fmt.Errorf("%s: %w", what, err))
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	c := tls.Client(conn, config)
	if err = c.HandshakeContext(ctx); err == nil {
		h.mu.Lock()
		h.serials["what "+pod+" serves with"] = c.ConnectionState().PeerCertificates[0].SerialNumber.String()
		h.mu.Unlock()
		if _, err = c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err == nil {
			_, err = c.Read(make([]byte, 9)) // its settings
		}
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
	}
	h.note(ctx, err)
}

func (h *handshakes) note(ctx context.Context, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried++
	if err != nil && ctx.Err() == nil {
		h.failures = append(h.failures, time.Now().Format("15:04:05.000")+": "+err.Error())
	}
}

// known are the serial numbers that there are now.
func (h *handshakes) known() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.serials)
}

func (h *handshakes) check(u user) {
	u.Helper()
	h.stop()
	u.Logf("%d handshakes", h.tried)
	for i, failure := range h.failures {
		if i == 5 {
			u.Errorf("… and %d more", len(h.failures)-i)
			break
		}
		u.Errorf("a handshake failed: %s", failure)
	}
}
