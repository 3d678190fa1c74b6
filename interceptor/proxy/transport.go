package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/balance"
)

// dialTimeout is how long a connection to a pod may take. A pod is in the same cluster; one that does not answer in this time
// is gone with its node, and there may be another.
const dialTimeout = 2 * time.Second

// dialError says that no connection was made, so nothing of the request was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// brokeError says that a pod broke a connection on which it has not answered anything: it is not the connection's age.
type brokeError struct{ error }

func (e *brokeError) Unwrap() error { return e.error }

// blame has a pod left out for a moment if the error of a request says that it is for the pod, and reports whether nothing was sent to it.
func blame(pod *balance.Endpoint, err error) (unsent bool) {
	var notMade *dialError
	var broke *brokeError
	switch {
	case errors.As(err, &notMade):
		pod.Failed()
		return true
	case errors.As(err, &broke):
		pod.Broke()
	}
	return false
}

// Transports are the connections to all pods of all apps: one set for HTTP/1.1, one for HTTP/2 in plain text, one for either with TLS,
// and one for what HTTP/2 cannot do.
type Transports struct {
	http1, h2c, https, https1 *transport
	// links are those of requests that are answered in place.
	links *links
}

// transport counts its connections, and those that are busy where each has one request at a time.
type transport struct {
	*http.Transport
	secure     bool
	open, busy atomic.Int64
}

// NewTransports makes transports without connections.
func NewTransports() Transports {
	links := &links{}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	make := func() *transport {
		t := &transport{}
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, &dialError{err}
			}
			pod, err := newPodConn(conn.(*net.TCPConn), &t.open, &links.opened)
			if err != nil {
				_ = conn.Close()
				return nil, &dialError{err}
			}
			return pod, nil
		}
		t.Transport = &http.Transport{
			DialContext: dial,
			// What pods send goes to the client as it is.
			DisableCompression:    true,
			MaxIdleConns:          0, // bounded for each pod
			MaxIdleConnsPerHost:   256,
			IdleConnTimeout:       60 * time.Second,
			ExpectContinueTimeout: time.Second,
			WriteBufferSize:       8 << 10,
			ReadBufferSize:        8 << 10,
			Protocols:             new(http.Protocols),
		}
		return t
	}
	t := Transports{http1: make(), h2c: make(), https: make(), https1: make(), links: links}
	t.http1.Protocols.SetHTTP1(true)
	t.h2c.Protocols.SetUnencryptedHTTP2(true)
	// A pod that vanished without a word is found out by a ping.
	t.h2c.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second}
	t.https.HTTP2 = t.h2c.HTTP2
	t.https.Protocols.SetHTTP1(true)
	t.https.Protocols.SetHTTP2(true)
	t.https1.Protocols.SetHTTP1(true)
	for _, secure := range []*transport{t.https, t.https1} {
		secure.secure = true
		// Pods are dialled by their addresses, and their certificates are for names.
		secure.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(0)} //nolint:gosec // see above
		secure.TLSHandshakeTimeout = dialTimeout
	}
	return t
}

// SecureProbes is how pods are asked with TLS whether they are ready.
func (t Transports) SecureProbes() http.RoundTripper { return t.https }

// of returns the connections for a request to pods that speak HTTP in a certain way, and whether each is for one request at a time.
func (t Transports) of(protocol v1alpha1.Protocol, r *http.Request) (of *transport, single bool) {
	switch {
	case protocol == v1alpha1.ProtocolH2C:
		return t.h2c, false
	case protocol != v1alpha1.ProtocolHTTPS:
		return t.http1, true
	case r.Header.Get("Upgrade") != "":
		// HTTP/2 has no upgrades, and a pod that is asked chooses it.
		return t.https1, true
	default:
		return t.https, false
	}
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) { return t.send(r, nil) }

// send sends a request, whose body is the given one, if it has one. Its error tells a request that was not sent, because TLS did not come
// about, from one that may have been, one that the pod has not received, and one that a new connection has broken under.
func (t *transport) send(r *http.Request, body *sentBody) (*http.Response, error) {
	var conn *podConn
	var before uint64
	var connected, fresh bool
	var answered atomic.Bool // by whoever reads, who may be late
	trace := &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) {
			connected, fresh = true, !got.Reused
			if conn = podConnOf(got.Conn); conn == nil {
				return
			}
			before = conn.written.Load()
			if c, n := conn, before; body != nil {
				body.on(func() bool { return c.received(n) })
			}
		},
		GotFirstResponseByte: func() { answered.Store(true) },
	}
	res, err := t.Transport.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	var unsent *dialError
	switch {
	case err == nil || errors.As(err, &unsent):
		return res, err
	case t.secure && !connected:
		return nil, &dialError{err}
	case answered.Load():
		return nil, err
	case conn != nil && conn.unheard(before):
		err = fmt.Errorf("%w: %w", errUnheard, err)
	}
	if fresh {
		err = &brokeError{err}
	}
	return nil, err
}

func (t Transports) close() {
	t.http1.CloseIdleConnections()
	t.h2c.CloseIdleConnections()
	t.https.CloseIdleConnections()
	t.https1.CloseIdleConnections()
}
