package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: bench, cluster: {server: "http://%s"}}]
contexts: [{name: bench, context: {cluster: bench, user: bench}}]
users: [{name: bench, user: {}}]
current-context: bench
`

// startInterceptor starts the binary with its own flags, and waits until it is ready.
func startInterceptor(ctx context.Context, binary, dir string, c *cluster) (*process, error) {
	dir, err := os.MkdirTemp(dir, "interceptor-")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "kubeconfig"), fmt.Appendf(nil, kubeconfig, c.address), 0o600); err != nil {
		return nil, err
	}
	if err := writeCertificate(dir, nil); err != nil {
		return nil, err
	}
	at, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	requests, secure, admin := at[0], at[1], at[2]
	cmd := command(ctx, binary, "--kubeconfig", filepath.Join(dir, "kubeconfig"), "--tls-dir", dir,
		"--listen", requests, "--tls-listen", secure, "--admin-listen", admin, "--counts-listen", "127.0.0.1:0", "--max-connections", "1000000", "--shutdown-delay", "0s", "--drain-timeout", "0s")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the interceptor has it
	cmd.Stderr = log
	p, err := startServer(ctx, ours, requests, cmd)
	if err != nil {
		return nil, err
	}
	p.http2, p.grpc, p.tls = requests, requests, secure
	p.admin = "http://" + admin
	err = eventually(ctx, func() error {
		res, err := http.Get(p.admin + "/readyz")
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("it is not ready: %s", res.Status)
		}
		return nil
	})
	if err != nil {
		p.stop()
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w\n%s", err, said)
	}
	return p, nil
}

// writeCertificate makes a certificate for hosts, with its key and its authority, in the files of a Secret. The interceptor's counts are
// served with such a one, though nobody asks for them here.
func writeCertificate(dir string, hosts []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: hosts,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{
		"tls.crt": certificate, "ca.crt": certificate,
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
