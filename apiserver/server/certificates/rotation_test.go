package certificates

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
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

// short are lifetimes that are as short as they may be for an overlap.
var short = Lifetimes{Authority: 8 * time.Minute, Leaf: 8 * time.Minute, Overlap: time.Minute}

// everybody are two replicas, the host and a pod, none of whom may refuse another at any moment: replicas look at different times, an
// interceptor hears of its files late, and the host of what is published to it.
type everybody struct {
	*world
	all    []*party
	checks [][2]*party
}

func (w *world) everybody() *everybody { return w.everybodyOf(w.replica(), w.replica()) }

func (w *world) everybodyOf(a, b *Manager) *everybody {
	replica := func(name string, m *Manager) *party {
		return &party{name: name, lag: w.lives.period(), look: func() ([]byte, []byte) {
			w.ensure(m)
			cert, _ := m.Serving().CurrentCertKeyContent()
			return cert, m.current.bundle()
		}}
	}
	first, second := replica("one replica", a), replica("another replica", b)
	host := &party{name: "the host", look: func() ([]byte, []byte) { return nil, a.current.bundle() }}
	pod := &party{name: "an interceptor", lag: w.lives.Overlap * 13 / 60, look: func() ([]byte, []byte) {
		s := w.secret(other.Secret)
		return s.Data[corev1.TLSCertKey], s.Data[authorityKey]
	}}
	return &everybody{world: w, all: []*party{first, second, host, pod}, checks: [][2]*party{{host, first}, {host, second}, {first, pod}, {pod, first}, {second, pod}, {pod, second}}}
}

// scatter has everybody hear of things now, and again at different times.
func (e *everybody) scatter() {
	random := rand.New(rand.NewPCG(1, 2))
	for _, p := range e.all {
		p.update(e.clock.Now())
		p.hears = e.clock.Now().Add(time.Duration(random.Int64N(int64(p.lag) + 1)))
	}
}

// live lets time go by, and returns the most authorities that the host trusted.
func (e *everybody) live(d, step time.Duration, seen func()) (most int) {
	for end := e.clock.Now().Add(d); e.clock.Now().Before(end); e.clock.Step(step) {
		now := e.clock.Now()
		for _, p := range e.all {
			p.update(now)
		}
		for _, pair := range e.checks {
			if err := pair[0].trusts(pair[1], now); err != nil {
				e.Fatalf("%v before the end, %s refuses %s: %v", end.Sub(now), pair[0].name, pair[1].name, err)
			}
		}
		most = max(most, len(authorities(e.all[2].trust)))
		seen()
	}
	return most
}

func TestAChangeOfTheAuthorityCutsNobodyOff(t *testing.T) {
	// old is shortly before the authority's last third begins.
	old := func(l Lifetimes) time.Time { return start.Add(l.Authority*2/3 - skewOf(l.Authority)/3 - l.Overlap/8) }
	for name, change := range map[string]func(w *world){
		"its Secret is deleted": func(w *world) {
			if err := w.client.CoreV1().Secrets("ns").Delete(w.Context(), AuthoritySecret, metav1.DeleteOptions{}); err != nil {
				w.Fatal(err)
			}
		},
		"it gets old": func(w *world) { w.clock.SetTime(old(w.lives).Add(w.lives.Overlap / 4)) },
		"somebody brings their own": func(w *world) {
			p, err := w.lives.newAuthority(w.clock.Now().Add(-w.lives.Authority / 8))
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
		for kind, lives := range map[string]Lifetimes{"": DefaultLifetimes, " and lives are short": short} {
			t.Run(name+kind, func(t *testing.T) {
				w := newWorld(t)
				w.lives = lives
				e := w.everybody()
				w.clock.SetTime(old(lives)) // with long lives the leaves are renewed here, so that nothing else is too old
				e.scatter()
				before := w.secret(AuthoritySecret).Data[corev1.TLSCertKey]
				oldLeaf := w.secret(own.Secret).Data[corev1.TLSCertKey]
				change(w)
				if most := e.live(3*lives.Overlap, lives.Overlap/60, func() {}); most != 2 {
					t.Errorf("the host trusted %d authorities together", most)
				}
				after := w.secret(AuthoritySecret).Data
				if bytes.Equal(before, after[corev1.TLSCertKey]) || bytes.Equal(oldLeaf, w.secret(own.Secret).Data[corev1.TLSCertKey]) {
					t.Error("nothing has changed")
				}
				for _, p := range e.all {
					if n := len(authorities(p.trust)); n != 1 {
						t.Errorf("in the end %s trusts %d authorities", p.name, n)
					}
				}
			})
		}
	}
}

// wrongClock is that of a machine whose time is wrong.
type wrongClock struct {
	clock.Clock
	by time.Duration
}

func (c wrongClock) Now() time.Time                  { return c.Clock.Now().Add(c.by) }
func (c wrongClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// Whoever checks a certificate has the right time, and one of those who make them is hours ahead or behind, or both are.
func TestClocksThatDifferCutNobodyOff(t *testing.T) {
	for _, wrong := range [][2]time.Duration{{time.Hour, 0}, {-time.Hour, 0}, {12 * time.Hour, -12 * time.Hour}} {
		t.Run(fmt.Sprint(wrong), func(t *testing.T) {
			w := newWorld(t)
			a, b := w.replica(), w.replica()
			a.Clock, b.Clock = wrongClock{w.clock, wrong[0]}, wrongClock{w.clock, wrong[1]}
			e := w.everybodyOf(a, b)
			e.scatter()
			if err := w.client.CoreV1().Secrets("ns").Delete(t.Context(), AuthoritySecret, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if most := e.live(4*w.lives.Overlap, w.lives.Overlap/60, func() {}); most != 2 {
				t.Errorf("the host trusted %d authorities together", most)
			}
			for _, p := range e.all {
				if n := len(authorities(p.trust)); n != 1 {
					t.Errorf("in the end %s trusts %d authorities", p.name, n)
				}
			}
			writes := w.writes()
			e.live(w.lives.Overlap, w.lives.Overlap/60, func() {})
			if n := w.writes() - writes; n != 0 {
				t.Errorf("when all is done they write %d times", n)
			}
		})
	}
}

func TestNobodyIsCutOffInManyLivesAsShortAsTheyMayBe(t *testing.T) {
	w := newWorld(t)
	w.lives = short
	w.lives.Authority = short.Leaf * 3 / 2
	e := w.everybody()
	e.scatter()
	cas, leaves := map[string]bool{}, map[string]bool{}
	most := e.live(5*w.lives.Authority, w.lives.Overlap/20, func() {
		cas[string(authorities(e.all[2].trust)[0].Raw)], leaves[string(e.all[3].cert)] = true, true
	})
	if len(cas) < 5 || len(leaves) < len(cas) || most != 2 {
		t.Errorf("%d authorities, %d of them at a time, and %d certificates of a part", len(cas), most, len(leaves))
	}
}

func TestALeafThatIsGoodForLongerThanIsWantedNowIsMadeAnew(t *testing.T) {
	w := newWorld(t)
	w.replica()
	before := w.secret(other.Secret).Data[corev1.TLSCertKey]
	w.lives.Leaf = 24 * time.Hour
	m := w.replica()
	if bytes.Equal(before, w.secret(other.Secret).Data[corev1.TLSCertKey]) {
		t.Error("it stays")
	}
	writes := w.writes()
	w.clock.Step(-w.lives.Overlap / 4) // another replica's clock
	w.ensure(m)
	if n := w.writes() - writes; n != 0 {
		t.Errorf("a replica whose clock is behind wrote %d times", n)
	}
}

func TestLifetimesHaveToGoTogether(t *testing.T) {
	for name, c := range map[string]struct {
		lives Lifetimes
		wrong []string
	}{
		"the defaults":                          {DefaultLifetimes, nil},
		"as short as they may be":               {short, nil},
		"a leaf too short for the overlap":      {Lifetimes{Authority: time.Hour, Leaf: 7 * time.Minute, Overlap: time.Minute}, []string{"--leaf"}},
		"an authority that is shorter than one": {Lifetimes{Authority: time.Hour, Leaf: 2 * time.Hour, Overlap: time.Minute}, []string{"--authority"}},
		"nothing":                               {Lifetimes{}, []string{"--overlap"}},
		"less than nothing":                     {Lifetimes{Authority: -time.Hour, Leaf: -time.Minute, Overlap: time.Second}, []string{"--leaf", "--authority"}},
	} {
		err := c.lives.Validate("--authority", "--leaf", "--overlap")
		if (err == nil) != (c.wrong == nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, flag := range c.wrong {
			if err != nil && !strings.Contains(err.Error(), flag+": ") {
				t.Errorf("%s: %s is not named: %v", name, flag, err)
			}
		}
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
