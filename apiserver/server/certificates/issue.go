package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// pair is a certificate and its key in PEM.
type pair struct{ cert, key []byte }

// Leaf is a certificate for one part of kedahttp, for both ends of a connection.
type Leaf struct {
	// Secret is the name of its Secret, CommonName that of the part.
	Secret, CommonName string
	// Namespace is that of a Secret which somebody else has made for it, for who is no part of kedahttp. Empty: the manager's own.
	Namespace string
	DNSNames  []string
}

// newAuthority makes a certificate authority.
func (l Lifetimes) newAuthority(now time.Time) (pair, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "kedahttp-ca"},
		NotBefore:             now.Add(-skewOf(l.Authority)),
		NotAfter:              now.Add(l.Authority),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	return sign(template, nil, nil)
}

// issue makes a leaf of the authority.
func (a *authority) issue(l Leaf, now time.Time) (pair, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: l.CommonName},
		DNSNames:              l.DNSNames,
		NotBefore:             now.Add(-skewOf(a.lives.Leaf)),
		NotAfter:              now.Add(a.lives.Leaf),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	return sign(template, a.cert, a.key)
}

// sign makes a key and a certificate for it, signed by the parent, or by itself if that is nil.
func sign(template, parent *x509.Certificate, parentKey any) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return pair{}, err
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return pair{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	return pair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// tooOld reports that less than a third of the certificate's life is left.
func tooOld(c *x509.Certificate, now time.Time) bool {
	return now.After(c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3))
}
