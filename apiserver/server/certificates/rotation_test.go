package certificates

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// party shows a certificate and trusts authorities, as it last heard of them.
type party struct {
	name        string
	cert, trust []byte
	// lag is how long it takes to hear, hears when it does next.
	lag   time.Duration
	hears time.Time
	look  func() (cert, trust []byte)
}

func (p *party) update(now time.Time) {
	if !now.Before(p.hears) {
		p.cert, p.trust = p.look()
		p.hears = now.Add(p.lag)
	}
}

// trusts says what would go wrong in a handshake in which p checks q.
func (p *party) trusts(q *party, at time.Time) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.trust)
	block, _ := pem.Decode(q.cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	return err
}

// Replicas look at different times, an interceptor hears of its files late, and the host of what is published to it: at no moment
// of a change of the authority may one of them refuse another.
func TestAChangeOfTheAuthorityCutsNobodyOff(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"its Secret is deleted": func(w *world) {
			if err := w.client.CoreV1().Secrets("ns").Delete(w.Context(), AuthoritySecret, metav1.DeleteOptions{}); err != nil {
				w.Fatal(err)
			}
		},
		// Its leaves were renewed a moment before, so that nothing else is too old.
		"it gets old": func(w *world) { w.clock.SetTime(start.Add(authorityLife*2/3 + time.Hour)) },
		"somebody brings their own": func(w *world) {
			p, err := newAuthority(w.clock.Now().Add(-24 * time.Hour))
			if err != nil {
				w.Fatal(err)
			}
			s := w.secret(AuthoritySecret)
			s.Data = map[string][]byte{corev1.TLSCertKey: p.cert, corev1.TLSPrivateKeyKey: p.key}
			if _, err := w.client.CoreV1().Secrets("ns").Update(w.Context(), s, metav1.UpdateOptions{}); err != nil {
				w.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.replica(), w.replica()
			w.clock.SetTime(start.Add(authorityLife*2/3 - time.Hour))
			w.ensure(a)
			w.ensure(b)
			random := rand.New(rand.NewPCG(1, 2))
			replica := func(name string, m *Manager) *party {
				return &party{name: name, lag: period, look: func() ([]byte, []byte) {
					w.ensure(m)
					cert, _ := m.Serving().CurrentCertKeyContent()
					return cert, m.current.bundle()
				}}
			}
			first, second := replica("one replica", a), replica("another replica", b)
			host := &party{name: "the host", look: func() ([]byte, []byte) { return nil, a.current.bundle() }}
			pod := &party{name: "an interceptor", lag: 2*time.Minute + 10*time.Second, look: func() ([]byte, []byte) {
				s := w.secret(other.Secret)
				return s.Data[corev1.TLSCertKey], s.Data[authorityKey]
			}}
			everybody := []*party{first, second, host, pod}
			for _, p := range everybody {
				p.update(w.clock.Now())
				p.hears = w.clock.Now().Add(time.Duration(random.Int64N(int64(p.lag) + 1)))
			}
			before := w.secret(AuthoritySecret).Data[corev1.TLSCertKey]
			oldLeaf := w.secret(own.Secret).Data[corev1.TLSCertKey]
			change(w)
			overlapped := false
			for end := w.clock.Now().Add(3 * overlap); w.clock.Now().Before(end); w.clock.Step(5 * time.Second) {
				now := w.clock.Now()
				for _, p := range everybody {
					p.update(now)
				}
				for _, pair := range [][2]*party{{host, first}, {host, second}, {first, pod}, {pod, first}, {second, pod}, {pod, second}} {
					if err := pair[0].trusts(pair[1], now); err != nil {
						t.Fatalf("%v before the end, %s refuses %s: %v", end.Sub(now), pair[0].name, pair[1].name, err)
					}
				}
				overlapped = overlapped || len(authorities(host.trust)) == 2
			}
			after := w.secret(AuthoritySecret).Data
			if bytes.Equal(before, after[corev1.TLSCertKey]) || bytes.Equal(oldLeaf, w.secret(own.Secret).Data[corev1.TLSCertKey]) {
				t.Error("nothing has changed")
			}
			if !overlapped {
				t.Error("the two authorities were never trusted together")
			}
			for _, p := range everybody {
				if n := len(authorities(p.trust)); n != 1 {
					t.Errorf("in the end %s trusts %d authorities", p.name, n)
				}
			}
		})
	}
}

func TestALeafThatIsGoneDuringAChangeOfTheAuthorityIsMadeAtOnce(t *testing.T) {
	w := newWorld(t)
	m := w.replica()
	for _, name := range []string{AuthoritySecret, own.Secret} {
		if err := w.client.CoreV1().Secrets("ns").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.ensure(m)
	cert, key := m.Serving().CurrentCertKeyContent()
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	trusted := authorities(m.current.bundle())
	if len(trusted) != 2 || c.Leaf.CheckSignatureFrom(trusted[0]) != nil {
		t.Errorf("it is not of the first of %d authorities", len(trusted))
	}
}
