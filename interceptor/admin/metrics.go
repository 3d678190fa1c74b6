package admin

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/spf13/pflag"
)

// Metrics say where a part's metrics are read, and by whom.
type Metrics struct {
	// Listen is an address of their own, with mutual TLS. Empty: they are where all else is that may be asked of the part.
	Listen string
	From   Networks
}

// AddFlags adds the flags for the metrics.
func (m *Metrics) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&m.Listen, "metrics-listen", m.Listen, "Where /metrics is served, and at --admin-listen no more, by TLS with the certificate in --tls-dir, to whom has one of the same authority. Default: at --admin-listen.")
	f.Var(&m.From, "metrics-from", "Networks (CIDR) from which /metrics is answered; 127.0.0.0/8,::1/128 leaves it to who is in the pod. Default: all.")
}

// Open listens at the address of their own, nil if there is none. mutual is how TLS is spoken with the certificate in a directory.
func (m *Metrics) Open(dir string, mutual func(dir string) (*tls.Config, error)) (net.Listener, error) {
	if m.Listen == "" {
		return nil, nil
	}
	config, err := mutual(dir)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", m.Listen)
	if err != nil {
		return nil, err
	}
	return tls.NewListener(Listener(l), config), nil
}

// NewServer is for the address of their own.
func (m *Metrics) NewServer(metrics http.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.From.Only(metrics))
	// Who has no certificate is told so, and fills no log.
	return &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
}

// Beside serves them where all else is that may be asked of the part, unless they have an address of their own.
func (m *Metrics) Beside(mux *http.ServeMux, metrics http.Handler) {
	if m.Listen == "" {
		mux.Handle("GET /metrics", m.From.Only(metrics))
	}
}
