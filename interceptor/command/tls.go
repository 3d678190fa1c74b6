package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/certificates"
	"github.com/kedahttp/kedahttp/interceptor/host"
	"github.com/kedahttp/kedahttp/interceptor/recall"
)

// TLSOptions are the flags of the listener for TLS.
type TLSOptions struct {
	Listen                  string
	PublicPort              int
	DefaultCert, DefaultKey string
	MinVersion              string
	CipherSuites            []string

	minVersion   uint16
	cipherSuites []uint16
}

func (o *TLSOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Listen, "tls-listen", o.Listen, "Where requests come in with TLS: HTTP/1.1 and HTTP/2, by ALPN. Empty: nowhere.")
	f.IntVar(&o.PublicPort, "public-tls-port", o.PublicPort, "The port under which --tls-listen is reached from outside, which apps with spec.tls.redirect send clients to.")
	f.StringVar(&o.DefaultCert, "tls-default-cert", o.DefaultCert, "A file with the certificate for hosts that no app has a certificate for, and for clients that name no host. Changes are picked up. Empty: such handshakes are refused.")
	f.StringVar(&o.DefaultKey, "tls-default-key", o.DefaultKey, "A file with the key of --tls-default-cert.")
	f.StringVar(&o.MinVersion, "tls-min-version", o.MinVersion, "The oldest version of TLS that is spoken with clients. Possible values: "+strings.Join(cliflag.TLSPossibleVersions(), ", "))
	f.StringSliceVar(&o.CipherSuites, "tls-cipher-suites", o.CipherSuites, "The cipher suites that are spoken with clients, before TLS 1.3, which has its own. Default: Go's choice. "+
		"Preferred values: "+strings.Join(cliflag.PreferredTLSCipherNames(), ", ")+". Insecure values: "+strings.Join(cliflag.InsecureTLSCipherNames(), ", "))
}

func (o *TLSOptions) complete() (err error) {
	if o.minVersion, err = cliflag.TLSVersion(o.MinVersion); err != nil {
		return fmt.Errorf("--tls-min-version: %w", err)
	}
	if o.cipherSuites, err = cliflag.TLSCipherSuites(o.CipherSuites); err != nil {
		return fmt.Errorf("--tls-cipher-suites: %w", err)
	}
	if (o.DefaultCert == "") != (o.DefaultKey == "") {
		return errors.New("--tls-default-cert and --tls-default-key are given both or not at all")
	}
	if o.PublicPort < 1 || o.PublicPort > 65535 {
		return fmt.Errorf("--public-tls-port: %d is no port", o.PublicPort)
	}
	return nil
}

// certificates are those of the apps, nil when nothing is served with TLS.
func (o *TLSOptions) certificates(client *host.Client, apps cache.SharedIndexInformer, directory *backend.Directory, known *recall.File) (*certificates.Certificates, error) {
	if o.Listen == "" {
		return nil, nil
	}
	c, err := certificates.New(certificates.Config{
		SecretsOf: client.Secrets, Apps: apps, DefaultCert: o.DefaultCert, DefaultKey: o.DefaultKey, MinVersion: o.minVersion, CipherSuites: o.cipherSuites,
		Routed: directory.Known(), Recall: known, Keep: directory.Keep,
		Owner: func(host string) (app types.NamespacedName, ok bool) {
			table := directory.Table()
			if table == nil {
				return app, false
			}
			return table.HostOwner(host)
		},
	})
	if err == nil && known != nil {
		known.Secrets = c.Known
	}
	return c, err
}
