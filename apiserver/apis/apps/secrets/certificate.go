// Package secrets knows the Secrets that apps name for TLS, and what they are worth. Interceptors serve with them, and the API server
// says in the apps' conditions what is wrong with them: both by the same rules.
package secrets

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Error is what is wrong with a Secret or its certificate.
type Error struct {
	// Reason is that of a condition.
	Reason string
	// Message says what is wrong and what to do.
	Message string
}

func (e *Error) Error() string { return e.Message }

// Reasons for which a Secret cannot be served with, or should not.
const (
	ReasonNotKnown    = "SecretNotRead"
	ReasonNotFound    = "SecretNotFound"
	ReasonInvalid     = "SecretInvalid"
	ReasonExpired     = "CertificateExpired"
	ReasonNotYetValid = "CertificateNotYetValid"
	ReasonNotCovered  = "HostNotCovered"
)

// certificateOf reads the certificate of a Secret of type kubernetes.io/tls, or of any other with the same keys.
func certificateOf(s *corev1.Secret) (*tls.Certificate, error) {
	invalid := func(format string, args ...any) error {
		return &Error{ReasonInvalid, fmt.Sprintf("Secret %s ", s.Name) + fmt.Sprintf(format, args...) +
			": make it anew with a certificate and its key, as kubectl create secret tls does"}
	}
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(s.Data[key]) == 0 {
			return nil, invalid("has no %s", key)
		}
	}
	c, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, invalid("has %s and %s that cannot be used (%s)", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &c, nil
}

// Check says why clients would not accept the certificate of a Secret for hosts now, nil if they would as far as can be told here. It
// also returns when that changes by itself, zero if never.
func Check(secret string, c *tls.Certificate, hosts []string, now time.Time) (changes time.Time, err error) {
	leaf := c.Leaf
	const renew = "put a certificate into it that is valid now"
	switch {
	case now.After(leaf.NotAfter):
		return time.Time{}, &Error{ReasonExpired, fmt.Sprintf("the certificate in Secret %s expired at %s: %s", secret, leaf.NotAfter.UTC().Format(time.RFC3339), renew)}
	case now.Before(leaf.NotBefore):
		return leaf.NotBefore, &Error{ReasonNotYetValid, fmt.Sprintf("the certificate in Secret %s is not valid before %s: wait until then, or %s",
			secret, leaf.NotBefore.UTC().Format(time.RFC3339), renew)}
	}
	var uncovered []string
	for _, host := range hosts {
		if !covers(leaf, host) {
			uncovered = append(uncovered, host)
		}
	}
	if len(uncovered) > 0 {
		return leaf.NotAfter, &Error{ReasonNotCovered, fmt.Sprintf("the certificate in Secret %s is for %s, and not for %s: put one into it that names all hosts of the app",
			secret, names(leaf), strings.Join(uncovered, ", "))}
	}
	return leaf.NotAfter, nil
}

func names(leaf *x509.Certificate) string {
	all := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		all = append(all, ip.String())
	}
	switch {
	case len(all) == 0:
		return "no DNS name"
	case len(all) > 10:
		return strings.Join(all[:10], ", ") + fmt.Sprintf(" and %d others", len(all)-10)
	}
	return strings.Join(all, ", ")
}

// covers reports whether a certificate is for a host of a route. A wildcard in a route stands for any number of labels and one in a
// certificate for one: what can be told is whether the certificate has the same.
func covers(leaf *x509.Certificate, host string) bool {
	host = strings.TrimSuffix(host, ".")
	if !strings.HasPrefix(host, "*.") {
		return leaf.VerifyHostname(host) == nil
	}
	return slices.ContainsFunc(leaf.DNSNames, func(name string) bool { return strings.EqualFold(name, host) })
}

// Is reports whether an error is an Error with a reason.
func Is(err error, reason string) bool {
	var e *Error
	return errors.As(err, &e) && e.Reason == reason
}
