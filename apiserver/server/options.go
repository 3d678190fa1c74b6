// Package server puts the API server of HTTPApps together: options, then a configuration, then a server.
package server

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"github.com/kedahttp/kedahttp/apiserver/admission/quota"
	"github.com/kedahttp/kedahttp/apiserver/admission/rights"
	"github.com/kedahttp/kedahttp/apiserver/server/certificates"
)

// Options are the server's settings.
type Options struct {
	// Generic are those of every aggregated API server; it has no etcd.
	Generic *genericoptions.RecommendedOptions

	// Storage says where apps are kept.
	Storage *StorageOptions
	// Namespace is where kedahttp runs.
	Namespace string
	// Service is the Service of this server.
	Service string
	// Domain is what default hosts end with.
	Domain string
	// PublicPort is the port under which the interceptors are reached from outside.
	PublicPort int
	// PublicTLSPort is the same for TLS; 0: there is none.
	PublicTLSPort int
	// InterceptorAccount is the interceptors' service account.
	InterceptorAccount string
	// InterceptorService is the Service by which requests reach the interceptors.
	InterceptorService string
	// ClusterDomain is what the names of Services end with.
	ClusterDomain string
	// ScalerAddress is where KEDA reaches the scaler.
	ScalerAddress string
	// ScalerAuthentication is the ClusterTriggerAuthentication with which KEDA speaks TLS to it; empty: it speaks no TLS.
	ScalerAuthentication string
	// KEDAClientSecret is the Secret, as NAMESPACE/NAME, that a certificate is kept in with which KEDA asks the scaler; empty: none is.
	KEDAClientSecret string
	// CountsService is the headless Service of the interceptors' counts.
	CountsService string
	// Lifetimes are those of the certificates that the server makes.
	Lifetimes certificates.Lifetimes
	// ExternalMetrics says that the host's external.metrics.k8s.io is to be this server's if it is nobody else's.
	ExternalMetrics bool
	// ShutdownDelay is how long the server still answers after it was told to stop, while endpoints forget it.
	ShutdownDelay time.Duration
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	generic := genericoptions.NewRecommendedOptions("", nil)
	generic.Etcd = nil
	generic.SecureServing.BindPort = 8443
	// Nothing is written to files; a certificate of one's own is named by --tls-cert-file.
	generic.SecureServing.ServerCert.CertDirectory = ""
	generic.SecureServing.ServerCert.PairName = ""
	rights.Register(generic.Admission.Plugins)
	quota.Register(generic.Admission.Plugins)
	// What was refused for another reason is not counted.
	generic.Admission.RecommendedPluginOrder = append(generic.Admission.RecommendedPluginOrder, rights.PluginName, quota.PluginName)
	return &Options{
		Generic:            generic,
		Storage:            NewStorageOptions(),
		Namespace:          cmp.Or(os.Getenv("POD_NAMESPACE"), "kedahttp-system"),
		Service:            "kedahttp-apiserver",
		Domain:             "example.com",
		PublicPort:         80,
		PublicTLSPort:      443,
		InterceptorAccount: "kedahttp-interceptor",
		InterceptorService: "kedahttp-interceptor",
		ClusterDomain:      "cluster.local",
		CountsService:      "kedahttp-interceptor-counts",
		Lifetimes:          certificates.DefaultLifetimes,
		ExternalMetrics:    true,
		ShutdownDelay:      5 * time.Second,
	}
}

// AddFlags adds the flags of all options.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	o.Generic.AddFlags(fs)
	o.Storage.AddFlags(fs)
	utilfeature.DefaultMutableFeatureGate.AddFlag(fs)
	fs.StringVar(&o.Namespace, "namespace", o.Namespace, "The namespace that kedahttp runs in: of its Secrets, its Lease and its Services. Default: $POD_NAMESPACE.")
	fs.StringVar(&o.Service, "service", o.Service, "The Service of this server, which its certificate is for.")
	fs.StringVar(&o.Domain, "domain", o.Domain, "What the hosts of apps without routes end with: NAME.NAMESPACE.DOMAIN.")
	fs.IntVar(&o.PublicPort, "public-port", o.PublicPort, "The port under which the interceptors are reached from outside; it is part of the apps' URLs.")
	fs.IntVar(&o.PublicTLSPort, "public-tls-port", o.PublicTLSPort, "The port under which the interceptors are reached from outside with TLS; it is part of the URLs of apps that have a certificate. 0: they are not, and all URLs begin with http.")
	fs.StringVar(&o.InterceptorAccount, "interceptor-service-account", o.InterceptorAccount, "The service account, in the same namespace, of the interceptors, which get the right to read the Secrets that apps name in spec.tls.")
	fs.StringVar(&o.InterceptorService, "interceptor-service", o.InterceptorService, "The Service, in the same namespace, by which requests reach the interceptors on port 80: what the Ingresses and HTTPRoutes of apps with spec.expose lead to.")
	fs.StringVar(&o.ClusterDomain, "cluster-domain", o.ClusterDomain, "The cluster's own domain, which the names of Services end with.")
	fs.StringVar(&o.ScalerAuthentication, "scaler-authentication", o.ScalerAuthentication, "The ClusterTriggerAuthentication of KEDA with which it speaks TLS to the scaler: caCert and, if the scaler wants it, tlsClientCert and tlsClientKey. Default: it speaks no TLS.")
	fs.StringVar(&o.KEDAClientSecret, "keda-client-secret", o.KEDAClientSecret, "The Secret, as NAMESPACE/NAME, that this server keeps a certificate in with which KEDA asks the scaler: tls.crt, tls.key, and ca.crt to trust. It has to be there. Default: KEDA gets none.")
	fs.StringVar(&o.ScalerAddress, "scaler-address", o.ScalerAddress, "Where KEDA reaches the scaler, as host:port. Default: kedahttp-scaler.NAMESPACE.svc:9090.")
	fs.StringVar(&o.CountsService, "interceptor-counts-service", o.CountsService, "The headless Service, in the same namespace, whose endpoints are the interceptors' counts.")
	fs.DurationVar(&o.Lifetimes.Authority, "ca-lifetime", o.Lifetimes.Authority, "How long an authority is good for that this server makes to sign the certificates of kedahttp's own parts. When a third of that is left it makes another one, and trusts both until nothing is of the old one.")
	fs.DurationVar(&o.Lifetimes.Leaf, "certificate-lifetime", o.Lifetimes.Leaf, "How long a certificate is good for that this server makes for one of kedahttp's own parts. When a third of that is left it is made anew. At least eight times --certificate-overlap.")
	fs.DurationVar(&o.Lifetimes.Overlap, "certificate-overlap", o.Lifetimes.Overlap, "How long it may take until everybody has heard of another certificate: so long a new authority is only trusted before it signs, and the old one trusted still. A kubelet brings a Secret into pods within one to two minutes.")
	fs.BoolVar(&o.ExternalMetrics, "external-metrics", o.ExternalMetrics, "Serve the cluster's external.metrics.k8s.io while nobody else does. An adapter that comes later (KEDA's, say) must be let take it over: switch this off first.")
	fs.DurationVar(&o.ShutdownDelay, "shutdown-delay-duration", o.ShutdownDelay, "How long the server still answers after it was told to stop, so that nobody is sent to it any more when it does.")
}

// Complete fills in what follows from other options.
func (o *Options) Complete() {
	o.Domain = strings.Trim(o.Domain, ".")
	o.ClusterDomain = strings.Trim(o.ClusterDomain, ".")
	if o.ScalerAddress == "" {
		o.ScalerAddress = fmt.Sprintf("kedahttp-scaler.%s.svc:9090", o.Namespace)
	}
	if path := o.Generic.CoreAPI.CoreAPIKubeconfigPath; path != "" {
		o.Generic.Authentication.RemoteKubeConfigFile = cmp.Or(o.Generic.Authentication.RemoteKubeConfigFile, path)
		o.Generic.Authorization.RemoteKubeConfigFile = cmp.Or(o.Generic.Authorization.RemoteKubeConfigFile, path)
	}
}

// Validate says what is wrong with the options.
func (o *Options) Validate() error {
	errs := append(o.Generic.Validate(), o.Storage.Validate()...)
	for flag, name := range map[string]string{"namespace": o.Namespace, "service": o.Service, "interceptor-counts-service": o.CountsService, "interceptor-service": o.InterceptorService} {
		if msgs := utilvalidation.IsDNS1123Label(name); len(msgs) > 0 {
			errs = append(errs, fmt.Errorf("--%s: %q: %s", flag, name, strings.Join(msgs, "; ")))
		}
	}
	for flag, domain := range map[string]string{"domain": o.Domain, "cluster-domain": o.ClusterDomain} {
		if msgs := utilvalidation.IsDNS1123Subdomain(domain); len(msgs) > 0 {
			errs = append(errs, fmt.Errorf("--%s: %q: %s", flag, domain, strings.Join(msgs, "; ")))
		}
	}
	if o.PublicTLSPort != 0 {
		for _, msg := range utilvalidation.IsValidPortNum(o.PublicTLSPort) {
			errs = append(errs, fmt.Errorf("--public-tls-port: %d: %s", o.PublicTLSPort, msg))
		}
	}
	if msgs := utilvalidation.IsDNS1123Subdomain(o.InterceptorAccount); len(msgs) > 0 {
		errs = append(errs, fmt.Errorf("--interceptor-service-account: %q: %s", o.InterceptorAccount, strings.Join(msgs, "; ")))
	}
	for _, msg := range utilvalidation.IsValidPortNum(o.PublicPort) {
		errs = append(errs, fmt.Errorf("--public-port: %d: %s", o.PublicPort, msg))
	}
	if host, port, err := net.SplitHostPort(o.ScalerAddress); err != nil || host == "" || port == "" {
		errs = append(errs, fmt.Errorf("--scaler-address: %q is no host:port", o.ScalerAddress))
	}
	if namespace, name, _ := strings.Cut(o.KEDAClientSecret, "/"); o.KEDAClientSecret != "" &&
		(len(utilvalidation.IsDNS1123Label(namespace)) > 0 || len(utilvalidation.IsDNS1123Subdomain(name)) > 0) {
		errs = append(errs, fmt.Errorf("--keda-client-secret: %q is no NAMESPACE/NAME", o.KEDAClientSecret))
	}
	if err := o.Lifetimes.Validate("--ca-lifetime", "--certificate-lifetime", "--certificate-overlap"); err != nil {
		errs = append(errs, err)
	}
	if o.ShutdownDelay < 0 {
		errs = append(errs, errors.New("--shutdown-delay-duration: must be 0s or more"))
	}
	return errors.Join(errs...)
}

// ownCertificate reports that the certificate to serve with is the user's to keep.
func (o *Options) ownCertificate() bool {
	return o.Generic.SecureServing.ServerCert.CertKey.CertFile != ""
}
