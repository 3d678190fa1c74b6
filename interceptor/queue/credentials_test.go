package queue

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
)

const serverName = "kedahttp-interceptor-counts.kedahttp-system.svc"

// authority signs certificates, as the API server does.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert, key}
}

// write puts a certificate of the authority into a directory.
func (a *authority) write(t *testing.T, dir, name string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{serverName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for file, block := range map[string]*pem.Block{
		certificateFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile:         {Type: "PRIVATE KEY", Bytes: keyDER},
		authorityFile:   {Type: "CERTIFICATE", Bytes: a.cert.Raw},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600))
	}
}

// handshake returns the name of the client that a server saw.
func handshake(server, client credentials.TransportCredentials) (string, error) {
	a, b := net.Pipe()
	defer a.Close() //nolint:errcheck // the handshake is over
	defer b.Close() //nolint:errcheck // the handshake is over
	deadline := time.Now().Add(patience)
	_, _ = a.SetDeadline(deadline), b.SetDeadline(deadline)
	type result struct {
		name string
		err  error
	}
	served := make(chan result, 1)
	go func() {
		_, info, err := server.ServerHandshake(a)
		if err != nil {
			_ = a.Close()
			served <- result{err: err}
			return
		}
		served <- result{name: info.(credentials.TLSInfo).State.PeerCertificates[0].Subject.CommonName}
	}()
	conn, _, err := client.ClientHandshake(context.Background(), "10.0.0.1:9443", b)
	if err != nil {
		_ = b.Close()
		<-served
		return "", err
	}
	go conn.Read(make([]byte, 1)) //nolint:errcheck // takes the session ticket, for which the server waits
	r := <-served
	return r.name, r.err
}

func TestOnlyCertificatesOfTheAuthorityReadCountsAndNewOnesArePickedUp(t *testing.T) {
	ours := newAuthority(t, "ours")
	serverDir, clientDir := t.TempDir(), t.TempDir()
	ours.write(t, serverDir, "kedahttp-interceptor")
	ours.write(t, clientDir, "kedahttp-scaler")
	server, err := serverCredentials(serverDir, 10*time.Millisecond)
	require.NoError(t, err)
	client, err := clientCredentials(clientDir, serverName, 10*time.Millisecond)
	require.NoError(t, err)
	name, err := handshake(server, client)
	require.NoError(t, err)
	require.Equal(t, "kedahttp-scaler", name)

	misnamed, err := clientCredentials(clientDir, "elsewhere.svc", time.Hour)
	require.NoError(t, err)
	_, err = handshake(server, misnamed)
	require.ErrorContains(t, err, "elsewhere.svc")

	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	_, err = handshake(server, credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: serverName}))
	require.Error(t, err, "a client without a certificate")

	foreignDir := t.TempDir()
	newAuthority(t, "theirs").write(t, foreignDir, "stranger")
	foreign, err := clientCredentials(foreignDir, serverName, time.Hour)
	require.NoError(t, err)
	_, err = handshake(server, foreign)
	require.Error(t, err, "a client and a server of different authorities")

	// The authority is replaced: first at the server, then at the client.
	next := newAuthority(t, "next")
	next.write(t, serverDir, "kedahttp-interceptor")
	require.Eventually(t, func() bool { _, err := handshake(server, client); return err != nil }, patience, 10*time.Millisecond)
	next.write(t, clientDir, "kedahttp-scaler-2")
	require.Eventually(t, func() bool {
		name, err := handshake(server, client)
		return err == nil && name == "kedahttp-scaler-2"
	}, patience, 10*time.Millisecond)
}

func TestFilesThatAreMissingAreNamed(t *testing.T) {
	dir := t.TempDir()
	_, err := ServerCredentials(dir)
	require.ErrorContains(t, err, filepath.Join(dir, certificateFile))
	newAuthority(t, "ours").write(t, dir, "x")
	require.NoError(t, os.WriteFile(filepath.Join(dir, authorityFile), []byte("nothing"), 0o600))
	_, err = ClientCredentials(dir, serverName)
	require.ErrorContains(t, err, authorityFile)
}
