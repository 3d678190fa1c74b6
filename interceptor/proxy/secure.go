package proxy

import (
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"strings"

	"k8s.io/klog/v2"
)

// NewSecureServer makes the server for clients that speak TLS, with the limits of the one for those who do not. All of its requests are
// answered by net/http and the Handler.
func NewSecureServer(handler *Handler, like *http.Server, config *tls.Config) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	connections := &states{all: map[net.Conn]http.ConnState{}}
	handler.config.Metrics.connections.ofOthers(connections)
	return &http.Server{
		Handler: handler, TLSConfig: config, Protocols: protocols,
		ReadHeaderTimeout: like.ReadHeaderTimeout, IdleTimeout: like.IdleTimeout, HTTP2: like.HTTP2, BaseContext: like.BaseContext,
		ConnState: connections.set, ConnContext: withConn,
		ErrorLog: log.New(handshakes{}, "", 0),
	}
}

// handshakes logs what a server has to say. Most of it is that a handshake failed, which any stranger can bring about.
type handshakes struct{}

func (handshakes) Write(p []byte) (int, error) {
	said := strings.TrimSpace(string(p))
	if strings.HasPrefix(said, "http: TLS handshake error") {
		klog.V(2).Info(said)
	} else {
		klog.Warning(said)
	}
	return len(p), nil
}
