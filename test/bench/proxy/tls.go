package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// The app with a certificate has two hosts: wrk asks for the one in its URL, which has to lead here.
const (
	secureHost = "tls.example.com"
	hereHost   = "localhost"
)

// certificate is the directory of the certificate that everybody serves with.
func (b *bench) certificate() string { return filepath.Join(b.dir, "certificate") }

// secureApp makes an app with a certificate in a Secret.
func (b *bench) secureApp() error {
	hosts := []string{secureHost, hereHost}
	if err := os.Mkdir(b.certificate(), 0o700); err != nil {
		return err
	}
	if err := writeCertificate(b.certificate(), hosts); err != nil {
		return err
	}
	certificate, err := os.ReadFile(filepath.Join(b.certificate(), "tls.crt"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(b.certificate(), "tls.key"))
	if err != nil {
		return err
	}
	if err := b.cluster.setSecret("certificate", certificate, key); err != nil {
		return err
	}
	if err := b.cluster.setApp("tls", secureHost, v1alpha1.ProtocolHTTP1, func(app *v1alpha1.HTTPApp) {
		app.Spec.Routes[0].Hosts = hosts
		app.Spec.TLS = &v1alpha1.TLS{SecretName: "certificate"}
	}); err != nil {
		return err
	}
	return b.cluster.setPod("tls", b.backend.address)
}

// tls measures what TLS costs: requests over connections that stay, and connections that are made for one request each, with a new
// session or one that is resumed. The certificate has an ECDSA key of 256 bits.
func (b *bench) tls(ctx context.Context) error {
	subjects := []*process{b.subject(nginx), b.subject(ours)}
	rate := func(l load) float64 { return l.requests }
	cpu := func(l load) float64 { return float64(l.cpu) / float64(time.Microsecond) }
	tell := func(what, cost string, measure func(context.Context, *process) (load, error)) error {
		all, err := alternate(ctx, b.rounds, subjects, measure)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := b.report.AtLeast(0, what, "1/s", median(all[ours], rate), nginx, median(all[nginx], rate)); err != nil || cost == "" {
			return err
		}
		return b.report.AtMost(0, cost+what, "µs", median(all[ours], cpu), nginx, median(all[nginx], cpu))
	}
	for _, connections := range []int{8, 128} {
		err := tell(fmt.Sprintf("requests with TLS, %d connections", connections), "CPU time of ", func(ctx context.Context, p *process) (load, error) {
			_, port, err := net.SplitHostPort(p.tls)
			if err != nil {
				return load{}, err
			}
			return b.wrkAt(ctx, p, "https://"+net.JoinHostPort(hereHost, port), secureHost, connections, b.seconds, small, 0)
		})
		if err != nil {
			return err
		}
	}
	err := tell("HTTP/2 requests with TLS, 8 connections, 32 streams each", "", func(ctx context.Context, p *process) (l load, err error) {
		l.requests, err = b.h2loadURL(ctx, p.tls, "https://"+secureHost+small, 32, nil)
		return l, err
	})
	if err != nil {
		return err
	}
	for _, resumed := range []bool{false, true} {
		what := "connections with a new TLS session, each for one request"
		if resumed {
			what = "connections with a resumed TLS session, each for one request"
		}
		if err := tell(what, "CPU time of ", func(ctx context.Context, p *process) (load, error) { return b.handshakes(ctx, p, resumed) }); err != nil {
			return err
		}
	}
	return nil
}

// handshakes makes connections for one request each, eight at a time, for as long as a measurement takes.
func (b *bench) handshakes(ctx context.Context, p *process, resumed bool) (load, error) {
	pem, err := os.ReadFile(filepath.Join(b.certificate(), "tls.crt"))
	if err != nil {
		return load{}, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	before, err := p.cpu()
	if err != nil {
		return load{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.seconds)*time.Second)
	defer cancel()
	var made atomic.Int64
	var failed atomic.Pointer[error]
	var clients sync.WaitGroup
	started := time.Now()
	for range 8 {
		clients.Go(func() {
			// The key exchange is one that both have.
			config := &tls.Config{ServerName: secureHost, RootCAs: roots, CurvePreferences: []tls.CurveID{tls.X25519}}
			if resumed {
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}
			for first := true; ctx.Err() == nil; first = false {
				if err := handshake(p.tls, config, resumed && !first); err != nil {
					failed.Store(&err)
					cancel()
					return
				}
				made.Add(1)
			}
		})
	}
	clients.Wait()
	took := time.Since(started)
	if err := failed.Load(); err != nil {
		return load{}, *err
	}
	after, err := p.cpu()
	if err != nil {
		return load{}, err
	}
	n := made.Load()
	if n == 0 {
		return load{}, errors.New("there was no time for any")
	}
	return load{requests: float64(n) / took.Seconds(), cpu: (after - before) / time.Duration(n)}, nil
}

// handshake makes a connection, has one request answered on it and closes it.
func handshake(address string, config *tls.Config, resumed bool) error {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", address, config)
	if err != nil {
		return err
	}
	c := &client{conn, bufio.NewReaderSize(conn, 1<<10)}
	defer conn.Close() //nolint:errcheck // it is done
	if got := conn.ConnectionState().DidResume; got != resumed {
		return fmt.Errorf("whether the session was resumed is %t", got)
	}
	return c.get(secureHost)
}
