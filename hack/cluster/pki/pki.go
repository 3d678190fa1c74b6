// Package pki knows the certificates and keys of a cluster.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Store is the folder in which certificates and keys are kept.
type Store struct{ Dir string }

// Cert is the path of a certificate.
func (s Store) Cert(name string) string { return filepath.Join(s.Dir, name+".crt") }

// Key is the path of a key.
func (s Store) Key(name string) string { return filepath.Join(s.Dir, name+".key") }

// PublicKey is the path of a public key that has no certificate.
func (s Store) PublicKey(name string) string { return filepath.Join(s.Dir, name+".pub") }

// Leaf describes a certificate to be signed by CA.
type Leaf struct {
	Name   string
	CA     string
	Common string
	Groups []string
	// Names and IPs make it a serving certificate; without them it is a client's.
	Names []string
	IPs   []string
}

// Make makes whatever is missing: authorities first, then their leaves, then bare key pairs.
func (s Store) Make(authorities []string, leaves []Leaf, pairs []string) error {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	for _, name := range authorities {
		err := s.once(name, func() error {
			return s.issue(name, "", &x509.Certificate{
				Subject:               pkix.Name{CommonName: "kedahttp-cluster-" + name},
				IsCA:                  true,
				BasicConstraintsValid: true,
				KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
			})
		})
		if err != nil {
			return err
		}
	}
	for _, leaf := range leaves {
		if err := s.once(leaf.Name, func() error { return s.issue(leaf.Name, leaf.CA, leaf.template()) }); err != nil {
			return err
		}
	}
	for _, name := range pairs {
		if err := s.once(name, func() error { return s.pair(name) }); err != nil {
			return err
		}
	}
	return nil
}

// once relies on the key being written last.
func (s Store) once(name string, make func() error) error {
	if _, err := os.Stat(s.Key(name)); err == nil {
		return nil
	}
	if err := make(); err != nil {
		return fmt.Errorf("make certificate %s: %w", name, err)
	}
	return nil
}

func (l Leaf) template() *x509.Certificate {
	c := &x509.Certificate{
		Subject:     pkix.Name{CommonName: l.Common, Organization: l.Groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		DNSNames:    l.Names,
	}
	for _, ip := range l.IPs {
		c.IPAddresses = append(c.IPAddresses, net.ParseIP(ip))
	}
	if len(l.Names)+len(l.IPs) > 0 {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	return c
}

func (s Store) issue(name, ca string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return err
	}
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = template.NotBefore.AddDate(10, 0, 0)
	var parent, signer = template, crypto.Signer(key)
	if ca != "" {
		if parent, signer, err = s.read(ca); err != nil {
			return err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.Cert(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return err
	}
	return s.writeKey(name, key)
}

func (s Store) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(s.Key(name), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func (s Store) pair(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.PublicKey(name), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644); err != nil {
		return err
	}
	return s.writeKey(name, key)
}

func (s Store) read(name string) (*x509.Certificate, crypto.Signer, error) {
	certPEM, err1 := os.ReadFile(s.Cert(name))
	keyPEM, err2 := os.ReadFile(s.Key(name))
	if err := errors.Join(err1, err2); err != nil {
		return nil, nil, err
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, nil, fmt.Errorf("%s or %s holds no PEM block", s.Cert(name), s.Key(name))
	}
	cert, err1 := x509.ParseCertificate(certBlock.Bytes)
	key, err2 := x509.ParseECPrivateKey(keyBlock.Bytes)
	return cert, key, errors.Join(err1, err2)
}
