package frontproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// noon is when the tests begin.
var noon = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

// signer has a certificate with which it signs others.
type signer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// authority signs itself.
func authority(t *testing.T, name string) signer {
	return signer{t: t}.signs(name, noon.Add(24*time.Hour), true)
}

// client signs a client's certificate.
func (s signer) client(name string, until time.Time) *x509.Certificate {
	return s.signs(name, until, false).cert
}

func (s signer) signs(name string, until time.Time, isCA bool) signer {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"clients"}},
		NotBefore: noon.Add(-time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		IsCA: isCA, BasicConstraintsValid: true,
	}
	if isCA {
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	if s.cert == nil {
		s.cert, s.key = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, key.Public(), s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	return signer{s.t, cert, key}
}

// trust is what the host trusts at the moment, and the moment.
type trust struct {
	dynamiccertificates.CAContentProvider
	roots *x509.CertPool
	now   time.Time
}

func (h *trust) trusts(authorities ...signer) {
	h.roots = x509.NewCertPool()
	for _, a := range authorities {
		h.roots.AddCert(a.cert)
	}
}

// VerifyOptions implements dynamiccertificates.CAContentProvider.
func (h *trust) VerifyOptions() (x509.VerifyOptions, bool) {
	return x509.VerifyOptions{Roots: h.roots, CurrentTime: h.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, h.roots != nil
}

// host is what tells proxies and other clients: what a test changes of it counts for the next request.
type host struct {
	proxies, clients *trust
	names            []string
	// stock authenticates without us, ours with us.
	stock authenticator.Request
	ours  *Authenticator
	// verified is how often ours has verified a certificate.
	verified atomic.Int32
}

func newHost(t *testing.T) *host {
	h := &host{proxies: &trust{now: noon}, clients: &trust{now: noon}, names: []string{"aggregator"}}
	proxies := &authenticatorfactory.RequestHeaderConfig{
		UsernameHeaders:     headerrequest.StaticStringSlice{"X-Remote-User"},
		UIDHeaders:          headerrequest.StaticStringSlice{"X-Remote-Uid"},
		GroupHeaders:        headerrequest.StaticStringSlice{"X-Remote-Group"},
		ExtraHeaderPrefixes: headerrequest.StaticStringSlice{"X-Remote-Extra-"},
		CAContentProvider:   h.proxies,
		AllowedClientNames:  headerrequest.StringSliceProviderFunc(func() []string { return h.names }),
	}
	var err error
	h.stock, _, err = authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                          &apiserver.AnonymousAuthConfig{Enabled: true},
		RequestHeaderConfig:                proxies,
		ClientCertificateCAContentProvider: h.clients,
	}.New()
	if err != nil {
		t.Fatal(err)
	}
	h.ours = New(proxies, h.stock)
	h.ours.verify = func(c *x509.Certificate, o x509.VerifyOptions) ([][]*x509.Certificate, error) {
		h.verified.Add(1)
		return c.Verify(o)
	}
	return h
}

// asks is a request for alice over a connection whose client has shown certificates.
func asks(shown ...*x509.Certificate) *http.Request {
	r := &http.Request{Header: http.Header{
		"X-Remote-User":        {"alice"},
		"X-Remote-Uid":         {"1234"},
		"X-Remote-Group":       {"developers", "admins"},
		"X-Remote-Extra-Scope": {"read", "write"},
		"Accept":               {"application/json"},
	}}
	if len(shown) > 0 {
		r.TLS = &tls.ConnectionState{PeerCertificates: shown}
	}
	return r
}

// is who the request is from by an authenticator: "" if it is refused.
func is(a authenticator.Request, r *http.Request) string {
	response, ok, err := a.AuthenticateRequest(r)
	if err != nil || !ok {
		return ""
	}
	return response.User.GetName()
}

// expect fails if the certificates' client does not get to be somebody, or if they are not verified that many times for it.
func (h *host) expect(t *testing.T, who string, verified int32, shown ...*x509.Certificate) {
	t.Helper()
	before := h.verified.Load()
	if got, by := is(h.ours, asks(shown...)), is(h.stock, asks(shown...)); got != who || by != who {
		t.Fatalf("the request is from %q, and from %q without us, not from %q", got, by, who)
	}
	if got := h.verified.Load() - before; got != verified {
		t.Fatalf("the certificate was verified %d times, not %d times", got, verified)
	}
}

func TestAProxyIsVerifiedOnceAndNotForEveryRequest(t *testing.T) {
	h, ca := newHost(t), authority(t, "front proxies")
	h.proxies.trusts(ca)
	proxy := ca.client("aggregator", noon.Add(time.Hour))
	h.expect(t, "alice", 1, proxy)
	for range 3 {
		h.expect(t, "alice", 0, proxy)
	}
	again, err := x509.ParseCertificate(proxy.Raw)
	if err != nil {
		t.Fatal(err)
	}
	h.expect(t, "alice", 0, again) // over another connection
	h.expect(t, "alice", 1, ca.client("aggregator", noon.Add(time.Hour)))
	h.expect(t, "alice", 0, proxy)
}

func TestAnAuthorityCountsAsSoonAsItIsTrustedAndAsLong(t *testing.T) {
	h, before, after := newHost(t), authority(t, "front proxies"), authority(t, "front proxies")
	early, late := before.client("aggregator", noon.Add(time.Hour)), after.client("aggregator", noon.Add(time.Hour))
	h.expect(t, user.Anonymous, 0, early) // nothing is known of proxies yet
	h.proxies.trusts(before)
	h.expect(t, "alice", 1, early)
	h.expect(t, "", 1, late)
	h.proxies.trusts(before, after)
	h.expect(t, "alice", 1, early)
	h.expect(t, "alice", 1, late)
	h.expect(t, "alice", 0, early)
	h.proxies.trusts(after)
	h.expect(t, "", 1, early)
	h.expect(t, "alice", 1, late)
	h.expect(t, "", 1, early)
	h.proxies.roots = nil
	h.expect(t, user.Anonymous, 0, late)
}

func TestANameCountsAsSoonAsItIsAllowedAndAsLong(t *testing.T) {
	h, ca := newHost(t), authority(t, "front proxies")
	h.proxies.trusts(ca)
	proxy := ca.client("aggregator", noon.Add(time.Hour))
	h.expect(t, "alice", 1, proxy)
	h.names = []string{"another"}
	h.expect(t, "", 0, proxy)
	h.names = []string{"another", "aggregator"}
	h.expect(t, "alice", 0, proxy)
	h.names = nil // any
	h.expect(t, "alice", 0, proxy)
}

func TestAProxyIsGoodUntilTheFirstCertificateThatVouchesForItIsNot(t *testing.T) {
	ca := authority(t, "front proxies")
	short := ca.signs("between", noon.Add(time.Hour), true)
	for name, shown := range map[string][]*x509.Certificate{
		"its own":     {ca.client("aggregator", noon.Add(time.Hour))},
		"one between": {short.client("aggregator", noon.Add(2*time.Hour)), short.cert},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.proxies.trusts(ca)
			h.expect(t, "alice", 1, shown...)
			h.proxies.now = noon.Add(time.Hour)
			h.expect(t, "alice", 0, shown...)
			h.proxies.now = noon.Add(time.Hour + time.Second)
			h.expect(t, "", 1, shown...)
			h.proxies.now = noon.Add(-time.Hour - time.Second)
			h.expect(t, "", 1, shown...)
			h.proxies.now = noon
			h.expect(t, "alice", 0, shown...)
		})
	}
}

func TestAProxyIsNotVouchedForByWhatAnotherConnectionShowed(t *testing.T) {
	h, ca := newHost(t), authority(t, "front proxies")
	h.proxies.trusts(ca)
	between := ca.signs("between", noon.Add(time.Hour), true)
	proxy := between.client("aggregator", noon.Add(time.Hour))
	h.expect(t, "alice", 1, proxy, between.cert)
	h.expect(t, "", 1, proxy)
	h.expect(t, "alice", 0, proxy, between.cert)
}

func TestStrangersAreNotRemembered(t *testing.T) {
	h, ca, other := newHost(t), authority(t, "front proxies"), authority(t, "front proxies")
	h.proxies.trusts(ca)
	proxy := ca.client("aggregator", noon.Add(time.Hour))
	h.expect(t, "alice", 1, proxy)
	for range most + 1 {
		h.expect(t, "", 1, other.client("aggregator", noon.Add(time.Hour)))
		h.expect(t, "", 0, ca.client("somebody", noon.Add(time.Hour)))
	}
	if n := len(*h.ours.verified.Load()); n != 1 {
		t.Errorf("%d proxies are remembered", n)
	}
	h.expect(t, "alice", 0, proxy)
}

func TestTheLatestProxiesAreRememberedAndThoseThatAreGood(t *testing.T) {
	h, ca := newHost(t), authority(t, "front proxies")
	h.proxies.trusts(ca)
	first := ca.client("aggregator", noon.Add(time.Hour))
	h.expect(t, "alice", 1, first)
	var last *x509.Certificate
	for range most {
		last = ca.client("aggregator", noon.Add(time.Hour))
		h.expect(t, "alice", 1, last)
	}
	if n := len(*h.ours.verified.Load()); n != most {
		t.Errorf("%d proxies are remembered", n)
	}
	h.expect(t, "alice", 0, last)
	h.expect(t, "alice", 1, first)

	h.proxies.now = noon.Add(2 * time.Hour)
	h.expect(t, "alice", 1, ca.client("aggregator", noon.Add(3*time.Hour)))
	if n := len(*h.ours.verified.Load()); n != 1 {
		t.Errorf("%d proxies are remembered, all but one of which have to show another certificate", n)
	}
}

func TestManyAskAtOnce(t *testing.T) {
	h, ca := newHost(t), authority(t, "front proxies")
	h.proxies.trusts(ca)
	proxies := make([]*x509.Certificate, most)
	for i := range proxies {
		proxies[i] = ca.client("aggregator", noon.Add(time.Hour))
	}
	var all sync.WaitGroup
	for range 4 {
		for _, p := range proxies {
			all.Go(func() {
				for range 4 {
					if who := is(h.ours, asks(p)); who != "alice" {
						t.Errorf("the request is from %q", who)
					}
				}
			})
		}
	}
	all.Wait()
	for _, p := range proxies {
		h.expect(t, "alice", 0, p)
	}
}

// TestWeAnswerWhatTheLibraryAnswers asks us twice, of which the second time is by what is remembered.
func TestWeAnswerWhatTheLibraryAnswers(t *testing.T) {
	h, proxies, clients, others := newHost(t), authority(t, "front proxies"), authority(t, "clients"), authority(t, "others")
	h.proxies.trusts(proxies)
	h.clients.trusts(clients)
	between := proxies.signs("between", noon.Add(time.Hour), true)
	proxy := proxies.client("aggregator", noon.Add(time.Hour))
	without := func(headers ...string) func(*http.Request) {
		return func(r *http.Request) {
			for _, h := range headers {
				r.Header.Del(h)
			}
		}
	}
	with := func(header string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[header] = values }
	}
	for name, c := range map[string]struct {
		shown  []*x509.Certificate
		change func(*http.Request)
		who    string
	}{
		"a proxy's":                                    {shown: []*x509.Certificate{proxy}, who: "alice"},
		"a proxy's, by one between":                    {shown: []*x509.Certificate{between.client("aggregator", noon.Add(time.Hour)), between.cert}, who: "alice"},
		"a proxy's without groups":                     {shown: []*x509.Certificate{proxy}, change: without("X-Remote-Group"), who: "alice"},
		"a proxy's of the authenticated":               {shown: []*x509.Certificate{proxy}, change: with("X-Remote-Group", user.AllAuthenticated), who: "alice"},
		"a proxy's of nobody":                          {shown: []*x509.Certificate{proxy}, change: with("X-Remote-User", user.Anonymous), who: user.Anonymous},
		"a proxy's without a name":                     {shown: []*x509.Certificate{proxy}, change: without("X-Remote-User")},
		"a proxy's with an empty name":                 {shown: []*x509.Certificate{proxy}, change: with("X-Remote-User", "")},
		"a proxy's with one besides that is not of it": {shown: []*x509.Certificate{proxy, others.cert}, who: "alice"},
		"one of a name that no proxy has":              {shown: []*x509.Certificate{proxies.client("somebody", noon.Add(time.Hour))}},
		"one whose certificate has ended":              {shown: []*x509.Certificate{proxies.client("aggregator", noon.Add(-time.Minute))}},
		"one that others vouch for":                    {shown: []*x509.Certificate{others.client("aggregator", noon.Add(time.Hour))}},
		"one whose between is missing":                 {shown: []*x509.Certificate{between.client("aggregator", noon.Add(time.Hour))}},
		"a client's":                                   {shown: []*x509.Certificate{clients.client("bob", noon.Add(time.Hour))}, who: "bob"},
		"a client's that has a proxy's name":           {shown: []*x509.Certificate{clients.client("aggregator", noon.Add(time.Hour))}, who: "aggregator"},
		"a client's without the names' header":         {shown: []*x509.Certificate{clients.client("bob", noon.Add(time.Hour))}, change: without("X-Remote-User"), who: "bob"},
		"one without a certificate":                    {who: user.Anonymous},
		"one with a connection alone":                  {change: func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, who: user.Anonymous},
	} {
		t.Run(name, func(t *testing.T) {
			answer := func(a authenticator.Request) (*authenticator.Response, string, http.Header) {
				r := asks(c.shown...)
				if c.change != nil {
					c.change(r)
				}
				response, ok, err := a.AuthenticateRequest(r)
				return response, fmt.Sprint(ok, err), r.Header
			}
			response, said, left := answer(h.stock)
			if response != nil && response.User.GetName() != c.who || response == nil && c.who != "" {
				t.Fatalf("the library takes the request for that of %v, not of %q: %s", response, c.who, said)
			}
			for range 2 {
				r, s, l := answer(h.ours)
				if !reflect.DeepEqual(r, response) || s != said || !reflect.DeepEqual(l, left) {
					t.Fatalf("we answer %v, %s and leave %v, not %v, %s and %v", r, s, l, response, said, left)
				}
			}
		})
	}
}
