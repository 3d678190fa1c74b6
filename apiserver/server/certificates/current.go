package certificates

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// current is what this server uses now. It changes without a restart.
type current struct {
	mu        sync.Mutex
	pair      pair
	authority []byte
	leaf      *tls.Certificate
	pool      *x509.CertPool
	listeners []dynamiccertificates.Listener
}

var _ dynamiccertificates.CertKeyContentProvider = &current{}

func (c *current) set(p pair, authority []byte) error {
	leaf, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return errors.New("the authority has no certificate")
	}
	c.mu.Lock()
	changed := !bytes.Equal(c.pair.cert, p.cert) || !bytes.Equal(c.authority, authority)
	c.pair, c.authority, c.leaf, c.pool = p, bytes.Clone(authority), &leaf, pool
	listeners := c.listeners
	c.mu.Unlock()
	if changed {
		for _, l := range listeners {
			l.Enqueue()
		}
	}
	return nil
}

func (c *current) bundle() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.authority
}

// Name implements dynamiccertificates.CertKeyContentProvider.
func (c *current) Name() string { return "kedahttp" }

// CurrentCertKeyContent implements dynamiccertificates.CertKeyContentProvider.
func (c *current) CurrentCertKeyContent() (cert, key []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pair.cert, c.pair.key
}

// AddListener implements dynamiccertificates.Notifier.
func (c *current) AddListener(l dynamiccertificates.Listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = append(c.listeners, l)
}

// Serving is the certificate to serve with. It has none before the first Ensure.
func (m *Manager) Serving() dynamiccertificates.CertKeyContentProvider { return &m.current }

// ClientCredentials are for connections to other parts of kedahttp: they show this server's certificate and want one of the
// same authority for the name, whatever the address. Every handshake uses what is current.
func (m *Manager) ClientCredentials(serverName string) credentials.TransportCredentials {
	return &clientCredentials{current: &m.current, serverName: serverName}
}

// clientCredentials make TLS credentials anew for every handshake, because a tls.Config's authorities are fixed.
type clientCredentials struct {
	current    *current
	serverName string
}

var errClientOnly = errors.New("these credentials are for clients only")

func (c *clientCredentials) tls() (credentials.TransportCredentials, error) {
	c.current.mu.Lock()
	defer c.current.mu.Unlock()
	if c.current.leaf == nil {
		return nil, errors.New("there is no certificate yet")
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		ServerName:   c.serverName,
		RootCAs:      c.current.pool,
		Certificates: []tls.Certificate{*c.current.leaf},
	}), nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *clientCredentials) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	creds, err := c.tls()
	if err != nil {
		return nil, nil, err
	}
	return creds.ClientHandshake(ctx, c.serverName, conn)
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *clientCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errClientOnly
}

// Info implements credentials.TransportCredentials.
func (c *clientCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (c *clientCredentials) Clone() credentials.TransportCredentials {
	return &clientCredentials{current: c.current, serverName: c.serverName}
}

// OverrideServerName implements credentials.TransportCredentials.
func (c *clientCredentials) OverrideServerName(name string) error {
	c.serverName = name
	return nil
}
