package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/tracing"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/apiserver/admission/quota"
	"github.com/kedahttp/kedahttp/apiserver/admission/rights"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/install"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/apis/openapi"
	"github.com/kedahttp/kedahttp/apiserver/externalmetrics"
	"github.com/kedahttp/kedahttp/apiserver/live"
	"github.com/kedahttp/kedahttp/apiserver/owners"
	"github.com/kedahttp/kedahttp/apiserver/registry/httpapp"
	"github.com/kedahttp/kedahttp/apiserver/server/certificates"
	"github.com/kedahttp/kedahttp/apiserver/server/frontproxy"
	"github.com/kedahttp/kedahttp/apiserver/storage/record"
	"github.com/kedahttp/kedahttp/apiserver/workload"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// Version is the server's version. It is set when the binary is linked.
var Version = "dev"

// apiService is what the host knows this server by.
var apiService = v1alpha1.SchemeGroupVersion.Version + "." + v1alpha1.GroupName

// patience is how long a start waits for the host cluster.
const patience = time.Minute

// Server is the API server of HTTPApps.
type Server struct {
	generic *genericserver.GenericAPIServer
	parts   *parts
}

// parts are what runs beside the API, and what it works with.
type parts struct {
	options *Options
	// host is the configuration of clients of the host cluster. They are not slowed down: the host looks after itself.
	host    *clientrest.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
	// loopback is for clients of this server itself.
	loopback *clientrest.Config

	certificates *certificates.Manager
	counts       *queue.Collector
	storage      *storage
	apps         cache.SharedIndexInformer
	owners       *owners.Owners
	scales       *workload.Scales
	leads        atomic.Bool
}

// New makes a server. It asks the host cluster what it has, and makes certificates.
func (o *Options) New(ctx context.Context) (*Server, error) {
	host, err := hostConfig(o.Generic.CoreAPI.CoreAPIKubeconfigPath)
	if err != nil {
		return nil, err
	}
	p := &parts{options: o, host: host}
	if p.client, err = kubernetes.NewForConfig(host); err != nil {
		return nil, err
	}
	if p.dynamic, err = dynamic.NewForConfig(host); err != nil {
		return nil, err
	}
	p.certificates = o.certificates(p.client, p.dynamic)
	if err := p.askHost(ctx); err != nil {
		return nil, err
	}
	if !o.ownCertificate() {
		o.Generic.SecureServing.ServerCert.GeneratedCert = p.certificates.Serving()
	}
	p.counts, err = queue.NewCollector(queue.CollectorConfig{
		Interceptors: cache.NewFilteredListWatchFromClient(p.client.DiscoveryV1().RESTClient(), "endpointslices", o.Namespace, queue.SlicesOf(o.CountsService)),
		Credentials:  p.certificates.ClientCredentials(fmt.Sprintf("%s.%s.svc", o.CountsService, o.Namespace)),
	})
	if err != nil {
		return nil, err
	}
	p.scales = workload.NewScales(p.dynamic, p.client.Discovery())
	o.Generic.ExtraAdmissionInitializers = func(*genericserver.RecommendedConfig) ([]admission.PluginInitializer, error) {
		return []admission.PluginInitializer{rights.NewInitializer(p.scales), quota.NewInitializer()}, nil
	}

	scheme := install.NewServerScheme()
	codecs := install.NewCodecs(scheme)
	config, err := o.config(scheme, codecs)
	if err != nil {
		return nil, err
	}
	p.loopback = config.LoopbackClientConfig
	if o.Generic.Traces.ConfigFile != "" {
		// What a call makes of the host's API is part of its trace.
		host = clientrest.CopyConfig(host)
		host.Wrap(tracing.WrapperFor(config.TracerProvider))
	}
	if p.storage, err = o.Storage.open(ctx, host, config, codecs); err != nil {
		return nil, err
	}
	server, err := p.serve(config, scheme, codecs)
	if err != nil {
		p.storage.close()
	}
	return server, err
}

// serve puts the API and what runs beside it on the generic API server.
func (p *parts) serve(config *genericserver.RecommendedConfig, scheme *runtime.Scheme, codecs install.CodecFactory) (*Server, error) {
	var err error
	if p.apps, err = p.storage.apps(p.loopback); err != nil {
		return nil, err
	}
	config.AddReadyzChecks(appsCheck(p.apps), countsCheck(p.counts, clock.RealClock{}))
	if proxies := config.Authentication.RequestHeaderConfig; proxies != nil {
		config.AddReadyzChecks(proxiesCheck(proxies.CAContentProvider))
	}
	if p.owners, err = owners.New(p.apps); err != nil {
		return nil, err
	}
	generic, err := config.Complete().New("kedahttp-apiserver", genericserver.NewEmptyDelegate())
	if err != nil {
		return nil, err
	}
	if err := installAPI(generic, scheme, codecs, httpapp.Config{
		Scheme:  scheme,
		Options: p.storage.options,
		Domain:  p.options.Domain,
		Routes:  p.owners,
		View:    live.NewView(live.Collected{Collector: p.counts}, live.Informed{Store: p.apps.GetStore()}, clock.RealClock{}),
		Scales:  p.scales,
		Listed:  newTidier().listed,
	}); err != nil {
		return nil, err
	}
	if err := externalmetrics.Install(generic, externalmetrics.NewProvider(p.counts, p.apps, p.options.Namespace)); err != nil {
		return nil, err
	}
	if err := p.addHooks(generic, install.NewScheme()); err != nil {
		return nil, err
	}
	told := metrics{counts: p.counts, apps: p.apps.GetStore().List, expiries: p.certificates.Expiries, serving: generic.SecureServingInfo.Cert.CurrentCertKeyContent, leads: &p.leads}
	if err := told.register(legacyregistry.Registerer()); err != nil {
		return nil, err
	}
	return &Server{generic: generic, parts: p}, nil
}

// Run serves until the context ends.
func (s *Server) Run(ctx context.Context) error {
	defer s.parts.storage.close()
	// Watches that are sent elsewhere one after the other are shown what there is to the last: what runs as a hook ends before them.
	counting, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	if err := inBackground("kedahttp-counts", s.parts.counts.Run)(genericserver.PostStartHookContext{Context: counting}); err != nil {
		return err
	}
	return s.generic.PrepareRun().RunWithContext(ctx)
}

// askHost finds out what the host has and makes the certificates, as soon as the host answers.
func (p *parts) askHost(ctx context.Context) error {
	var failed error
	err := wait.PollUntilContextTimeout(ctx, time.Second, patience, true, func(ctx context.Context) (bool, error) {
		if failed = p.certificates.Ensure(ctx); failed != nil {
			klog.ErrorS(failed, "The certificates cannot be made yet")
			return false, nil
		}
		if failed = fitHost(p.options.Generic, p.client.Discovery()); failed != nil {
			klog.ErrorS(failed, "The host cluster does not answer yet")
			return false, nil
		}
		return true, nil
	})
	if err != nil && failed != nil {
		return failed
	}
	return err
}

// certificates are the manager of everybody's certificates.
func (o *Options) certificates(client kubernetes.Interface, dynamic dynamic.Interface) *certificates.Manager {
	leaf := func(name string, services ...string) certificates.Leaf {
		l := certificates.Leaf{Secret: name + "-tls", CommonName: name}
		for _, s := range services {
			l.DNSNames = append(l.DNSNames, fmt.Sprintf("%s.%s.svc", s, o.Namespace))
		}
		return l
	}
	config := certificates.Config{
		Client:    client,
		Dynamic:   dynamic,
		Namespace: o.Namespace,
		Own:       leaf("kedahttp-apiserver", o.Service),
		Others: []certificates.Leaf{
			leaf("kedahttp-interceptor", "kedahttp-interceptor", o.CountsService),
			leaf("kedahttp-scaler", "kedahttp-scaler"),
			leaf("kedahttp-metrics"), // for who scrapes them
		},
		Service:   o.Service,
		Lifetimes: o.Lifetimes,
		Clock:     clock.RealClock{},
	}
	if namespace, name, ok := strings.Cut(o.KEDAClientSecret, "/"); ok {
		config.Others = append(config.Others, certificates.Leaf{Namespace: namespace, Secret: name, CommonName: "kedahttp-keda"})
	}
	if !o.ownCertificate() {
		config.APIService = apiService
	}
	return certificates.NewManager(config)
}

// config is that of the generic API server.
func (o *Options) config(scheme *runtime.Scheme, codecs install.CodecFactory) (*genericserver.RecommendedConfig, error) {
	config := genericserver.NewRecommendedConfig(codecs.CodecFactory)
	config.Serializer = codecs
	config.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	config.ShutdownDelayDuration = o.ShutdownDelay
	// Watches are told to go elsewhere, over some time, rather than all at once.
	config.ShutdownWatchTerminationGracePeriod = o.ShutdownDelay

	// What is published is of the versions that clients know.
	namer := openapinamer.NewDefinitionNamer(install.NewScheme(), externalmetrics.NewScheme())
	config.OpenAPIConfig = genericserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	config.OpenAPIV3Config = genericserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)
	for _, info := range []*string{&config.OpenAPIConfig.Info.Title, &config.OpenAPIV3Config.Info.Title} {
		*info = "kedahttp"
	}
	config.OpenAPIConfig.Info.Version, config.OpenAPIV3Config.Info.Version = Version, Version

	build := config.BuildHandlerChainFunc
	config.BuildHandlerChainFunc = func(handler http.Handler, c *genericserver.Config) http.Handler {
		return build(withVerbosity(withPresentSchema(httpapp.WithManager(live.WithTables(live.WithDiffs(handler), codecs)))), c)
	}
	if err := o.Generic.ApplyTo(config); err != nil {
		return nil, err
	}
	if proxies := config.Authentication.RequestHeaderConfig; proxies != nil {
		config.Authentication.Authenticator = frontproxy.New(proxies, config.Authentication.Authenticator)
	}
	return config, nil
}

// installAPI adds the group to the server.
func installAPI(server *genericserver.GenericAPIServer, scheme *runtime.Scheme, codecs install.CodecFactory, config httpapp.Config) error {
	storage, err := httpapp.NewStorage(config)
	if err != nil {
		return err
	}
	group := genericserver.NewDefaultAPIGroupInfo(v1alpha1.GroupName, scheme, metav1.ParameterCodec, codecs.CodecFactory)
	group.PrioritizedVersions = []schema.GroupVersion{v1alpha1.SchemeGroupVersion}
	group.NegotiatedSerializer = codecs
	group.VersionedResourcesStorageMap[v1alpha1.SchemeGroupVersion.Version] = map[string]rest.Storage{
		"httpapps":        storage.HTTPApp,
		"httpapps/status": storage.Status,
		"httpapps/scale":  storage.Scale,
	}
	return server.InstallAPIGroup(&group)
}

// appsCheck says whether the server knows the apps yet: before, it would find no conflict and wake nobody.
func appsCheck(apps cache.SharedIndexInformer) healthz.HealthChecker {
	return healthz.NamedCheck("apps", func(*http.Request) error {
		if !apps.HasSynced() {
			return errors.New("the apps have not all been read yet")
		}
		return nil
	})
}

// countsPatience is how long a server that could answer waits for the interceptors' counts before it says that it is ready.
const countsPatience = 5 * time.Second

// countsCheck says whether the server knows the counts of the interceptors that there are: before, it shows no numbers. That one
// of them cannot be reached is no reason to serve nothing.
func countsCheck(counts interface{ Synced() bool }, clock clock.PassiveClock) healthz.HealthChecker {
	began := clock.Now()
	return healthz.NamedCheck("counts", func(*http.Request) error {
		if !counts.Synced() && clock.Since(began) < countsPatience {
			return errors.New("the interceptors have not told their counts yet")
		}
		return nil
	})
}

// proxiesCheck says whether the server can tell the aggregator from strangers yet: before, it takes all whose requests come through
// that for nobody. The library reads what it needs for that while it serves already.
func proxiesCheck(authority dynamiccertificates.CAContentProvider) healthz.HealthChecker {
	return healthz.NamedCheck("aggregator", func(*http.Request) error {
		if _, known := authority.VerifyOptions(); !known {
			return errors.New("the authority of the aggregator's certificate has not been read yet")
		}
		return nil
	})
}

// recordsCheck says whether the host serves the records: without them the server can answer nothing.
func recordsCheck(records clientrest.Interface) healthz.HealthChecker {
	return healthz.NamedCheck("records", func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		// Not at version 0: the host would answer from its cache with all there are.
		options := &metav1.ListOptions{Limit: 1}
		return records.Get().Resource(record.Resource.Resource).VersionedParams(options, record.ParameterCodec).Do(ctx).Error()
	})
}
