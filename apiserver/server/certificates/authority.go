package certificates

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// authority is a certificate authority that can issue, and those that are trusted beside it: the ones before it, for as long as
// somebody may show a certificate of theirs.
type authority struct {
	pair
	lives Lifetimes
	cert  *x509.Certificate
	key   any
	// since is when it was first seen to be trusted.
	since time.Time
	// earlier are the authorities before it, the latest first.
	earlier []*x509.Certificate
}

// parse returns the authority of a pair, or why it cannot issue.
func (l Lifetimes) parse(p pair, now time.Time) (*authority, error) {
	c, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, err
	}
	switch {
	case !c.Leaf.IsCA:
		return nil, errors.New("it is no authority")
	case tooOld(c.Leaf, now):
		return nil, fmt.Errorf("it ends at %s", c.Leaf.NotAfter.Format(time.RFC3339))
	}
	return &authority{pair: p, lives: l, cert: c.Leaf, key: c.PrivateKey, since: now}, nil
}

// bundle is what is trusted, in PEM.
func (a *authority) bundle() []byte {
	var out bytes.Buffer
	for _, c := range append([]*x509.Certificate{a.cert}, a.earlier...) {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return out.Bytes()
}

// remember trusts the authorities of a bundle, too, but for those that have ended.
func (a *authority) remember(bundle []byte, now time.Time) {
	for _, c := range authorities(bundle) {
		known := c.Equal(a.cert) || slices.ContainsFunc(a.earlier, c.Equal)
		if !known && now.Before(c.NotAfter) {
			a.earlier = append(a.earlier, c)
		}
	}
}

// signedAll reports whether the authority has signed all of the pairs.
func (a *authority) signedAll(pairs []pair) bool {
	for _, p := range pairs {
		c, err := tls.X509KeyPair(p.cert, p.key)
		if err != nil || c.Leaf.CheckSignatureFrom(a.cert) != nil {
			return false
		}
	}
	return true
}

// check says why a leaf has to be made anew, if it has to. What can wait waits until everybody trusts this authority.
func (a *authority) check(p pair, l Leaf, now time.Time) error {
	c, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return err
	}
	signed := func(by *x509.Certificate) bool { return c.Leaf.CheckSignatureFrom(by) == nil }
	everybody := !now.Before(a.since.Add(a.lives.Overlap))
	inTime := everybody || len(a.earlier) == 0
	switch {
	case now.After(c.Leaf.NotAfter), inTime && tooOld(c.Leaf, now):
		return fmt.Errorf("it ends at %s", c.Leaf.NotAfter.Format(time.RFC3339))
	case inTime && c.Leaf.NotAfter.Sub(now) > a.lives.Leaf+skewOf(a.lives.Leaf): // clocks of replicas differ
		return fmt.Errorf("it is good until %s, for longer than %s", c.Leaf.NotAfter.Format(time.RFC3339), a.lives.Leaf)
	// It may be for more: a replica of another version that wants other names would make it anew, and this one again, in turns.
	case c.Leaf.Subject.CommonName != l.CommonName || slices.ContainsFunc(l.DNSNames, func(n string) bool { return !slices.Contains(c.Leaf.DNSNames, n) }):
		return fmt.Errorf("it is for %v, not for %v", c.Leaf.DNSNames, l.DNSNames)
	case !signed(a.cert) && (everybody || !slices.ContainsFunc(a.earlier, signed)):
		return errors.New("it is of another authority")
	}
	return nil
}

// authorities are the certificates of a bundle. What is no certificate is left out: a bundle is only ever added to.
func authorities(bundle []byte) []*x509.Certificate {
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return all
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && c.IsCA {
			all = append(all, c)
		}
	}
}
