package command

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets/secretstest"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// patience is far above what anything here takes.
const patience = 30 * time.Second

// within is a test's context, which ends when its patience does.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// serving is a scaler that runs, of a cluster without apps.
type serving struct {
	address, admin string
	requests       *listener
	// end asks it to end, ended has what became of it.
	end   context.CancelFunc
	ended chan error
}

// listener breaks off, when it is killed, what it accepted.
type listener struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, conn)
		l.mu.Unlock()
	}
	return conn, err
}

// kill ends the scaler for KEDA as a crash would.
func (s *serving) kill() {
	_ = s.requests.Close()
	s.requests.mu.Lock()
	defer s.requests.mu.Unlock()
	for _, conn := range s.requests.conns {
		_ = conn.Close()
	}
}

func serve(t *testing.T, change func(*Options)) *serving {
	return serveCounts(t, cachetesting.NewFakeControllerSource(), change)
}

// serveCounts is a scaler that is told of the counts of these interceptors.
func serveCounts(t *testing.T, interceptors cache.ListerWatcher, change func(*Options)) *serving {
	o := &Options{ActiveFor: time.Second, CountsGrace: time.Second, MaxStreams: 10, stopWithin: time.Hour}
	change(o)
	apps := cachetesting.NewFakeControllerSource()
	collector, err := queue.NewCollector(queue.CollectorConfig{Interceptors: interceptors, Credentials: insecure.NewCredentials()})
	require.NoError(t, err)
	accepting, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	requests := &listener{Listener: accepting}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	s := &serving{address: requests.Addr().String(), admin: admin.Addr().String(), requests: requests, end: cancel, ended: make(chan error, 1)}
	go func() {
		s.ended <- o.serve(ctx, requests, admin, nil, cache.NewSharedIndexInformer(apps, &v1alpha1.HTTPApp{}, 0, cache.Indexers{}), collector)
	}()
	t.Cleanup(func() { cancel(); <-s.ended })
	return s
}

func dial(t *testing.T, address string, creds credentials.TransportCredentials) *grpc.ClientConn {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func healthy(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	require.Eventually(t, func() bool {
		res, err := grpc_health_v1.NewHealthClient(conn).Check(within(t), &grpc_health_v1.HealthCheckRequest{})
		return err == nil && res.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING
	}, patience, 10*time.Millisecond)
}

func TestHealthAndReflectionAreServedAndStreamsEndWithoutAnError(t *testing.T) {
	s := serve(t, func(*Options) {})
	conn := dial(t, s.address, insecure.NewCredentials())
	healthy(t, conn)
	res, err := (&http.Client{Timeout: patience}).Get("http://" + s.admin + "/readyz")
	require.NoError(t, err)
	_ = res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)

	reflected, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(within(t))
	require.NoError(t, err)
	require.NoError(t, reflected.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}))
	list, err := reflected.Recv()
	require.NoError(t, err)
	var services []string
	for _, service := range list.GetListServicesResponse().GetService() {
		services = append(services, service.GetName())
	}
	require.Contains(t, services, "externalscaler.ExternalScaler")
	require.NoError(t, reflected.CloseSend())

	// KEDA's stream ends with OK, on which KEDA opens another one at once.
	stream, err := externalscaler.NewExternalScalerClient(conn).StreamIsActive(within(t), &externalscaler.ScaledObjectRef{Name: "so", Namespace: "default", ScalerMetadata: map[string]string{"httpApp": "shop"}})
	require.NoError(t, err)
	s.end()
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
	select {
	case err := <-s.ended:
		require.NoError(t, err)
		s.ended <- nil
	case <-time.After(patience):
		t.Fatal("the scaler does not end")
	}
}

// Whoever opens streams without end keeps nobody from asking.
func TestAsManyStreamsAsThereMayBeLeaveRoomForQuestions(t *testing.T) {
	s := serve(t, func(o *Options) { o.MaxStreams = 3 })
	first, second := dial(t, s.address, insecure.NewCredentials()), dial(t, s.address, insecure.NewCredentials())
	ref := &externalscaler.ScaledObjectRef{Name: "so", Namespace: "default", ScalerMetadata: map[string]string{"httpApp": "shop"}}
	open := func(conn *grpc.ClientConn) error {
		stream, err := externalscaler.NewExternalScalerClient(conn).StreamMetricSpec(within(t), ref)
		require.NoError(t, err)
		_, err = stream.Recv()
		return err
	}
	require.NoError(t, open(first))
	require.NoError(t, open(first))
	require.NoError(t, open(second))
	for _, conn := range []*grpc.ClientConn{first, second} {
		require.Equal(t, codes.ResourceExhausted, status.Code(open(conn)))
		_, err := externalscaler.NewExternalScalerClient(conn).GetMetricSpec(within(t), ref)
		require.NoError(t, err)
	}
	require.NoError(t, first.Close())
	require.Eventually(t, func() bool { return open(second) == nil }, patience, 10*time.Millisecond)
	// There was room when one of those that were closed had ended.
	require.Eventually(t, func() bool {
		res, err := (&http.Client{Timeout: patience}).Get("http://" + s.admin + "/metrics")
		require.NoError(t, err)
		defer res.Body.Close() //nolint:errcheck // only read
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Contains(t, string(text), "kedahttp_scaler_calls_refused_total ")
		return strings.Contains(string(text), "kedahttp_scaler_streams 2\n")
	}, patience, 10*time.Millisecond, "two streams are left")
}

func TestACallThatDoesNotEndDoesNotKeepTheScalerFromEnding(t *testing.T) {
	s := serve(t, func(o *Options) { o.stopWithin = time.Millisecond })
	conn := dial(t, s.address, insecure.NewCredentials())
	healthy(t, conn)
	stream, err := grpc_health_v1.NewHealthClient(conn).Watch(within(t), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	s.end()
	select {
	case err := <-s.ended:
		require.NoError(t, err)
		s.ended <- nil
	case <-time.After(patience):
		t.Fatal("the scaler does not end")
	}
}

func TestKEDAIsServedWithTLSAndWhoHasNoCertificateIsNot(t *testing.T) {
	servers, clients := secretstest.NewAuthority(t), secretstest.NewAuthority(t)
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	secret := servers.Secret("keda", "scaler", "scaler.example.com")
	cert, key := write("tls.crt", secret.Data["tls.crt"]), write("tls.key", secret.Data["tls.key"])
	trusting := func(with ...tls.Certificate) credentials.TransportCredentials {
		return credentials.NewTLS(&tls.Config{RootCAs: servers.Pool(), ServerName: "scaler.example.com", Certificates: with})
	}
	check := func(conn *grpc.ClientConn) error {
		_, err := externalscaler.NewExternalScalerClient(conn).GetMetricSpec(within(t), &externalscaler.ScaledObjectRef{Name: "so", Namespace: "default", ScalerMetadata: map[string]string{"httpApp": "shop"}})
		return err
	}

	s := serve(t, func(o *Options) { o.KEDACert, o.KEDAKey = cert, key })
	require.NoError(t, check(dial(t, s.address, trusting())))
	require.Error(t, check(dial(t, s.address, insecure.NewCredentials())))

	s = serve(t, func(o *Options) { o.KEDACert, o.KEDAKey, o.KEDAClientCA = cert, key, write("ca.crt", clients.PEM()) })
	require.Error(t, check(dial(t, s.address, trusting())), "without a certificate")
	pair := func(a *secretstest.Authority) tls.Certificate {
		secret := a.Secret("keda", "operator", "keda")
		pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
		require.NoError(t, err)
		return pair
	}
	require.Error(t, check(dial(t, s.address, trusting(pair(servers)))), "with one of another authority")
	require.NoError(t, check(dial(t, s.address, trusting(pair(clients)))))
}

func TestHalfOfACertificateIsRefused(t *testing.T) {
	for what, o := range map[string]*Options{
		"no key":      {KEDACert: "a"},
		"no file":     {KEDACert: "a", KEDAKey: "b"},
		"a client CA": {KEDAClientCA: "c"},
	} {
		_, err := o.credentials()
		require.ErrorContains(t, err, "--keda-tls-", what)
	}
}
