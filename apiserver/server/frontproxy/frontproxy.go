// Package frontproxy authenticates what the host's aggregator sends without verifying its certificate for every request: the
// certificate is that of a connection, which carries all users' requests.
package frontproxy

import (
	"crypto/x509"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
)

// most is how many proxies are remembered: the host has one for each of its API servers.
const most = 16

// Authenticator authenticates requests as the generic API server's own does, which it asks for all that do not come from a proxy
// whose certificate it has verified itself.
type Authenticator struct {
	proxies *authenticatorfactory.RequestHeaderConfig
	// named authenticates whom a proxy names.
	named authenticator.Request
	stock authenticator.Request
	// verify is (*x509.Certificate).Verify.
	verify func(*x509.Certificate, x509.VerifyOptions) ([][]*x509.Certificate, error)

	// verified are the proxies that were found to be proxies, the latest last. Strangers do not get into it.
	verified atomic.Pointer[[]proxy]
	// writes is held to replace verified.
	writes sync.Mutex
}

var _ authenticator.Request = &Authenticator{}

// New makes an authenticator. The stock one was made for the same proxies.
func New(proxies *authenticatorfactory.RequestHeaderConfig, stock authenticator.Request) *Authenticator {
	a := &Authenticator{
		proxies: proxies,
		named: group.NewAuthenticatedGroupAdder(headerrequest.NewDynamic(
			proxies.UsernameHeaders, proxies.UIDHeaders, proxies.GroupHeaders, proxies.ExtraHeaderPrefixes,
		)),
		stock:  stock,
		verify: (*x509.Certificate).Verify,
	}
	a.verified.Store(&[]proxy{})
	return a
}

// AuthenticateRequest implements authenticator.Request.
func (a *Authenticator) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if a.proxied(r) {
		if response, ok, err := a.named.AuthenticateRequest(r); ok && err == nil {
			return response, true, nil
		}
	}
	return a.stock.AuthenticateRequest(r)
}

// proxied reports whether a proxy sends the request, by the authorities and the names that are the proxies' at present.
func (a *Authenticator) proxied(r *http.Request) bool {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	shown := r.TLS.PeerCertificates
	options, known := a.proxies.CAContentProvider.VerifyOptions()
	if !known || !a.allowed(shown[0]) {
		return false
	}
	now := options.CurrentTime
	if now.IsZero() {
		now = time.Now()
	}
	is := func(p proxy) bool { return p.shows(shown) && p.verifiedBy(options) && p.goodAt(now) }
	if slices.ContainsFunc(*a.verified.Load(), is) {
		return true
	}
	chains, err := a.verify(shown[0], withIntermediates(options, shown[1:]))
	if err != nil {
		return false
	}
	a.remember(newProxy(shown, options, chains[0]), now)
	return true
}

// allowed reports whether a proxy may have the certificate's name; no names: it may have any.
func (a *Authenticator) allowed(c *x509.Certificate) bool {
	names := a.proxies.AllowedClientNames.Value()
	return len(names) == 0 || slices.Contains(names, c.Subject.CommonName)
}

// remember adds a proxy, and forgets those that would have to be verified again.
func (a *Authenticator) remember(p proxy, now time.Time) {
	a.writes.Lock()
	defer a.writes.Unlock()
	var kept []proxy
	for _, other := range *a.verified.Load() {
		if other.verifiedBy(p.options) && other.goodAt(now) && !other.shows(p.shown) {
			kept = append(kept, other)
		}
	}
	kept = append(kept, p)
	kept = kept[max(0, len(kept)-most):]
	a.verified.Store(&kept)
}

// proxy is one that was verified: what it shows, what that was verified by, and when the certificates that vouch for it are good.
type proxy struct {
	shown       []*x509.Certificate
	options     x509.VerifyOptions
	from, until time.Time
}

func newProxy(shown []*x509.Certificate, options x509.VerifyOptions, chain []*x509.Certificate) proxy {
	p := proxy{shown: shown, options: options, from: chain[0].NotBefore, until: chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotBefore.After(p.from) {
			p.from = c.NotBefore
		}
		if c.NotAfter.Before(p.until) {
			p.until = c.NotAfter
		}
	}
	return p
}

// shows reports whether these are the proxy's certificates, and those between its own and the authority's: without these it might
// not be vouched for.
func (p proxy) shows(certificates []*x509.Certificate) bool {
	return slices.EqualFunc(p.shown, certificates, (*x509.Certificate).Equal)
}

// verifiedBy reports whether verifying by these options, at a time when the proxy is good, is what was done. A pool is not
// changed once it is in use: other authorities are another pool.
func (p proxy) verifiedBy(o x509.VerifyOptions) bool {
	return p.options.Roots == o.Roots && p.options.Intermediates == o.Intermediates && p.options.DNSName == o.DNSName &&
		p.options.MaxConstraintComparisions == o.MaxConstraintComparisions &&
		slices.Equal(p.options.KeyUsages, o.KeyUsages) &&
		slices.EqualFunc(p.options.CertificatePolicies, o.CertificatePolicies, x509.OID.Equal)
}

func (p proxy) goodAt(now time.Time) bool { return !now.Before(p.from) && !now.After(p.until) }

// withIntermediates are the options with which the library verifies who shows these certificates beside its own.
func withIntermediates(options x509.VerifyOptions, shown []*x509.Certificate) x509.VerifyOptions {
	if options.Intermediates == nil && len(shown) > 0 {
		options.Intermediates = x509.NewCertPool()
		for _, c := range shown {
			options.Intermediates.AddCert(c)
		}
	}
	return options
}
