package coldstart

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func httpGet(path string, port any) corev1.ProbeHandler {
	p := intstr.FromString("")
	switch port := port.(type) {
	case int:
		p = intstr.FromInt32(int32(port))
	case string:
		p = intstr.FromString(port)
	}
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: p}}
}

func container(name string, handler *corev1.ProbeHandler, change ...func(*corev1.Container)) corev1.Container {
	c := corev1.Container{Name: name, Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}}
	if handler != nil {
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: *handler, PeriodSeconds: 10, TimeoutSeconds: 1, SuccessThreshold: 1}
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func podOf(containers ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: containers}}
}

func TestWhatAPodIsAsked(t *testing.T) {
	get, tcp := httpGet("/ok", "web"), corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("9090")}}
	health := corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 7070}}
	sidecar := func(c *corev1.Container) { c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways) }
	for what, c := range map[string]struct {
		pod *corev1.Pod
		// ports that are asked; not any of the pod when it is the kubelet's.
		ports    []int
		connect  bool
		kubelets string
	}{
		"a port by its name":             {pod: podOf(container("a", &get)), ports: []int{8080}},
		"a port as a string of a number": {pod: podOf(container("a", &tcp)), ports: []int{9090}},
		"gRPC":                           {pod: podOf(container("a", &health)), ports: []int{7070}},
		"each container":                 {pod: podOf(container("a", &get), container("b", &tcp)), ports: []int{8080, 9090}},
		"no probe":                       {pod: podOf(container("a", nil)), connect: true},
		"one container without":          {pod: podOf(container("a", &get), container("b", nil)), ports: []int{8080}, connect: true},
		"a sidecar's": {pod: &corev1.Pod{Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{container("i", nil, func(c *corev1.Container) { c.StartupProbe = &corev1.Probe{} }, sidecar)}, Containers: []corev1.Container{container("a", &get)},
		}}, kubelets: "container i has a startup probe"},
		"a sidecar without": {pod: &corev1.Pod{Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{container("i", nil, sidecar)}, Containers: []corev1.Container{container("a", &get)},
		}}, ports: []int{8080}},
		"not what ends before": {pod: &corev1.Pod{Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{container("i", &tcp)}, Containers: []corev1.Container{container("a", &get)},
		}}, ports: []int{8080}},
		"no port of that name": {pod: podOf(container("a", ptr.To(httpGet("/", "other")))), kubelets: "asks port other"},
		"another host":         {pod: podOf(container("a", ptr.To(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: "127.0.0.1", Port: intstr.FromInt32(1)}}))), kubelets: "asks host 127.0.0.1"},
		"a command":            {pod: podOf(container("a", &corev1.ProbeHandler{Exec: &corev1.ExecAction{}})), kubelets: "a command"},
		"a startup probe":      {pod: podOf(container("a", &get, func(c *corev1.Container) { c.StartupProbe = &corev1.Probe{ProbeHandler: get} })), kubelets: "startup"},
		"a hook": {pod: podOf(container("a", &get, func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{}}
		})), kubelets: "postStart"},
		"more than once":           {pod: podOf(container("a", &get, func(c *corev1.Container) { c.ReadinessProbe.SuccessThreshold = 2 })), kubelets: "more than once"},
		"an answer before delay":   {pod: podOf(container("a", &get, func(c *corev1.Container) { c.ReadinessProbe.InitialDelaySeconds = 5 })), ports: []int{8080}},
		"a connection after it":    {pod: podOf(container("a", &tcp, func(c *corev1.Container) { c.ReadinessProbe.InitialDelaySeconds = 5 })), kubelets: "after a delay"},
		"gates":                    {pod: &corev1.Pod{Spec: corev1.PodSpec{ReadinessGates: []corev1.PodReadinessGate{{ConditionType: "x"}}}}, kubelets: "gates"},
		"the node's own addresses": {pod: &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: true}}, kubelets: "node's"},
	} {
		t.Run(what, func(t *testing.T) {
			p, err := planOf(c.pod)
			if c.kubelets != "" {
				require.ErrorContains(t, err, c.kubelets)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.ports, p.ports)
			require.Equal(t, c.connect, p.connect)
		})
	}
}

// portOf splits a server's address.
func portOf(t *testing.T, address string) int {
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	return n
}

func ask(t *testing.T, handler corev1.ProbeHandler, address string) error {
	p, err := planOf(podOf(container("a", &handler)))
	require.NoError(t, err)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return NewProber(nil, transport, transport).ask(ctx, p, address)
}

func TestAnHTTPProbeIsTheKubelets(t *testing.T) {
	var seen *http.Request
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(_ http.ResponseWriter, r *http.Request) { seen = r })
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/bad", http.StatusFound) })
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://example.invalid/", http.StatusFound)
	})
	mux.HandleFunc("/around", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/around", http.StatusFound) })
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat("x", 100<<10))) })
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	for _, s := range []*httptest.Server{plain, secure} {
		at := s.Listener.Addr().String()
		get := func(path string) corev1.ProbeHandler {
			h := httpGet(path, portOf(t, at))
			if s == secure {
				h.HTTPGet.Scheme = corev1.URISchemeHTTPS
			}
			return h
		}
		ok := get("/ok?a=b")
		ok.HTTPGet.HTTPHeaders = []corev1.HTTPHeader{{Name: "Host", Value: "shop.test"}, {Name: "x-a", Value: "1"}, {Name: "x-a", Value: "2"}}
		require.NoError(t, ask(t, ok, at))
		require.Equal(t, "shop.test", seen.Host)
		require.Equal(t, "a=b", seen.URL.RawQuery)
		require.Equal(t, []string{"1", "2"}, seen.Header["X-A"])
		require.Equal(t, userAgent, seen.UserAgent())
		require.Equal(t, "*/*", seen.Header.Get("Accept"))
		ok.HTTPGet.HTTPHeaders = []corev1.HTTPHeader{{Name: "User-Agent", Value: "me"}, {Name: "Accept", Value: ""}}
		require.NoError(t, ask(t, ok, at))
		require.Equal(t, "me", seen.UserAgent())
		require.NotContains(t, seen.Header, "Accept")
		require.NoError(t, ask(t, get("/long"), at))
		require.NoError(t, ask(t, get("/elsewhere"), at), "a redirect to another host is not followed, and is well")
		require.ErrorContains(t, ask(t, get("/here"), at), "503", "one to the same host is")
		require.ErrorContains(t, ask(t, get("/around"), at), "10 redirects")
		require.ErrorContains(t, ask(t, get("/bad"), at), "503")
		require.ErrorContains(t, ask(t, get("/none"), at), "404")
	}
}

func TestAGRPCProbeAsksForTheServicesHealth(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s, state := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(s, state)
	go func() { _ = s.Serve(l) }()
	defer s.Stop()
	at := l.Addr().String()
	probe := corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(portOf(t, at))}}
	require.NoError(t, ask(t, probe, at))
	probe.GRPC.Service = ptr.To("shop")
	require.Error(t, ask(t, probe, at), "nobody knows it")
	state.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	require.ErrorContains(t, ask(t, probe, at), "NOT_SERVING")
	state.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
	require.NoError(t, ask(t, probe, at))
}

func TestAConnectionIsASignAndNoneIsNone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := l.Addr().String()
	probe := corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(portOf(t, at)))}}
	none := &plan{connect: true}
	prober := NewProber(nil, nil, nil)
	require.NoError(t, ask(t, probe, at))
	require.NoError(t, prober.ask(t.Context(), none, at))
	require.NoError(t, l.Close())
	require.Error(t, ask(t, probe, at))
	err = prober.ask(t.Context(), none, at)
	require.Error(t, err)

	p := newPatience(time.Second)
	p.learn(err, false, 70*time.Millisecond)
	require.Equal(t, 350*time.Millisecond, p.now, "a refusal says how far the pod is")
}

func TestAnAttemptMayTakeLongerAfterOneThatTookTooLong(t *testing.T) {
	p := newPatience(3 * time.Second)
	var got []time.Duration
	for range 8 {
		got = append(got, p.now)
		p.learn(errors.New("it took too long"), true, p.now)
	}
	ms := time.Millisecond
	require.Equal(t, []time.Duration{50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3000 * ms, 3000 * ms}, got)
}

func TestAttemptsComeOftenAtFirst(t *testing.T) {
	ms := time.Millisecond
	require.Equal(t, 10*ms, pause(0, 1))
	require.Equal(t, 10*ms, pause(200*ms, 8))
	require.Equal(t, 20*ms, pause(0, 9), "many share")
	require.Equal(t, 50*ms, pause(time.Second, 1))
	require.Equal(t, 250*ms, pause(time.Hour, 1))
}
