package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets/secretstest"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// secured is where a world is reached with TLS, and whom to trust there.
type secured struct {
	server  *Server
	address string
	client  *tls.Config
}

// secure serves the world's apps with TLS, too.
func (w *world) secure(change ...func(*tls.Config)) secured {
	authority := secretstest.NewAuthority(w.t)
	config := &tls.Config{Certificates: []tls.Certificate{authority.Certificate("*.test")}}
	for _, c := range change {
		c(config)
	}
	server, err := NewSecureServer(w.server.handler, w.server.others, config)
	require.NoError(w.t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	w.t.Cleanup(func() {
		_ = server.Close()
		require.ErrorIs(w.t, await(w.t, served), http.ErrServerClosed)
	})
	return secured{server, listener.Addr().String(), &tls.Config{RootCAs: authority.Pool()}}
}

// over is a client that reaches any host there, by one version of HTTP.
func (s secured) over(t testing.TB, major int) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: s.client.Clone(), Protocols: new(http.Protocols), DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.address)
		},
	}
	transport.Protocols.SetHTTP1(major == 1)
	transport.Protocols.SetHTTP2(major == 2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// tunnel is where what is sent without TLS goes there with TLS. It returns its address.
func (s secured) tunnel(t testing.TB) string {
	config := s.client.Clone()
	config.ServerName = "a.test"
	return bytePod(t, func(conn net.Conn) {
		secure, err := tls.Dial("tcp", s.address, config)
		if err != nil {
			t.Errorf("dialling: %v", err)
			return
		}
		defer secure.Close() //nolint:errcheck // it has said all
		go func() {
			_, _ = io.Copy(secure, conn)
			_ = secure.CloseWrite()
		}()
		_, _ = io.Copy(conn, secure)
	})
}

func ask(t testing.TB, c *http.Client, url string) answer {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	return doWith(c, r)
}

// securePod is a pod that speaks TLS, and the versions of HTTP that it is given.
func (w *world) securePod(h http.HandlerFunc, majors ...int) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	for _, major := range majors {
		if major == 1 {
			s.Config.Protocols.SetHTTP1(true)
		} else {
			s.EnableHTTP2 = true
			s.Config.Protocols.SetHTTP2(true)
		}
	}
	s.StartTLS()
	w.t.Cleanup(func() { _ = w.server.Close(); s.CloseClientConnections(); s.Close() })
	return s
}

func TestAppsAreServedWithTLSByBothVersionsOfHTTP(t *testing.T) {
	w := newWorld(t)
	s := w.secure()
	w.app("shop")
	w.ready("shop", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, r.Host, " ", r.Header.Get("X-Forwarded-Proto"), " ", r.Header.Get("X-Forwarded-Host")) //nolint:errcheck // the test sees
	})))
	for _, major := range []int{1, 2} {
		res, err := s.over(t, major).Get("https://shop.test/")
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, major, res.ProtoMajor)
		require.Equal(t, "shop.test https shop.test", string(body))
	}
	require.Equal(t, "shop.test http shop.test", do(w.request("GET", "shop", "/", nil)).body)
	w.is("shop", 0, 0)
}

func TestGRPCPassesThroughWithTLSOnEitherSideAndOnBoth(t *testing.T) {
	w := newWorld(t)
	s := w.secure()
	pods := secretstest.NewAuthority(t)
	serve := func(options ...grpc.ServerOption) string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server := grpc.NewServer(options...)
		grpc_health_v1.RegisterHealthServer(server, health.NewServer())
		go server.Serve(listener) //nolint:errcheck // it ends when the test does
		t.Cleanup(server.Stop)
		return listener.Addr().String()
	}
	w.app("plain", func(a *v1alpha1.HTTPApp) { a.Spec.Protocol = v1alpha1.ProtocolH2C })
	w.app("secure", func(a *v1alpha1.HTTPApp) { a.Spec.Protocol = v1alpha1.ProtocolHTTPS })
	w.ready("plain", "", serve())
	certificate := pods.Certificate("anything.example")
	w.ready("secure", "", serve(grpc.Creds(credentials.NewServerTLSFromCert(&certificate))))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, app := range []string{"plain", "secure"} {
		config := s.client.Clone()
		config.ServerName = app + ".test"
		conn, err := grpc.NewClient("passthrough:///"+s.address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
		require.NoError(t, err)
		client := grpc_health_v1.NewHealthClient(conn)
		res, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		require.NoError(t, err, app)
		require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, res.GetStatus())
		_, err = client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "nobody"})
		require.ErrorContains(t, err, "NotFound", "a status in trailers only")
		stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		w.is(app, 0, 1)
		require.NoError(t, conn.Close())
		w.is(app, 0, 0)
	}
}

func TestWebSocketsPassThroughWithTLSOnEitherSideAndOnBoth(t *testing.T) {
	w := newWorld(t)
	s := w.secure()
	upgrader := websocket.Upgrader{}
	echo := func(rw http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(rw, r, nil)
		if err != nil {
			return
		}
		defer c.Close() //nolint:errcheck // the test is over
		for {
			kind, m, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, append([]byte("echo "), m...)) != nil {
				return
			}
		}
	}
	w.app("plain")
	w.app("secure", func(a *v1alpha1.HTTPApp) { a.Spec.Protocol = v1alpha1.ProtocolHTTPS })
	w.ready("plain", "", at(w.pod(echo)))
	w.ready("secure", "", at(w.securePod(echo, 1, 2))) // HTTP/2, where it is asked
	for app, schemes := range map[string][]string{"plain": {"wss"}, "secure": {"ws", "wss"}} {
		for _, scheme := range schemes {
			dialer := websocket.Dialer{TLSClientConfig: s.client.Clone(), NetDial: func(network, _ string) (net.Conn, error) {
				if scheme == "wss" {
					return net.Dial(network, s.address)
				}
				return net.Dial(network, w.address)
			}}
			c, _, err := dialer.Dial(scheme+"://"+app+".test/", nil)
			require.NoError(t, err, "%s by %s", app, scheme)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
			for _, m := range []string{"a", "b"} {
				require.NoError(t, c.WriteMessage(websocket.TextMessage, []byte(m)))
				_, got, err := c.ReadMessage()
				require.NoError(t, err)
				require.Equal(t, "echo "+m, string(got))
			}
			w.is(app, 0, 1)
			require.NoError(t, c.Close())
			w.is(app, 0, 0)
		}
	}
}

func TestPodsThatSpeakTLSAreAskedAsTheyLike(t *testing.T) {
	w := newWorld(t)
	s := w.secure()
	tells := func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(rw, r.Proto, " ", r.TLS != nil, " ", r.Header.Get("X-Forwarded-Proto"), " ", string(body)) //nolint:errcheck // the test sees
	}
	w.app("by-spec", func(a *v1alpha1.HTTPApp) { a.Spec.Protocol = v1alpha1.ProtocolHTTPS })
	w.app("by-service")
	w.ready("by-spec", "", at(w.securePod(tells, 1, 2)))
	w.ready("by-service", "https", at(w.securePod(tells, 1)))
	for app, proto := range map[string]string{"by-spec": "HTTP/2.0", "by-service": "HTTP/1.1"} {
		for range 2 {
			plain := do(w.request("POST", app, "/", strings.NewReader("body")))
			require.NoError(t, plain.err)
			require.Equal(t, proto+" true http body", plain.body)
			secure := ask(t, s.over(t, 2), "https://"+app+".test/")
			require.NoError(t, secure.err)
			require.Equal(t, proto+" true https ", secure.body)
		}
		w.is(app, 0, 0)
	}
}

// A pod with which TLS does not come about has got nothing of the request: it is as one that cannot be connected to.
func TestAPodThatSpeaksNoTLSIsLeftOutAndLosesNoRequest(t *testing.T) {
	w := newWorld(t)
	w.app("shop", func(a *v1alpha1.HTTPApp) { a.Spec.Protocol = v1alpha1.ProtocolHTTPS })
	recorded := &recorder{}
	plain, secure := at(w.pod(recorded.ServeHTTP)), at(w.securePod(recorded.ServeHTTP, 1))
	w.ready("shop", "", plain, secure)
	w.eventually("both are there", func() bool { return w.backend("shop").Pods.Ready() == 2 })
	for range 20 {
		a := do(w.request("POST", "shop", "/", strings.NewReader("body")))
		require.NoError(t, a.err)
		require.Equal(t, 200, a.status, a.body)
	}
	require.Len(t, recorded.got(), 20)
	w.is("shop", 0, 0)
}

func TestTheProbesConnectionServesTheFirstRequestAlsoWithTLS(t *testing.T) {
	w := newWorld(t)
	w.app("shop", func(a *v1alpha1.HTTPApp) { a.Spec.Protocol = v1alpha1.ProtocolHTTPS })
	connections := make(chan string, 1000)
	pod := w.securePod(func(_ http.ResponseWriter, r *http.Request) { connections <- r.RemoteAddr }, 1, 2)
	first := background(w.request("GET", "shop", "/", nil))
	w.is("shop", 1, 0)
	w.fresh("shop", "shop-1", at(pod), func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe.HTTPGet.Scheme = corev1.URISchemeHTTPS
	})
	require.Equal(t, 200, await(t, first).status)
	require.Equal(t, await(t, connections), await(t, connections))
}

// having are the apps that have a certificate.
type having struct{ not atomic.Bool }

func (h *having) Has(types.NamespacedName) bool { return !h.not.Load() }

func TestRequestsWithoutTLSAreSentToHTTPSWhenTheAppWantsIt(t *testing.T) {
	certificates := &having{}
	w := newWorld(t, func(c *Config) {
		c.Certificates, c.PublicTLSPort = certificates, 8443
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	})
	s := w.secure()
	w.app("shop", func(a *v1alpha1.HTTPApp) { a.Spec.TLS = &v1alpha1.TLS{SecretName: "x", Redirect: true} })
	w.app("both", func(a *v1alpha1.HTTPApp) { a.Spec.TLS = &v1alpha1.TLS{SecretName: "x"} })
	plain := &http.Client{Transport: &http.Transport{}, CheckRedirect: s.over(t, 1).CheckRedirect}
	t.Cleanup(plain.CloseIdleConnections)
	for _, client := range []*http.Client{plain, {Transport: h2cClient(t).Transport, CheckRedirect: plain.CheckRedirect}} {
		for path, location := range map[string]string{
			"/": "https://shop.test:8443/", "/a%2Fb/?x=1&y=%20": "https://shop.test:8443/a%2Fb/?x=1&y=%20", "//evil.example/": "https://shop.test:8443//evil.example/",
		} {
			r := w.request("POST", "shop", "/", strings.NewReader("body"))
			r.Host = "Shop.test:8080"
			var err error
			r.URL, err = r.URL.Parse("http://" + w.address + path)
			require.NoError(t, err)
			a := doWith(client, r)
			require.NoError(t, a.err)
			require.Equal(t, http.StatusPermanentRedirect, a.status)
			require.Equal(t, location, a.header.Get("Location"))
			require.Contains(t, a.body, "default/shop is served with TLS")
		}
	}
	require.Zero(t, w.counts("shop").Read().Requests, "a redirect wakes nobody")

	// Others are served.
	w.ready("shop", "", at(w.pod(func(http.ResponseWriter, *http.Request) {})))
	w.ready("both", "", at(w.pod(func(http.ResponseWriter, *http.Request) {})))
	require.Equal(t, 200, ask(t, s.over(t, 1), "https://shop.test/").status)
	require.Equal(t, 200, do(w.request("GET", "both", "/", nil)).status)
	for from, status := range map[string]int{"127.0.0.1": http.StatusPermanentRedirect, "127.0.0.2": http.StatusOK} {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := dialer.Dial("tcp", w.address)
		require.NoError(t, err)
		defer conn.Close() //nolint:errcheck // the test is over
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-Proto: https\r\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, status, res.StatusCode, from)
	}
	// Without a certificate nobody would answer there.
	certificates.not.Store(true)
	require.Equal(t, 200, doWith(plain, w.request("GET", "shop", "/", nil)).status)
}

// Most requests with TLS are answered in place, as those without are; what is not goes on with TLS elsewhere.
func TestRequestsWithTLSAreAnsweredInPlace(t *testing.T) {
	w := newWorld(t)
	s := w.secure()
	w.app("a")
	large := strings.Repeat("x", 300<<10)
	w.ready("a", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		fmt.Fprint(rw, r.Header.Get("X-Forwarded-Proto"), len(body)) //nolint:errcheck // the test sees
		if r.URL.Path == "/large" {
			fmt.Fprint(rw, large) //nolint:errcheck // the test sees
		}
	})))
	client := s.over(t, 1)
	inPlace := func() int {
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		return len(s.server.guests)
	}
	post := func(path, body string, change ...func(*http.Request)) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://a.test"+path, io.MultiReader(strings.NewReader(body)))
		require.NoError(t, err)
		for _, c := range change {
			c(r)
		}
		a := doWith(client, r)
		require.NoError(t, a.err)
		require.Equal(t, 200, a.status, a.body)
		return a.body
	}
	require.Equal(t, "https5", post("/", "hello"))
	require.Equal(t, "https307200", post("/", large))
	require.Equal(t, "https5"+large, post("/large", "hello"))
	require.Equal(t, 1, inPlace(), "all on one connection")
	// net/http has it from here on.
	require.Equal(t, "https5", post("/", "hello", func(r *http.Request) { r.Header.Set("Expect", "100-continue") }))
	require.Zero(t, inPlace())
	require.Equal(t, "https5", post("/", "hello"))
	w.is("a", 0, 0)
}

func TestAClientThatLeavesOnTLSIsForgottenAtOnce(t *testing.T) {
	w := newWorld(t)
	s := w.secure()
	w.app("shop")
	config := s.client.Clone()
	config.ServerName = "shop.test"
	for range 2 {
		conn, err := tls.Dial("tcp", s.address, config)
		require.NoError(t, err)
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
		require.NoError(t, err)
		w.is("shop", 1, 0)
		require.NoError(t, conn.Close())
		w.is("shop", 0, 0)
	}
}

func TestWhoSpeaksNoTLSIsToldSo(t *testing.T) {
	s := newWorld(t).secure()
	conn, err := net.Dial("tcp", s.address)
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // the test is over
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, res.StatusCode)
}

// HTTP/2 asks for cipher suites that an administrator may have left out: it does without, or is not spoken, and all else is.
func TestAServerStartsWithCipherSuitesThatHTTP2DoesNotKnow(t *testing.T) {
	w := newWorld(t)
	s := w.secure(func(c *tls.Config) {
		c.CipherSuites, c.MaxVersion = []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}, tls.VersionTLS12
	})
	w.app("shop")
	w.ready("shop", "", at(w.pod(func(http.ResponseWriter, *http.Request) {})))
	for _, major := range []int{1, 2} {
		a := ask(t, s.over(t, major), "https://shop.test/")
		require.NoError(t, a.err)
		require.Equal(t, 200, a.status)
	}
}

func TestARedirectLeavesOutThePortThatIsTheDefault(t *testing.T) {
	h := &Handler{config: Config{PublicTLSPort: 443}}
	for host, location := range map[string]string{"shop.test": "https://shop.test/x?y", "shop.test:80": "https://shop.test/x?y", "[2001:db8::1]:80": "https://[2001:db8::1]/x?y"} {
		r := httptest.NewRequest("GET", "/x?y", nil)
		r.Host = host
		require.Equal(t, location, h.redirect(r, types.NamespacedName{}).location)
	}
	h.config.PublicTLSPort = 8443
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = "[2001:db8::1]"
	require.Equal(t, "https://[2001:db8::1]:8443/", h.redirect(r, types.NamespacedName{}).location)
}
