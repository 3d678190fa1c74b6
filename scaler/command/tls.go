package command

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/tls/certprovider/pemfile"
	"google.golang.org/grpc/security/advancedtls"
)

// reloadPeriod is how often the files are looked at again.
const reloadPeriod = 10 * time.Second

// credentials are those of the server that KEDA asks: with a certificate by TLS, and with an authority for clients only for those who have a
// certificate of it. Files that change are read again for new connections.
func (o *Options) credentials() (credentials.TransportCredentials, error) {
	switch {
	case o.KEDACert == "" && o.KEDAKey == "" && o.KEDAClientCA == "":
		return insecure.NewCredentials(), nil
	case o.KEDACert == "" || o.KEDAKey == "":
		return nil, errors.New("--keda-tls-cert and --keda-tls-key are needed, both")
	}
	// The provider would wait for files that are missing or broken: better to say so now.
	if _, err := tls.LoadX509KeyPair(o.KEDACert, o.KEDAKey); err != nil {
		return nil, fmt.Errorf("reading --keda-tls-cert and --keda-tls-key: %w", err)
	}
	files, err := pemfile.NewProvider(pemfile.Options{CertFile: o.KEDACert, KeyFile: o.KEDAKey, RefreshDuration: reloadPeriod})
	if err != nil {
		return nil, err
	}
	options := &advancedtls.Options{
		IdentityOptions:  advancedtls.IdentityCertificateOptions{IdentityProvider: files},
		VerificationType: advancedtls.SkipVerification, // of clients that have none
		MinTLSVersion:    tls.VersionTLS12,
		MaxTLSVersion:    tls.VersionTLS13,
	}
	if o.KEDAClientCA != "" {
		authority, err := pemfile.NewProvider(pemfile.Options{RootFile: o.KEDAClientCA, RefreshDuration: reloadPeriod})
		if err != nil {
			return nil, fmt.Errorf("reading --keda-tls-client-ca: %w", err)
		}
		options.RootOptions = advancedtls.RootCertificateOptions{RootProvider: authority}
		options.RequireClientCert, options.VerificationType = true, advancedtls.CertVerification
	}
	return advancedtls.NewServerCreds(options)
}
