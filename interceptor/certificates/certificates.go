// Package certificates knows which certificate a client gets: that of the app to which the host belongs that the client names.
package certificates

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials/tls/certprovider"
	"google.golang.org/grpc/credentials/tls/certprovider/pemfile"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/recall"
)

// Config is what Certificates are made of.
type Config struct {
	// SecretsOf lists and watches those Secrets of a namespace that the options select, which is one at a time.
	SecretsOf func(namespace string, options func(*metav1.ListOptions)) cache.ListerWatcher
	// Apps is an informer of *v1alpha1.HTTPApp. It is run by its owner.
	Apps cache.SharedIndexInformer
	// Routed is closed when routes are known: by the informer, or from before this start while the cluster's API is away.
	Routed <-chan struct{}
	// Recall keeps the certificates, too, for a start without the cluster's API; nil: nothing does. Keep is called when there is
	// something new to be kept.
	Recall *recall.File
	Keep   func()
	// Owner finds the app to which a host belongs.
	Owner func(host string) (app types.NamespacedName, ok bool)
	// DefaultCert and DefaultKey are files of a certificate for all other hosts, and for clients that name none; empty: they are refused.
	DefaultCert, DefaultKey string
	// MinVersion and CipherSuites are those of tls.Config.
	MinVersion   uint16
	CipherSuites []uint16
}

// Certificates are those of all apps.
type Certificates struct {
	config  Config
	watcher *secrets.Watcher
	files   certprovider.Provider
	ready   atomic.Bool
}

// reloadPeriod is how often the files of the default certificate are looked at again.
const reloadPeriod = 10 * time.Second

// New makes Certificates; they are kept while Run runs.
func New(config Config) (*Certificates, error) {
	c := &Certificates{config: config}
	var changed func(types.NamespacedName)
	if config.Recall != nil {
		changed = func(types.NamespacedName) { config.Keep() }
	}
	c.watcher = secrets.NewWatcher(config.SecretsOf, changed)
	if config.DefaultCert == "" {
		return c, nil
	}
	// The provider would wait for files that are missing or broken: better to say so now.
	if _, err := tls.LoadX509KeyPair(config.DefaultCert, config.DefaultKey); err != nil {
		return nil, fmt.Errorf("reading the default certificate: %w", err)
	}
	var err error
	c.files, err = pemfile.NewProvider(pemfile.Options{CertFile: config.DefaultCert, KeyFile: config.DefaultKey, RefreshDuration: reloadPeriod})
	return c, err
}

// behind is how long after the routes the apps may be known here. When they are not, the routes are from before this start.
const behind = time.Second

// Run follows the apps until the context ends.
func (c *Certificates) Run(ctx context.Context) error {
	defer c.watcher.Close()
	if c.files != nil {
		defer c.files.Close()
	}
	if c.config.Recall != nil {
		known, err := c.config.Recall.Read()
		if err != nil {
			klog.ErrorS(err, "Cannot read which certificates were known before this start")
		}
		if known != nil {
			c.watcher.Recall(known.Secrets)
		}
	}
	apps, err := c.config.Apps.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.follow,
		UpdateFunc: func(_, obj any) { c.follow(obj) },
		DeleteFunc: func(obj any) {
			if name, err := cache.DeletionHandlingObjectToName(obj); err == nil {
				c.watcher.Set(types.NamespacedName{Namespace: name.Namespace, Name: name.Name}, "")
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watching the apps: %w", err)
	}
	defer func() { _ = c.config.Apps.RemoveEventHandler(apps) }()
	c.await(ctx, apps.HasSyncedChecker().Done())
	c.ready.Store(true)
	<-ctx.Done()
	return nil
}

// await waits until the apps are known and each of their Secrets has been read, or could not be.
func (c *Certificates) await(ctx context.Context, synced <-chan struct{}) {
	select {
	case <-synced:
		c.watcher.Wait(ctx)
		return
	case <-ctx.Done():
		return
	case <-c.config.Routed:
	}
	late := time.NewTimer(behind)
	defer late.Stop()
	select {
	case <-synced:
		c.watcher.Wait(ctx)
	case <-ctx.Done():
	case <-late.C:
		for _, obj := range c.config.Apps.GetStore().List() {
			c.follow(obj)
		}
	}
}

func (c *Certificates) follow(obj any) {
	app, ok := obj.(*v1alpha1.HTTPApp)
	if !ok {
		return
	}
	secret := ""
	if app.Spec.TLS != nil {
		secret = app.Spec.TLS.SecretName
	}
	c.watcher.Set(types.NamespacedName{Namespace: app.Namespace, Name: app.Name}, secret)
}

// Ready reports whether each Secret has been read once, or could not be: one app's Secret that is missing keeps no other app from
// being served.
func (c *Certificates) Ready() bool { return c.ready.Load() }

// Has reports whether an app has a certificate to serve with.
func (c *Certificates) Has(app types.NamespacedName) bool {
	return c.watcher.Of(app).Certificate != nil
}

// Known are the Secrets that there are certificates of, for recall.File.
func (c *Certificates) Known() []*corev1.Secret { return c.watcher.Known() }

// find returns the certificate for a host, nil if there is none. A host of an app that has none is served with the default, too.
func (c *Certificates) find(hello *tls.ClientHelloInfo) *tls.Certificate {
	if hello.ServerName != "" {
		if app, ok := c.config.Owner(hello.ServerName); ok {
			if found := c.watcher.Of(app).Certificate; found != nil {
				return found
			}
		}
	}
	if c.files != nil {
		if material, err := c.files.KeyMaterial(hello.Context()); err == nil && len(material.Certs) > 0 {
			return &material.Certs[0]
		}
	}
	return nil
}

// TLS is the configuration of a server that serves with these certificates. Each connection gets what there is when it begins.
//
// Sessions are resumed by tickets, whose keys this process makes, changes every day and shows nobody. A client that comes back to
// another interceptor makes a new session there.
func (c *Certificates) TLS() *tls.Config {
	// Without a certificate and without tickets every handshake ends with the alert unrecognized_name (RFC 6066 section 3).
	refusing := &tls.Config{MinVersion: c.config.MinVersion, CipherSuites: c.config.CipherSuites, SessionTicketsDisabled: true}
	config := &tls.Config{
		MinVersion:   c.config.MinVersion,
		CipherSuites: c.config.CipherSuites,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			// Here, because a session that is resumed asks for no certificate.
			if c.find(hello) != nil {
				return nil, nil
			}
			klog.V(2).InfoS("There is no certificate for a host", "host", hello.ServerName, "client", hello.Conn.RemoteAddr().String())
			return refusing, nil
		},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if found := c.find(hello); found != nil {
				return found, nil
			}
			return nil, errGone
		},
	}
	// RFC 6066 section 3: a session goes on only for the host that it began with.
	config.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		session.Extra = append(session.Extra, []byte(hostOfSession+state.ServerName))
		return config.EncryptTicket(state, session)
	}
	config.UnwrapSession = func(identity []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := config.DecryptTicket(identity, state)
		if err != nil || session == nil {
			return nil, err
		}
		for _, extra := range session.Extra {
			if string(extra) == hostOfSession+state.ServerName {
				return session, nil
			}
		}
		return nil, nil
	}
	return config
}

var errGone = errors.New("the host's certificate went during the handshake")

// hostOfSession is before the host in what is kept with a session.
const hostOfSession = "kedahttp host "
