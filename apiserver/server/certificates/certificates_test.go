package certificates

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
)

var (
	start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	own   = Leaf{Secret: "own-tls", CommonName: "own", DNSNames: []string{"own.ns.svc"}}
	other = Leaf{Secret: "other-tls", CommonName: "other", DNSNames: []string{"other.ns.svc", "counts.ns.svc"}}
)

type world struct {
	*testing.T
	client  *fake.Clientset
	dynamic *dynamicfake.FakeDynamicClient
	clock   *clocktesting.FakeClock
	lives   Lifetimes
}

func newWorld(t *testing.T, objects ...runtime.Object) *world {
	return &world{T: t, client: fake.NewClientset(), dynamic: dynamicfake.NewSimpleDynamicClient(runtime.NewScheme(), objects...), clock: clocktesting.NewFakeClock(start), lives: DefaultLifetimes}
}

// replica returns the manager of one replica, with its certificates.
func (w *world) replica() *Manager {
	w.Helper()
	m := NewManager(Config{Client: w.client, Dynamic: w.dynamic, Namespace: "ns", Own: own, Others: []Leaf{other}, APIService: "v1.example.com", Service: "own", Lifetimes: w.lives, Clock: w.clock})
	w.ensure(m)
	return m
}

func (w *world) ensure(m *Manager) {
	w.Helper()
	if err := m.Ensure(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	s, err := w.client.CoreV1().Secrets("ns").Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) writes() (n int) {
	for _, a := range w.client.Actions() {
		if a.GetVerb() != "get" {
			n++
		}
	}
	return n
}

func TestWhatIsMissingIsMade(t *testing.T) {
	w := newWorld(t)
	w.replica()
	ca := w.secret(AuthoritySecret)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.Data[corev1.TLSCertKey])
	for _, leaf := range []Leaf{own, other} {
		s := w.secret(leaf.Secret)
		if s.Type != corev1.SecretTypeTLS || !bytes.Equal(s.Data["ca.crt"], ca.Data[corev1.TLSCertKey]) {
			t.Errorf("the Secret %s is of type %s and has not the authority", leaf.Secret, s.Type)
		}
		c, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range leaf.DNSNames {
			for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
				if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: pool, CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
					t.Errorf("%s for %s: %v", leaf.Secret, name, err)
				}
			}
		}
		if c.Leaf.Subject.CommonName != leaf.CommonName || c.Leaf.IsCA {
			t.Errorf("%s is %v", leaf.Secret, c.Leaf.Subject)
		}
	}
}

func TestReplicasShareWhatTheFirstMade(t *testing.T) {
	w := newWorld(t)
	a := w.replica()
	before := w.writes()
	b := w.replica()
	if n := w.writes() - before; n != 0 {
		t.Errorf("the second replica wrote %d times", n)
	}
	certA, _ := a.Serving().CurrentCertKeyContent()
	certB, _ := b.Serving().CurrentCertKeyContent()
	if !bytes.Equal(certA, certB) {
		t.Error("the replicas serve with different certificates")
	}
}

func TestAReplicaThatWantsFewerNamesKeepsWhatIsForMore(t *testing.T) {
	w := newWorld(t)
	old := w.replica()
	newer := w.replica()
	newer.Own.DNSNames = append([]string{"new.ns.svc"}, own.DNSNames...)
	w.ensure(newer)
	before := w.writes()
	for range 3 {
		w.ensure(old)
		w.ensure(newer)
	}
	if n := w.writes() - before; n != 0 {
		t.Errorf("they wrote %d times, in turns", n)
	}
	cert, _ := old.Serving().CurrentCertKeyContent()
	if now := w.secret(own.Secret).Data[corev1.TLSCertKey]; !bytes.Equal(cert, now) {
		t.Error("the replica that wants fewer does not serve with it")
	}
}

func TestReplicasThatStartTogetherAgree(t *testing.T) {
	w := newWorld(t)
	managers := make([]*Manager, 4)
	var wg sync.WaitGroup
	for i := range managers {
		wg.Go(func() { managers[i] = w.replica() })
	}
	wg.Wait()
	bundle := w.secret(AuthoritySecret).Data[corev1.TLSCertKey]
	cert := w.secret(own.Secret).Data[corev1.TLSCertKey]
	for _, m := range managers {
		w.ensure(m) // what a loser of a race took over before the winner was through
		if got, _ := m.Serving().CurrentCertKeyContent(); !bytes.Equal(got, cert) || !bytes.Equal(m.current.bundle(), bundle) {
			t.Error("a replica has its own")
		}
	}
}

func TestALeafIsRenewedBeforeItEndsAndServedWithoutARestart(t *testing.T) {
	w := newWorld(t)
	m := w.replica()
	heard := &listener{}
	m.Serving().AddListener(heard)
	first, _ := m.Serving().CurrentCertKeyContent()

	w.clock.SetTime(start.Add(w.lives.Leaf / 2))
	w.ensure(m)
	if now, _ := m.Serving().CurrentCertKeyContent(); !bytes.Equal(first, now) || heard.n != 0 {
		t.Error("it was renewed at half of its life")
	}
	w.clock.SetTime(start.Add(w.lives.Leaf * 3 / 4))
	w.ensure(m)
	if now, _ := m.Serving().CurrentCertKeyContent(); bytes.Equal(first, now) || heard.n != 1 {
		t.Errorf("it was not renewed, or not told: %d", heard.n)
	}
	if !bytes.Equal(m.current.bundle(), w.secret(AuthoritySecret).Data[corev1.TLSCertKey]) {
		t.Error("the authority changed")
	}
}

type listener struct{ n int }

func (l *listener) Enqueue() { l.n++ }

func TestWhatIsOfNoUseIsMadeAnew(t *testing.T) {
	for name, spoil := range map[string]func(*Manager, *corev1.Secret){
		"the authority is not PEM":   func(_ *Manager, ca *corev1.Secret) { ca.Data[corev1.TLSCertKey] = []byte("x") },
		"the authority has no key":   func(_ *Manager, ca *corev1.Secret) { delete(ca.Data, corev1.TLSPrivateKeyKey) },
		"the parts have other names": func(m *Manager, _ *corev1.Secret) { m.Own.DNSNames = []string{"new.ns.svc"} },
		"the authority is a leaf only": func(m *Manager, ca *corev1.Secret) {
			ca.Data[corev1.TLSCertKey], ca.Data[corev1.TLSPrivateKeyKey] = m.current.pair.cert, m.current.pair.key
		},
	} {
		w := newWorld(t)
		m := w.replica()
		ca := w.secret(AuthoritySecret)
		spoil(m, ca)
		if _, err := w.client.CoreV1().Secrets("ns").Update(t.Context(), ca, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.ensure(m)
		w.clock.Step(w.lives.Overlap)
		w.ensure(m)
		authority, err := w.lives.parse(pairOf(w.secret(AuthoritySecret)), start)
		if err != nil {
			t.Errorf("%s: the authority: %v", name, err)
			continue
		}
		for _, leaf := range []Leaf{m.Own, other} {
			s := w.secret(leaf.Secret)
			if err := authority.check(pairOf(s), leaf, w.clock.Now()); err != nil {
				t.Errorf("%s: %s: %v", name, leaf.Secret, err)
			}
		}
	}
}

// Somebody who is no part has a Secret, in a namespace where nothing may be made: it is filled, and without it the server serves.
func TestASecretElsewhereIsFilledAndNotMade(t *testing.T) {
	w := newWorld(t, apiService("ns", "own", nil))
	m := w.replica()
	guest := Leaf{Namespace: "keda", Secret: "guest-tls", CommonName: "guest"}
	m.Others = append(m.Others, guest)
	w.ensure(m)
	if err := m.keep(t.Context()); err == nil || !strings.Contains(err.Error(), "no Secret guest-tls in the namespace keda") {
		t.Errorf("without the Secret: %v", err)
	}
	empty := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "keda", Name: "guest-tls", Labels: map[string]string{"of": "helm"}}, Type: corev1.SecretTypeOpaque}
	if _, err := w.client.CoreV1().Secrets("keda").Create(t.Context(), empty, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	look := func() *corev1.Secret {
		if err := m.keep(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := w.client.CoreV1().Secrets("keda").Get(t.Context(), "guest-tls", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ca, err := w.lives.parse(pairOf(w.secret(AuthoritySecret)), start)
	if err != nil {
		t.Fatal(err)
	}
	first := look()
	if err := ca.check(pairOf(first), guest, start); err != nil || !bytes.Equal(first.Data["ca.crt"], ca.bundle()) || first.Labels["of"] != "helm" {
		t.Errorf("it is %v, with %v", err, first.Labels)
	}
	w.clock.SetTime(start.Add(w.lives.Leaf * 3 / 4))
	if second := look(); bytes.Equal(first.Data[corev1.TLSCertKey], second.Data[corev1.TLSCertKey]) {
		t.Error("it is not renewed")
	}
	if m.Expiries()["guest-tls"].IsZero() {
		t.Error("nobody is told when it ends")
	}
}

func TestALostRaceIsNoError(t *testing.T) {
	w := newWorld(t)
	lost := 0
	w.client.PrependReactor("create", "secrets", func(action kubetesting.Action) (bool, runtime.Object, error) {
		if lost++; lost > 1 {
			return false, nil, nil
		}
		s := action.(kubetesting.CreateAction).GetObject().(*corev1.Secret)
		p, err := w.lives.newAuthority(start)
		if err != nil {
			return true, nil, err
		}
		winner := s.DeepCopy()
		winner.Namespace = "ns"
		winner.Data = map[string][]byte{corev1.TLSCertKey: p.cert, corev1.TLSPrivateKeyKey: p.key}
		if err := w.client.Tracker().Add(winner); err != nil {
			return true, nil, err
		}
		return true, nil, apierrors.NewAlreadyExists(corev1.Resource("secrets"), s.Name)
	})
	w.replica()
	if w.secret(AuthoritySecret).Labels == nil {
		t.Error("the winner's Secret is gone")
	}
}

func apiService(namespace, name string, bundle []byte) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": "v1.example.com"},
		"spec":     map[string]any{"group": "example.com", "service": map[string]any{"namespace": namespace, "name": name}},
	}}
	if bundle != nil {
		encoded, _ := json.Marshal(bundle)
		_ = unstructured.SetNestedField(u.Object, string(bytes.Trim(encoded, `"`)), "spec", "caBundle")
	}
	return u
}

func TestTheAPIServiceIsToldTheAuthority(t *testing.T) {
	for name, before := range map[string][]byte{"it had none": nil, "it had an old one": []byte("old")} {
		w := newWorld(t, apiService("ns", "own", before))
		m := w.replica()
		for range 2 {
			if err := m.publish(t.Context(), m.current.bundle()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		service, err := w.dynamic.Resource(apiServices).Get(t.Context(), "v1.example.com", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, _, _ := unstructured.NestedString(service.Object, "spec", "caBundle")
		want, _ := json.Marshal(m.current.bundle())
		if got != string(bytes.Trim(want, `"`)) {
			t.Errorf("%s: it has another one", name)
		}
		patches := slices.DeleteFunc(w.dynamic.Actions(), func(a kubetesting.Action) bool { return a.GetVerb() != "patch" })
		if len(patches) != 1 {
			t.Errorf("%s: it was patched %d times", name, len(patches))
		}
	}
}

func TestAnAPIServiceOfSomebodyElseIsLeftAlone(t *testing.T) {
	w := newWorld(t, apiService("elsewhere", "own", []byte("theirs")))
	m := w.replica()
	if err := m.publish(t.Context(), m.current.bundle()); err == nil {
		t.Error("nobody is told")
	}
	if slices.ContainsFunc(w.dynamic.Actions(), func(a kubetesting.Action) bool { return a.GetVerb() == "patch" }) {
		t.Error("it was patched")
	}
}

func TestConnectionsBetweenPartsNeedCertificatesOfTheAuthority(t *testing.T) {
	w := newWorld(t)
	w.clock.SetTime(time.Now()) // TLS has no clock of ours
	m := w.replica()
	s := w.secret(other.Secret)
	cert, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.Data["ca.crt"])
	connect := func(name string) error {
		client, server := net.Pipe()
		defer client.Close() //nolint:errcheck // a pipe
		go func() {
			defer server.Close() //nolint:errcheck // a pipe
			_ = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"}}).Handshake()
			_, _ = server.Read(make([]byte, 1))
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, _, err := m.ClientCredentials(name).ClientHandshake(ctx, "10.0.0.1:9443", client)
		return err
	}
	if err := connect("counts.ns.svc"); err != nil {
		t.Errorf("with the right name: %v", err)
	}
	if err := connect("elsewhere.ns.svc"); err == nil {
		t.Error("any name will do")
	}
}
