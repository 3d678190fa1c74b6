package proxy

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// dialTimeout is how long a connection to a pod may take. A pod is in the same cluster; one that does not answer in this time
// is gone with its node, and there may be another.
const dialTimeout = 2 * time.Second

// dialError says that no connection was made, so nothing of the request was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// Transports are the connections to all pods of all apps: one set for HTTP/1.1, one for HTTP/2 in plain text.
type Transports struct {
	http1, h2c *transport
	// links are those of requests that are answered in place.
	links *links
}

// transport counts its connections, and those that are busy where each has one request at a time.
type transport struct {
	*http.Transport
	open, busy atomic.Int64
}

// NewTransports makes transports without connections.
func NewTransports() Transports {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	make := func() *transport {
		t := &transport{}
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, &dialError{err}
			}
			t.open.Add(1)
			return &counted{TCPConn: conn.(*net.TCPConn), open: &t.open}, nil
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
	t := Transports{http1: make(), h2c: make(), links: &links{}}
	t.http1.Protocols.SetHTTP1(true)
	t.h2c.Protocols.SetUnencryptedHTTP2(true)
	// A pod that vanished without a word is found out by a ping.
	t.h2c.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second}
	return t
}

func (t Transports) close() {
	t.http1.CloseIdleConnections()
	t.h2c.CloseIdleConnections()
}
