package queue

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/tls/certprovider"
	"google.golang.org/grpc/credentials/tls/certprovider/pemfile"
	"google.golang.org/grpc/security/advancedtls"
)

// The files of a Secret that the API server makes: a certificate for both ends, its key and the authority to trust.
const (
	certificateFile = "tls.crt"
	keyFile         = "tls.key"
	authorityFile   = "ca.crt"
)

// reloadPeriod is how often the files, which are small, are looked at again: nothing to be added to the time that a mounted Secret takes to change.
const reloadPeriod = time.Second

// readers are whose certificates the counts are told: of the same authority are those of interceptors, of KEDA and of who scrapes metrics, too.
var readers = []string{"kedahttp-apiserver", "kedahttp-scaler"}

// ServerCredentials are those of a Publisher's server: it has the certificate in the directory and asks of every client a reader's
// of the same authority. Files that change are read again for new connections.
func ServerCredentials(dir string) (credentials.TransportCredentials, error) {
	return serverCredentials(dir, reloadPeriod)
}

func serverCredentials(dir string, reload time.Duration) (credentials.TransportCredentials, error) {
	files, err := newProvider(dir, reload)
	if err != nil {
		return nil, err
	}
	return advancedtls.NewServerCreds(&advancedtls.Options{
		IdentityOptions:   advancedtls.IdentityCertificateOptions{IdentityProvider: files},
		RootOptions:       advancedtls.RootCertificateOptions{RootProvider: files},
		RequireClientCert: true,
		VerificationType:  advancedtls.CertVerification,
		AdditionalPeerVerification: func(peer *advancedtls.HandshakeVerificationInfo) (*advancedtls.PostHandshakeVerificationResults, error) {
			if name := peer.Leaf.Subject.CommonName; !slices.Contains(readers, name) {
				return nil, fmt.Errorf("the counts are not for %s", name)
			}
			return &advancedtls.PostHandshakeVerificationResults{}, nil
		},
		MinTLSVersion: tls.VersionTLS13,
		MaxTLSVersion: tls.VersionTLS13,
	})
}

// MutualTLS is for what is no part of kedahttp and has a certificate of the same authority, such as Prometheus: the server has the certificate
// in the directory. Files that change are read again for new connections.
func MutualTLS(dir string) (*tls.Config, error) {
	files, err := newProvider(dir, reloadPeriod)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			now, err := files.KeyMaterial(hello.Context())
			if err != nil {
				return nil, err
			}
			return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: now.Certs, ClientCAs: now.Roots, ClientAuth: tls.RequireAndVerifyClientCert}, nil
		},
	}, nil
}

// ClientCredentials are those of a Collector: it has the certificate in the directory and asks of every interceptor one of
// the same authority for the name, whatever address it dials. Files that change are read again for new connections.
func ClientCredentials(dir, serverName string) (credentials.TransportCredentials, error) {
	return clientCredentials(dir, serverName, reloadPeriod)
}

func clientCredentials(dir, serverName string, reload time.Duration) (credentials.TransportCredentials, error) {
	files, err := newProvider(dir, reload)
	if err != nil {
		return nil, err
	}
	creds, err := advancedtls.NewClientCreds(&advancedtls.Options{
		IdentityOptions:  advancedtls.IdentityCertificateOptions{IdentityProvider: files},
		RootOptions:      advancedtls.RootCertificateOptions{RootProvider: files},
		VerificationType: advancedtls.CertAndHostVerification,
		MinTLSVersion:    tls.VersionTLS13,
		MaxTLSVersion:    tls.VersionTLS13,
	})
	if err != nil {
		return nil, err
	}
	//lint:ignore SA1019 the name that is verified must not depend on who dials, and what is dialled are addresses
	return creds, creds.OverrideServerName(serverName)
}

func newProvider(dir string, reload time.Duration) (certprovider.Provider, error) {
	cert, key, ca := filepath.Join(dir, certificateFile), filepath.Join(dir, keyFile), filepath.Join(dir, authorityFile)
	// The provider would wait for files that are missing or broken, and every connection with it: better to say so now.
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("reading the certificate of this part: %w", err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("reading the authority that it is of: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the authority that it is of: %s has no certificate", ca)
	}
	return pemfile.NewProvider(pemfile.Options{CertFile: cert, KeyFile: key, RootFile: ca, RefreshDuration: reload})
}
