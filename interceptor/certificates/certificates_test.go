package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets/secretstest"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/recall"
	"github.com/kedahttp/kedahttp/interceptor/routing"
)

const patience = 30 * time.Second

// world is apps, their Secrets and a server that says hello with their certificates and then repeats what it is told.
type world struct {
	*Certificates
	t         *testing.T
	client    *fake.Clientset
	apps      *fcache.FakeControllerSource
	table     *routing.Table[struct{}]
	authority *secretstest.Authority
	address   string
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	w := &world{
		t: t, client: fake.NewClientset(), apps: fcache.NewFakeControllerSource(), authority: secretstest.NewAuthority(t),
		table: routing.NewTable[struct{}](),
	}
	config := Config{
		SecretsOf: secretstest.Of(w.client), Apps: cache.NewSharedIndexInformer(w.apps, &v1alpha1.HTTPApp{}, 0, cache.Indexers{}), Owner: w.table.HostOwner,
		Routed:     closed(),
		MinVersion: tls.VersionTLS12,
	}
	for _, c := range change {
		c(&config)
	}
	var err error
	w.Certificates, err = New(config)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- w.Run(ctx) }()
	go func() { config.Apps.RunWithContext(ctx); ended <- nil }()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", w.TLS())
	require.NoError(t, err)
	w.address = listener.Addr().String()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // it has said all
				if _, err := conn.Write([]byte("hello")); err == nil {
					_, _ = io.Copy(conn, conn)
				}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
	})
	w.eventually("it is ready", w.Ready)
	return w
}

func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	require.Eventually(w.t, is, patience, time.Millisecond, what)
}

// app makes an app with a route for each host and the Secret that it names, if any.
func (w *world) app(name, secret string, hosts ...string) {
	a := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{{Hosts: hosts}}},
	}
	if secret != "" {
		a.Spec.TLS = &v1alpha1.TLS{SecretName: secret}
	}
	w.table.Set(a, make([]struct{}, len(a.Spec.Routes)))
	w.apps.Add(a)
}

func named(app string) types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: app}
}

// served makes an app with a certificate of its own and waits until it has it.
func (w *world) served(name string, hosts ...string) {
	w.t.Helper()
	w.create(w.authority.Secret("default", name, hosts...))
	w.app(name, name, hosts...)
	w.eventually(name+" has its certificate", func() bool { return w.Has(named(name)) })
}

func (w *world) create(s *corev1.Secret) {
	w.t.Helper()
	_, err := w.client.CoreV1().Secrets(s.Namespace).Create(w.t.Context(), s, metav1.CreateOptions{})
	require.NoError(w.t, err)
}

// dial connects for a host and reads the hello, with which session tickets arrive.
func (w *world) dial(host string, change ...func(*tls.Config)) (*tls.Conn, error) {
	config := &tls.Config{ServerName: host, RootCAs: w.authority.Pool()}
	for _, c := range change {
		c(config)
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", w.address, config)
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(w.t, conn.SetDeadline(time.Now().Add(patience)))
	return conn, echo(conn, "", "hello")
}

func echo(conn *tls.Conn, say, hear string) error {
	if _, err := io.WriteString(conn, say); err != nil {
		return err
	}
	heard := make([]byte, len(hear))
	_, err := io.ReadFull(conn, heard)
	return err
}

func (w *world) names(host string) []string {
	w.t.Helper()
	conn, err := w.dial(host)
	require.NoError(w.t, err)
	return conn.ConnectionState().PeerCertificates[0].DNSNames
}

func TestAClientGetsTheCertificateOfTheAppWhoseTheHostIs(t *testing.T) {
	w := newWorld(t)
	w.served("shop", "shop.test")
	w.served("wild", "*.test")
	w.served("deep", "*.deep.test")
	require.Equal(t, []string{"shop.test"}, w.names("shop.test"))
	require.Equal(t, []string{"shop.test"}, w.names("SHOP.test"))
	require.Equal(t, []string{"*.test"}, w.names("cart.test"))
	require.Equal(t, []string{"*.deep.test"}, w.names("a.deep.test"))
	require.Equal(t, []string{"*.test"}, w.names("deep.test"))

	// A host belongs to one app, whatever certificates others have.
	w.app("plain", "", "plain.test")
	w.create(w.authority.Secret("default", "thief", "shop.test", "own.test"))
	w.app("thief", "thief", "own.test", "shop.test")
	w.eventually("the thief has its certificate", func() bool { return w.Has(named("thief")) })
	require.Equal(t, []string{"shop.test", "own.test"}, w.names("own.test"))
	require.Equal(t, []string{"shop.test"}, w.names("shop.test"))
	for _, host := range []string{"plain.test", "shop.example", ""} {
		_, err := w.dial(host, func(c *tls.Config) { c.InsecureSkipVerify = true })
		require.ErrorContains(t, err, "unrecognized name", "%q", host)
	}
}

func TestADefaultCertificateIsForAllOtherHosts(t *testing.T) {
	dir := t.TempDir()
	other := secretstest.NewAuthority(t)
	write := func(names ...string) {
		s := other.Secret("", "", names...)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "crt"), s.Data[corev1.TLSCertKey], 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "key"), s.Data[corev1.TLSPrivateKeyKey], 0o600))
	}
	write("default.test")
	w := newWorld(t, func(c *Config) { c.DefaultCert, c.DefaultKey = filepath.Join(dir, "crt"), filepath.Join(dir, "key") })
	w.served("shop", "shop.test")
	w.app("broken", "nothing", "broken.test")
	w.app("plain", "", "plain.test")
	require.Equal(t, []string{"shop.test"}, w.names("shop.test"))
	for _, host := range []string{"broken.test", "plain.test", "else.test", ""} {
		conn, err := w.dial(host, func(c *tls.Config) { c.InsecureSkipVerify = true })
		require.NoError(t, err)
		require.Equal(t, []string{"default.test"}, conn.ConnectionState().PeerCertificates[0].DNSNames)
	}
	_, err := New(Config{SecretsOf: secretstest.Of(w.client), DefaultCert: filepath.Join(dir, "none"), DefaultKey: filepath.Join(dir, "key")})
	require.ErrorContains(t, err, "reading the default certificate")
}

func TestAChangedSecretIsForTheNextConnectionAndTakesNoneAway(t *testing.T) {
	w := newWorld(t)
	w.served("shop", "shop.test")
	open, err := w.dial("shop.test")
	require.NoError(t, err)
	before := open.ConnectionState().PeerCertificates[0]
	_, err = w.client.CoreV1().Secrets("default").Update(t.Context(), w.authority.Secret("default", "shop", "shop.test"), metav1.UpdateOptions{})
	require.NoError(t, err)
	w.eventually("the next one has another", func() bool {
		conn, err := w.dial("shop.test")
		require.NoError(t, err)
		return !conn.ConnectionState().PeerCertificates[0].Equal(before)
	})
	require.NoError(t, echo(open, "still there?", "still there?"))
}

func TestASessionGoesOnForItsHostAsLongAsThatHasACertificate(t *testing.T) {
	w := newWorld(t)
	w.served("shop", "shop.test")
	w.served("cart", "cart.test")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		sessions := tls.NewLRUClientSessionCache(0)
		dial := func(host string) (*tls.Conn, error) {
			return w.dial(host, func(c *tls.Config) { c.MinVersion, c.MaxVersion, c.ClientSessionCache = version, version, sessions })
		}
		first, err := dial("shop.test")
		require.NoError(t, err)
		require.False(t, first.ConnectionState().DidResume)
		second, err := dial("shop.test")
		require.NoError(t, err)
		require.True(t, second.ConnectionState().DidResume)

		// A client that takes a session for another host's begins a new one.
		sessions.Put("cart.test", mustGet(t, sessions, "shop.test"))
		crossed, err := w.dial("cart.test", func(c *tls.Config) {
			c.MinVersion, c.MaxVersion, c.ClientSessionCache = version, version, sessions
			// It would not, by itself, because the session's certificate is not for that host.
			c.InsecureSkipVerify = true
		})
		require.NoError(t, err)
		require.False(t, crossed.ConnectionState().DidResume)
		require.Equal(t, []string{"cart.test"}, crossed.ConnectionState().PeerCertificates[0].DNSNames)

		if version == tls.VersionTLS13 {
			require.NoError(t, w.client.CoreV1().Secrets("default").Delete(t.Context(), "shop", metav1.DeleteOptions{}))
			w.eventually("it has none any more", func() bool { return !w.Has(named("shop")) })
			_, err = dial("shop.test")
			require.ErrorContains(t, err, "unrecognized name")
		}
	}
}

func mustGet(t *testing.T, sessions tls.ClientSessionCache, host string) *tls.ClientSessionState {
	state, ok := sessions.Get(host)
	require.True(t, ok)
	return state
}

func TestVersionsAndCiphersAreThoseThatWereAllowed(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256} })
	w.served("shop", "shop.test")
	at := func(version uint16, ciphers ...uint16) error {
		_, err := w.dial("shop.test", func(c *tls.Config) { c.MinVersion, c.MaxVersion, c.CipherSuites = version, version, ciphers })
		return err
	}
	require.ErrorContains(t, at(tls.VersionTLS11), "protocol version")
	require.NoError(t, at(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256))
	require.ErrorContains(t, at(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), "handshake failure")
	require.NoError(t, at(tls.VersionTLS13))

	strict := newWorld(t, func(c *Config) { c.MinVersion = tls.VersionTLS13 })
	strict.served("shop", "shop.test")
	_, err := strict.dial("shop.test", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	require.ErrorContains(t, err, "protocol version")
}

func TestOneAppsBrokenSecretIsNoOtherAppsTrouble(t *testing.T) {
	w := newWorld(t)
	broken := w.authority.Secret("default", "broken", "broken.test")
	broken.Data[corev1.TLSCertKey] = []byte("no certificate")
	w.create(broken)
	w.app("broken", "broken", "broken.test")
	w.served("shop", "shop.test")
	require.Equal(t, []string{"shop.test"}, w.names("shop.test"))
	_, err := w.dial("broken.test")
	require.ErrorContains(t, err, "unrecognized name")

	// It is mended.
	_, err = w.client.CoreV1().Secrets("default").Update(t.Context(), w.authority.Secret("default", "broken", "broken.test"), metav1.UpdateOptions{})
	require.NoError(t, err)
	w.eventually("it is served", func() bool {
		_, err := w.dial("broken.test")
		return err == nil
	})

	// An app that does not want TLS any more.
	w.app("shop", "", "shop.test")
	w.eventually("it has no certificate", func() bool { return !w.Has(named("shop")) })
}

func TestItIsReadyWithoutTheClustersAPIWhenTheRoutesAreKnownFromBefore(t *testing.T) {
	routed := make(chan struct{})
	apps := cache.NewSharedIndexInformer(fcache.NewFakeControllerSource(), &v1alpha1.HTTPApp{}, 0, cache.Indexers{}) // it does not run
	c, err := New(Config{SecretsOf: secretstest.Of(fake.NewClientset()), Apps: apps, Routed: routed})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	require.Never(t, c.Ready, 50*time.Millisecond, 10*time.Millisecond, "nothing is known")
	close(routed)
	require.Eventually(t, c.Ready, patience, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}

func TestCertificatesAreServedByAStartWithoutTheClustersAPI(t *testing.T) {
	path := filepath.Join(t.TempDir(), "known.json")
	var kept atomic.Int64
	w := newWorld(t, func(c *Config) { c.Recall, c.Keep = &recall.File{Path: path}, func() { kept.Add(1) } })
	w.served("shop", "shop.test")
	require.Positive(t, kept.Load())
	before, after := recall.File{Path: path, Secrets: w.Known}, &recall.File{Path: path}
	once, cancel := context.WithCancel(t.Context())
	cancel()
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	before.Keep(once, nil, store, store)
	known, err := after.Read()
	require.NoError(t, err)
	require.Len(t, known.Secrets, 1)

	away := fake.NewClientset()
	away.PrependReactor("*", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API is away")
	})
	away.PrependWatchReactor("secrets", func(clienttesting.Action) (bool, watch.Interface, error) {
		return true, nil, errors.New("the API is away")
	})
	apps := cache.NewSharedIndexInformer(fcache.NewFakeControllerSource(), &v1alpha1.HTTPApp{}, 0, cache.Indexers{}) // it does not run
	for _, name := range []string{"shop", "other"} {
		require.NoError(t, apps.GetIndexer().Add(&v1alpha1.HTTPApp{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: v1alpha1.HTTPAppSpec{TLS: &v1alpha1.TLS{SecretName: name}},
		}))
	}
	c, err := New(Config{SecretsOf: secretstest.Of(away), Apps: apps, Owner: w.table.HostOwner, Routed: closed(), Recall: after, Keep: func() {}})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	require.Eventually(t, c.Ready, patience, time.Millisecond)
	require.True(t, c.Has(named("shop")))
	require.False(t, c.Has(named("other")))
	hello := &tls.ClientHelloInfo{ServerName: "shop.test"}
	require.Equal(t, w.find(hello).Certificate, c.find(hello).Certificate)
	c.watcher.Set(named("shop"), "")
	c.watcher.Set(named("shop"), "shop")
	require.False(t, c.Has(named("shop")), "what was known before the start is for the apps as they were then")
	stop()
	require.NoError(t, <-ended)
}

func TestAClientWhoDoesNotTrustTheAuthorityIsTheClientsAffair(t *testing.T) {
	w := newWorld(t)
	w.served("shop", "shop.test")
	_, err := w.dial("shop.test", func(c *tls.Config) { c.RootCAs = x509.NewCertPool() })
	require.Error(t, err)
	require.True(t, strings.Contains(err.Error(), "unknown authority"), err)
	require.Equal(t, []string{"shop.test"}, w.names("shop.test"))
}
