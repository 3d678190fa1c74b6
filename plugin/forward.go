package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// tunnel leads from an address of this machine to an interceptor, as the app's callers reach it: a request that goes through wakes the
// app, and counts.
type tunnel struct {
	// address is host:port of the loopback.
	address string
	// pod is the interceptor.
	pod  string
	done <-chan error
	stop func()
}

// where an app is reached: what a request has to be for, to be the app's.
type destination struct {
	url *url.URL
	// secure says that the app is served with TLS.
	secure bool
}

// conflictError says that who asks at an app's URL reaches another app.
type conflictError struct {
	app     *v1alpha1.HTTPApp
	message string
}

func (e *conflictError) Error() string {
	return fmt.Sprintf("requests do not come to app %s: %s", e.app.Name, e.message)
}

func destinationOf(app *v1alpha1.HTTPApp) (destination, error) {
	address := urlOf(app)
	if address == "" {
		return destination{}, fmt.Errorf("app %s has no URL: all of its routes have fixed responses", app.Name)
	}
	u, err := url.Parse(address)
	if err != nil {
		return destination{}, err
	}
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionRoutesAccepted); c != nil && c.Reason == v1alpha1.ReasonHostConflict &&
		strings.Contains(c.Message, u.Hostname()+cmp.Or(u.Path, "/")+" ") {
		return destination{}, &conflictError{app, c.Message}
	}
	return destination{u, u.Scheme == "https"}, nil
}

// openTunnel forwards a port of an interceptor that is ready to the loopback.
func (s *session) openTunnel(ctx context.Context, c *clients, system string, secure bool) (*tunnel, error) {
	namespace := c.systemNamespace(ctx, system)
	pods, err := c.kubernetes.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Set{nameLabel: interceptorName}.String()})
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp == nil && isReady(&p) })
	if i < 0 {
		return nil, fmt.Errorf("no interceptor is ready in namespace %s; what is wrong: %s doctor", namespace, s.calledAs)
	}
	pod := &pods.Items[i]
	name := map[bool]string{false: "http", true: "https"}[secure]
	port, ok := portNamed(pod, name)
	if !ok {
		return nil, fmt.Errorf("pod %s/%s has no port %s", namespace, pod.Name, name)
	}
	return s.forward(ctx, c, pod, port)
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func portNamed(pod *corev1.Pod, name string) (int32, bool) {
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == name {
				return p.ContainerPort, true
			}
		}
	}
	return 0, false
}

// forward leads a port of the loopback to a pod's, as kubectl port-forward does: by a WebSocket, or by SPDY where that is older.
func forward(ctx context.Context, c *clients, pod *corev1.Pod, port int32) (*tunnel, error) {
	target := c.kubernetes.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	roundTripper, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, target)
	current, err := portforward.NewSPDYOverWebsocketDialerForStreaming(target, c.config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialerForStreaming(current, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{"0:" + strconv.Itoa(int(port))}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- forwarder.ForwardPorts() }()
	go func() { <-ctx.Done(); close(stop) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		if err == nil {
			err = errors.New("the connection to the pod ended at once")
		}
		return nil, err
	case <-ctx.Done():
		cancel()
		return nil, context.Cause(ctx)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		cancel()
		return nil, err
	}
	return &tunnel{
		address: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local))),
		pod:     pod.Namespace + "/" + pod.Name, done: done, stop: cancel,
	}, nil
}
