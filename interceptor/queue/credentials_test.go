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
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
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

	for _, name := range []string{"kedahttp-interceptor", "kedahttp-keda", "kedahttp-metrics"} {
		dir := t.TempDir()
		ours.write(t, dir, name)
		other, err := clientCredentials(dir, serverName, time.Hour)
		require.NoError(t, err)
		_, err = handshake(server, other)
		require.ErrorContains(t, err, "not for "+name)
	}

	// The authority is replaced: first at the server, then at the client.
	next := newAuthority(t, "next")
	next.write(t, serverDir, "kedahttp-interceptor")
	require.Eventually(t, func() bool { _, err := handshake(server, client); return err != nil }, patience, 10*time.Millisecond)
	next.write(t, clientDir, "kedahttp-apiserver")
	require.Eventually(t, func() bool {
		name, err := handshake(server, client)
		return err == nil && name == "kedahttp-apiserver"
	}, patience, 10*time.Millisecond)
}

func TestWhoIsNoPartIsAnsweredByMutualTLS(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	dir := t.TempDir()
	ours.write(t, dir, "kedahttp-interceptor")
	config, err := MutualTLS(dir)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName) //nolint:errcheck // the test sees
	}))
	server.Listener = tls.NewListener(server.Listener, config)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	ask := func(by *authority, trusted *authority) (string, error) {
		pool := x509.NewCertPool()
		pool.AddCert(trusted.cert)
		client := tls.Config{RootCAs: pool, ServerName: serverName}
		if by != nil {
			own := t.TempDir()
			by.write(t, own, "prometheus")
			pair, err := tls.LoadX509KeyPair(filepath.Join(own, certificateFile), filepath.Join(own, keyFile))
			require.NoError(t, err)
			client.Certificates = []tls.Certificate{pair}
		}
		transport := &http.Transport{TLSClientConfig: &client}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + server.Listener.Addr().String())
		if err != nil {
			return "", err
		}
		defer res.Body.Close() //nolint:errcheck // only read
		text, err := io.ReadAll(res.Body)
		return string(text), err
	}
	name, err := ask(ours, ours)
	require.NoError(t, err)
	require.Equal(t, "prometheus", name)
	_, err = ask(nil, ours)
	require.ErrorContains(t, err, "certificate required")
	_, err = ask(theirs, ours)
	require.Error(t, err)
	res, err := (&http.Client{Timeout: patience}).Get("http://" + server.Listener.Addr().String())
	require.NoError(t, err)
	_ = res.Body.Close()
	require.Equal(t, http.StatusBadRequest, res.StatusCode)

	theirs.write(t, dir, "kedahttp-interceptor")
	require.Eventually(t, func() bool { _, err := ask(theirs, theirs); return err == nil }, patience, 10*time.Millisecond)
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
