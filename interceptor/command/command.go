// Package command is the interceptor's command line.
package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/apiserver/storage/record"
	"github.com/kedahttp/kedahttp/interceptor/admin"
	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/certificates"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/endpoints"
	"github.com/kedahttp/kedahttp/interceptor/hold"
	"github.com/kedahttp/kedahttp/interceptor/host"
	"github.com/kedahttp/kedahttp/interceptor/logging"
	"github.com/kedahttp/kedahttp/interceptor/proxy"
	"github.com/kedahttp/kedahttp/interceptor/queue"
	"github.com/kedahttp/kedahttp/interceptor/queue/wire"
	"github.com/kedahttp/kedahttp/interceptor/recall"
)

// Options are the flags.
type Options struct {
	Kubeconfig                        string
	Listen, AdminListen, CountsListen string
	TLSDir, Zone, StateDir            string
	ShutdownDelay, DrainTimeout       time.Duration
	TrustedProxies                    []string
	MaxConnections, MaxHeldRequests   int
	MaxHeldBytes                      resource.QuantityValue
	Metrics                           admin.Metrics
	TLS                               TLSOptions

	telling

	trusted []netip.Prefix
}

// New makes the command. Its context ends when the process is asked to end.
func New() *cobra.Command {
	o := &Options{
		Listen: ":8080", AdminListen: ":9901", CountsListen: ":9443", TLSDir: "/var/run/kedahttp/tls",
		ShutdownDelay: 5 * time.Second, DrainTimeout: 60 * time.Second,
		MaxHeldRequests: 20000, MaxHeldBytes: resource.QuantityValue{Quantity: resource.MustParse("128Mi")},
		TLS: TLSOptions{Listen: ":8443", PublicPort: 443, MinVersion: "VersionTLS12"},
	}
	var applyLogging func() error
	cmd := &cobra.Command{
		Use:           "interceptor",
		Short:         "Take the requests of all HTTPApps, count them, hold them while an app wakes, and forward them to its pods",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := applyLogging(); err != nil {
				return err
			}
			if err := o.Complete(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "The kubeconfig file of the cluster. Default: the cluster that this runs in.")
	f.StringVar(&o.Listen, "listen", o.Listen, "Where requests come in: HTTP/1.1, and HTTP/2 with prior knowledge.")
	f.StringVar(&o.AdminListen, "admin-listen", o.AdminListen, "Where /livez, /readyz and /metrics are served, and, to nobody but who is in the pod (kubectl port-forward is), /debug/routes, /debug/pprof and PUT /debug/flags/v.")
	f.StringVar(&o.CountsListen, "counts-listen", o.CountsListen, "Where the counts are streamed, with mutual TLS.")
	f.StringVar(&o.TLSDir, "tls-dir", o.TLSDir, "The directory of tls.crt, tls.key and ca.crt for the counts, and for --metrics-listen. Changes are picked up.")
	f.StringVar(&o.StateDir, "state-dir", o.StateDir, "Where to keep what is known of apps and pods for a start while the cluster's API is away. It has to outlive the process and not the pod. Empty: nowhere; such a start waits for the API.")
	f.DurationVar(&o.ShutdownDelay, "shutdown-delay", o.ShutdownDelay, "How long requests are still taken after the signal to end, so that everybody hears of it first.")
	f.DurationVar(&o.DrainTimeout, "drain-timeout", o.DrainTimeout, "How long after that requests that wait or are being answered may take.")
	f.StringVar(&o.Zone, "zone", o.Zone, "The zone that this runs in. Pods in it go before those elsewhere as long as they have fewer requests than their app's scaling target. Empty: all are alike.")
	f.IntVar(&o.MaxConnections, "max-connections", o.MaxConnections, "The most connections that clients may have, on both ports together. For one more another one ends that has had no request for a second; if there is none it is closed, without TLS after a 503. Default: half of the files that the process may have open, as each may take one to a pod, and no more than one for each 16 KiB of GOMEMLIMIT.")
	f.IntVar(&o.MaxHeldRequests, "max-held-requests", o.MaxHeldRequests, "The most requests that may wait for pods, of all apps together; one more is answered with 503. Each takes about 8 kB of memory, its head and body not counted.")
	f.Var(&o.MaxHeldBytes, "max-held-bytes", "How much memory the heads and bodies of the requests that wait may take, of all apps together: a half for heads, a half for bodies, and no app more than a quarter. Of bodies no more is read then, but those of HTTP/2, which come unread, are answered with 503, as are requests whose heads are too many.")
	f.StringSliceVar(&o.TrustedProxies, "trusted-proxies", o.TrustedProxies, "Networks (CIDR) of the proxies in front whose X-Forwarded-For, -Proto and -Host, and Forwarded, are kept and extended; those of others are replaced.")
	o.Metrics.AddFlags(f)
	o.TLS.addFlags(f)
	o.addFlags(f)
	applyLogging = logging.AddFlags(f)
	return cmd
}

// Complete checks what was given.
func (o *Options) Complete() error {
	o.trusted = nil
	for _, s := range o.TrustedProxies {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("--trusted-proxies: %w", err)
		}
		o.trusted = append(o.trusted, p.Masked())
	}
	if o.MaxHeldRequests < 1 || o.MaxHeldBytes.Value() < 1 {
		return errors.New("--max-held-requests and --max-held-bytes have to be positive: no app would ever wake")
	}
	switch {
	case o.MaxConnections < 0:
		return errors.New("--max-connections cannot be negative")
	case o.MaxConnections == 0:
		o.MaxConnections = connectionsFor(openFiles(), debug.SetMemoryLimit(-1))
	}
	if o.ShutdownDelay < 0 || o.DrainTimeout < 0 {
		return errors.New("--shutdown-delay and --drain-timeout cannot be negative")
	}
	if err := o.TLS.complete(); err != nil {
		return err
	}
	return o.complete()
}

// cluster is how to reach the cluster of a kubeconfig file, or the one that this runs in.
func cluster(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

// Run runs the interceptor until the context ends and what it had taken by then is done.
func (o *Options) Run(ctx context.Context) error {
	config, err := cluster(o.Kubeconfig)
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	rest.AddUserAgent(config, "kedahttp-interceptor")
	creds, err := queue.ServerCredentials(o.TLSDir)
	if err != nil {
		return err
	}
	i, err := o.build(config, creds)
	if err != nil {
		return err
	}
	listeners := make([]net.Listener, 4)
	for n, address := range []string{o.Listen, o.AdminListen, o.CountsListen, o.TLS.Listen} {
		if address == "" {
			continue
		}
		if listeners[n], err = net.Listen("tcp", address); err != nil {
			return err
		}
	}
	metrics, err := o.Metrics.Open(o.TLSDir, queue.MutualTLS)
	if err != nil {
		return err
	}
	return i.run(ctx, listeners[0], listeners[1], listeners[2], listeners[3], metrics)
}

// interceptor is the running parts.
type interceptor struct {
	options   *Options
	counters  *queue.Counters
	publisher *queue.Publisher
	directory *backend.Directory
	handler   *proxy.Handler
	// certificates are nil when nothing is served with TLS.
	certificates *certificates.Certificates
	registry     *prometheus.Registry
	creds        credentials.TransportCredentials

	// ending is closed when the process is asked to end.
	ending chan struct{}
}

func (o *Options) build(config *rest.Config, creds credentials.TransportCredentials) (*interceptor, error) {
	records, err := record.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for the records: %w", err)
	}
	apps, err := record.NewInformer(records)
	if err != nil {
		return nil, err
	}
	client, err := host.NewClient(quick(config))
	if err != nil {
		return nil, err
	}
	slices, err := endpoints.NewSlices(client.EndpointSlices(metav1.NamespaceAll, endpoints.OfServices))
	if err != nil {
		return nil, err
	}
	clk := clock.RealClock{}
	i := &interceptor{options: o, creds: creds, registry: newRegistry(), counters: queue.NewCounters(clk), ending: make(chan struct{})}
	metrics := proxy.NewMetrics(i.registry, i.counters)
	i.publisher = queue.NewPublisher(i.counters, clk)
	transports := proxy.NewTransports()
	prober := coldstart.NewProber(client.Pod, transports.Probes(), transports.SecureProbes())
	var known *recall.File
	if o.StateDir != "" {
		known = &recall.File{Path: filepath.Join(o.StateDir, "known.json"), Patience: 3 * time.Second}
	}
	i.directory = backend.NewDirectory(backend.Config{
		Apps: apps, Slices: slices, Prober: prober, Recall: known, Space: hold.NewSpace(o.MaxHeldRequests, o.MaxHeldBytes.Value()), Zone: o.Zone,
		Counters: i.counters, Tallies: metrics, Clock: clk,
	})
	if i.certificates, err = o.TLS.certificates(client, apps, i.directory, known); err != nil {
		return nil, err
	}
	handling := proxy.Config{Transports: transports, Routes: i.directory, Metrics: metrics, Clock: clk, TrustedProxies: o.trusted, MaxConnections: o.MaxConnections}
	if i.certificates != nil {
		i.registry.MustRegister(i.certificates)
		handling.Certificates, handling.PublicTLSPort = i.certificates, o.TLS.PublicPort
	}
	if err := o.configure(&handling, i.registry); err != nil {
		return nil, err
	}
	i.handler = proxy.NewHandler(handling)
	return i, nil
}

// quick is for reads that a request waits for: many apps can wake at the same moment, and a read costs the cluster much less than the
// pod did that it is of.
func quick(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.QPS, c.Burst = 100, 200
	return c
}

// run serves, with TLS if there is a listener for it, and metrics by themselves if there is one for them, until the context ends, then, in this order: is not ready any more, goes on for the shutdown delay, takes no new
// connection, finishes what it has, ends the count streams, and is not live any more.
func (i *interceptor) run(ctx context.Context, requests, asked, counts, secure, metrics net.Listener) error {
	defer i.options.tell()()
	// Whatever fails ends everything.
	group, failed := errgroup.WithContext(context.Background())
	last, stop := context.WithCancel(failed)
	defer stop()

	inner, cut := context.WithCancel(context.Background())
	defer cut()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	others := &http.Server{
		Protocols:         &protocols,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 1000},
		BaseContext:       func(net.Listener) context.Context { return inner },
		ErrorLog:          klog.NewStandardLogger("WARNING"),
	}
	server, err := proxy.NewServer(i.handler, others)
	if err != nil {
		return err
	}
	var secureServer *proxy.Server
	if secure != nil {
		if secureServer, err = proxy.NewSecureServer(i.handler, others, i.certificates.TLS()); err != nil {
			return err
		}
		group.Go(func() error { return i.certificates.Run(last) })
		group.Go(func() error { return admin.Closed(secureServer.Serve(secure)) })
		klog.InfoS("Serving with TLS", "requests", secure.Addr().String())
	}
	adminServer := &http.Server{Handler: i.admin(), ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	countsServer := grpc.NewServer(
		grpc.Creds(i.creds),
		// Who has no certificate of ours is gone by then, and each of those who have reads one stream.
		grpc.ConnectionTimeout(10*time.Second),
		grpc.MaxConcurrentStreams(16),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	)
	wire.RegisterCountsServer(countsServer, i.publisher)

	group.Go(func() error { return i.directory.Run(last) })
	publishing, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	group.Go(func() error { i.publisher.Run(publishing); return nil })
	group.Go(func() error { return admin.Closed(server.Serve(requests)) })
	group.Go(func() error { return admin.Closed(adminServer.Serve(admin.Listener(asked))) })
	metricsServer := i.options.Metrics.NewServer(i.metrics())
	if metrics != nil {
		group.Go(func() error { return admin.Closed(metricsServer.Serve(metrics)) })
		klog.InfoS("Serving with mutual TLS", "metrics", metrics.Addr().String())
	}
	group.Go(func() error { return countsServer.Serve(netutil.LimitListener(counts, 1000)) })
	klog.InfoS("Serving", "requests", requests.Addr().String(), "maxConnections", i.options.MaxConnections, "admin", asked.Addr().String(), "counts", counts.Addr().String())

	group.Go(func() error {
		select {
		case <-ctx.Done():
			close(i.ending)
			i.handler.Leave()
			klog.InfoS("Ending: not ready any more", "delay", i.options.ShutdownDelay)
			select {
			case <-time.After(i.options.ShutdownDelay):
			case <-failed.Done():
			}
			i.drain(server, secureServer)
		case <-failed.Done():
		}
		cut()
		_ = server.Close()
		if secureServer != nil {
			_ = secureServer.Close()
		}
		endStreams()
		stopGracefully(countsServer, 5*time.Second)
		stop()
		i.handler.Close()
		_ = adminServer.Close()
		_ = metricsServer.Close()
		klog.InfoS("Ended")
		return nil
	})
	return group.Wait()
}

// drain waits until no request is left, upgraded connections included, at most for the drain timeout.
func (i *interceptor) drain(server, secure *proxy.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), i.options.DrainTimeout)
	defer cancel()
	i.directory.Drain()
	klog.InfoS("Draining", "requests", i.counters.Open(), "timeout", i.options.DrainTimeout)
	var both errgroup.Group
	both.Go(func() error { return server.Shutdown(ctx) })
	if secure != nil {
		both.Go(func() error { return secure.Shutdown(ctx) })
	}
	if err := both.Wait(); err != nil {
		klog.InfoS("Cutting off what did not end in time", "requests", i.counters.Open())
		return
	}
	// Connections that were upgraded are not the server's any more.
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for i.counters.Open() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			klog.InfoS("Cutting off what did not end in time", "requests", i.counters.Open())
			return
		}
	}
}

func stopGracefully(s *grpc.Server, longest time.Duration) {
	timer := time.AfterFunc(longest, s.Stop)
	defer timer.Stop()
	s.GracefulStop()
}

func (i *interceptor) admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-i.ending:
			http.Error(w, "the interceptor is ending", http.StatusServiceUnavailable)
			return
		default:
		}
		if !i.directory.Ready() || i.certificates != nil && !i.certificates.Ready() {
			http.Error(w, "routes, pods and certificates are not known yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	i.options.Metrics.Beside(mux, i.metrics())
	mux.Handle("/debug/", i.debug())
	return mux
}

func (i *interceptor) metrics() http.Handler {
	return promhttp.HandlerFor(i.registry, promhttp.HandlerOpts{})
}
