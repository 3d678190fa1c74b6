package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"k8s.io/klog/v2"
)

// NewSecureServer makes the server for clients that speak TLS, with the limits of the one for those who do not.
func NewSecureServer(handler *Handler, like *http.Server, config *tls.Config) (*Server, error) {
	others := &http.Server{
		Protocols: new(http.Protocols), ReadHeaderTimeout: like.ReadHeaderTimeout, IdleTimeout: like.IdleTimeout, HTTP2: like.HTTP2,
		BaseContext: like.BaseContext, ErrorLog: like.ErrorLog,
	}
	others.Protocols.SetHTTP1(true)
	others.Protocols.SetHTTP2(true)
	s, err := NewServer(handler, others)
	if err != nil {
		return nil, err
	}
	s.tls = config.Clone()
	s.tls.NextProtos = []string{alpnHTTP2, "http/1.1"}
	return s, nil
}

const alpnHTTP2 = "h2"

// handshake makes a connection one with TLS, if the server is one for that. It is nil when there is nothing more to be done with it
// here.
func (s *Server) handshake(conn net.Conn) net.Conn {
	if s.tls == nil {
		return conn
	}
	secure := tls.Server(conn, s.tls)
	if most := s.others.ReadHeaderTimeout; most > 0 {
		_ = conn.SetDeadline(time.Now().Add(most))
	}
	if err := secure.Handshake(); err != nil {
		// Any stranger can bring that about.
		klog.V(2).InfoS("A handshake failed", "client", conn.RemoteAddr().String(), "err", err)
		var none tls.RecordHeaderError
		if errors.As(err, &none) && none.Conn != nil && http1Begins(none.RecordHeader[:]) {
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nThis port is for TLS: ask https://.\n")
		}
		_ = conn.Close()
		return nil
	}
	_ = conn.SetDeadline(time.Time{})
	return secure
}

// http1Begins reports whether these are the first bytes of a request without TLS.
func http1Begins(first []byte) bool {
	switch string(first) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET":
		return true
	}
	return false
}

// tlsOf is the TLS of the connection of a request, which net/http does not know of one that was handed over; nil: there is none.
func tlsOf(ctx context.Context) *tls.ConnectionState {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	for {
		switch c := conn.(type) {
		case *tls.Conn:
			state := c.ConnectionState()
			return &state
		case *judged:
			conn = c.Conn
		default:
			return nil
		}
	}
}
