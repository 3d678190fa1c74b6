package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// userAgent begins as the kubelet's: apps know it by that.
const userAgent = "kube-probe/kedahttp"

// mostBody is how much of an answer is read so that its connection can be used again.
const mostBody = 10 << 10

// plan is what has to succeed for a pod to be ready. It is the same for all pods of one template.
type plan struct {
	checks []*corev1.Probe
	// ports are those that the checks ask, by number.
	ports []int
	// connect says that the port that takes requests has to take a connection, too.
	connect bool
	// timeout is the longest that the kubelet lets any check take, and period the longest time between two of its.
	timeout, period time.Duration
}

// planOf reads a pod's readiness probes. The error says why the pod's readiness is for the kubelet alone to find out.
func planOf(pod *corev1.Pod) (*plan, error) {
	switch {
	case len(pod.Spec.ReadinessGates) > 0:
		return nil, errors.New("it has readiness gates")
	case pod.Spec.HostNetwork:
		return nil, errors.New("its address is its node's, where others may answer")
	}
	p := &plan{timeout: time.Second}
	containers := make([]*corev1.Container, 0, len(pod.Spec.Containers))
	for i := range pod.Spec.InitContainers {
		// Others have ended before any container of the app starts.
		if c := &pod.Spec.InitContainers[i]; ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	sidecars := len(containers)
	for i := range pod.Spec.Containers {
		containers = append(containers, &pod.Spec.Containers[i])
	}
	for i, c := range containers {
		switch {
		case c.StartupProbe != nil:
			return nil, fmt.Errorf("container %s has a startup probe", c.Name)
		case c.Lifecycle != nil && c.Lifecycle.PostStart != nil:
			return nil, fmt.Errorf("container %s has a postStart hook", c.Name)
		case c.ReadinessProbe == nil:
			// It is ready when it runs. That it takes connections is a better sign.
			p.connect = p.connect || i >= sidecars
			continue
		}
		if err := p.add(c, c.ReadinessProbe); err != nil {
			return nil, fmt.Errorf("container %s: %w", c.Name, err)
		}
	}
	return p, nil
}

func (p *plan) add(c *corev1.Container, probe *corev1.Probe) error {
	var port intstr.IntOrString
	var host string
	switch {
	case probe.SuccessThreshold > 1:
		return errors.New("its readiness probe has to succeed more than once")
	case probe.HTTPGet != nil:
		port, host = probe.HTTPGet.Port, probe.HTTPGet.Host
	case probe.TCPSocket != nil:
		port, host = probe.TCPSocket.Port, probe.TCPSocket.Host
		if probe.InitialDelaySeconds > 0 {
			// A connection is made by the kernel, and the delay is what says when that means something.
			return errors.New("its readiness probe is a connection that counts only after a delay")
		}
	case probe.GRPC != nil:
		port = intstr.FromInt32(probe.GRPC.Port)
	default:
		return errors.New("its readiness probe is a command")
	}
	if host != "" {
		// What the kubelet finds there is another host than what we would: 127.0.0.1 is the node's for the one and ours for the other.
		return fmt.Errorf("its readiness probe asks host %s and not the pod", host)
	}
	number, err := numberOf(port, c)
	if err != nil {
		return err
	}
	p.checks = append(p.checks, probe)
	p.ports = append(p.ports, number)
	p.timeout = max(p.timeout, time.Duration(probe.TimeoutSeconds)*time.Second)
	p.period = max(p.period, time.Duration(probe.PeriodSeconds)*time.Second)
	return nil
}

// numberOf is the kubelet's ResolveContainerPort.
func numberOf(port intstr.IntOrString, c *corev1.Container) (int, error) {
	number := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range c.Ports {
			if p.Name == port.StrVal {
				number = int(p.ContainerPort)
			}
		}
	}
	if number < 1 || number > 65535 {
		return 0, fmt.Errorf("its readiness probe asks port %s, which it does not have", port.String())
	}
	return number, nil
}

// Prober asks pods whether they are ready. It is the same for all apps.
type Prober struct {
	pods Pods
	http *http.Client
}

// NewProber makes a prober. Requests go through the given transports, in plain text or with TLS, so that the first request for the
// app finds the connection of the probe that succeeded. Nobody's certificate is to be checked, as the kubelet does not.
func NewProber(pods Pods, plain, secure http.RoundTripper) *Prober {
	return &Prober{pods: pods, http: &http.Client{
		Transport: byScheme{plain, secure},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse
			}
			if len(via) >= 10 {
				return errors.New("stopped after 10 redirects")
			}
			return nil
		},
	}}
}

type byScheme struct{ plain, secure http.RoundTripper }

func (t byScheme) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" {
		return t.secure.RoundTrip(r)
	}
	return t.plain.RoundTrip(r)
}

// ask does all checks once. The address is the one that takes requests.
func (p *Prober) ask(ctx context.Context, plan *plan, address string) error {
	host, serving, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	asked := false
	for i, check := range plan.checks {
		port := strconv.Itoa(plan.ports[i])
		asked = asked || port == serving
		at := net.JoinHostPort(host, port)
		switch {
		case check.HTTPGet != nil:
			err = p.get(ctx, check.HTTPGet, at, at == address)
		case check.TCPSocket != nil:
			err = connect(ctx, at)
		default:
			err = healthy(ctx, ptr.Deref(check.GRPC.Service, ""), at)
		}
		if err != nil {
			return err
		}
	}
	if plan.connect && !asked {
		return connect(ctx, address)
	}
	return nil
}

// get is an httpGet probe with the kubelet's manners.
func (p *Prober) get(ctx context.Context, get *corev1.HTTPGetAction, at string, keep bool) error {
	u, err := url.Parse(get.Path)
	if err != nil {
		u = &url.URL{Path: get.Path}
	}
	u.Scheme, u.Host = "http", at
	if get.Scheme != "" {
		u.Scheme = strings.ToLower(string(get.Scheme))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	for _, h := range get.HTTPHeaders {
		r.Header.Add(h.Name, h.Value)
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header.Set("User-Agent", userAgent)
	}
	if accept, ok := r.Header["Accept"]; !ok {
		r.Header.Set("Accept", "*/*")
	} else if accept[0] == "" {
		r.Header.Del("Accept")
	}
	r.Host = r.Header.Get("Host")
	r.Close = !keep
	res, err := p.http.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // there is nothing left to be said
	if _, err := io.CopyN(io.Discard, res.Body, mostBody); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("it answered %d", res.StatusCode)
	}
	return nil
}

func connect(ctx context.Context, at string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", at)
	if err != nil {
		return err
	}
	return conn.Close()
}

func healthy(ctx context.Context, service, at string) error {
	// A refused connection costs a client much more than this.
	if err := connect(ctx, at); err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+at, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent(userAgent), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // there is nothing left to be said
	res, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return err
	}
	if s := res.GetStatus(); s != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("its health is %s", s)
	}
	return nil
}
