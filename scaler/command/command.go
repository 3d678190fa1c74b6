// Package command is the scaler's command line.
package command

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/storage/record"
	"github.com/kedahttp/kedahttp/interceptor/admin"
	"github.com/kedahttp/kedahttp/interceptor/logging"
	"github.com/kedahttp/kedahttp/interceptor/queue"
	"github.com/kedahttp/kedahttp/scaler"
)

// Options are the flags.
type Options struct {
	Kubeconfig               string
	Listen, AdminListen      string
	Namespace, CountsService string
	TLSDir                   string
	// KEDACert, KEDAKey and KEDAClientCA are files for TLS with KEDA.
	KEDACert, KEDAKey, KEDAClientCA string
	ActiveFor                       time.Duration
	MaxStreams                      int
	Metrics                         admin.Metrics
	CountsGrace                     time.Duration
	ShutdownDelay                   time.Duration
	// stopWithin is how long calls that do not end by themselves are waited for at the end.
	stopWithin time.Duration
}

// New makes the command. Its context ends when the process is asked to end.
func New() *cobra.Command {
	o := &Options{
		Listen: ":9090", AdminListen: ":9901", CountsService: "kedahttp-interceptor-counts", TLSDir: "/var/run/kedahttp/tls",
		ActiveFor: 10 * time.Second, CountsGrace: 30 * time.Second, MaxStreams: 10000, ShutdownDelay: 3 * time.Second,
		stopWithin: 5 * time.Second,
	}
	var applyLogging func() error
	cmd := &cobra.Command{
		Use:           "scaler",
		Short:         "Tell KEDA how busy each HTTPApp is",
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
	f.StringVar(&o.Listen, "listen", o.Listen, "Where KEDA asks, by gRPC.")
	f.StringVar(&o.AdminListen, "admin-listen", o.AdminListen, "Where /livez, /readyz and /metrics are served, and, to nobody but who is in the pod (kubectl port-forward is), PUT /debug/flags/v.")
	f.StringVar(&o.Namespace, "namespace", o.Namespace, "The namespace of the interceptors. Default: that of the pod that this runs in.")
	f.StringVar(&o.CountsService, "counts-service", o.CountsService, "The Service whose endpoints are the interceptors' counts.")
	f.StringVar(&o.TLSDir, "tls-dir", o.TLSDir, "The directory of tls.crt, tls.key and ca.crt for reading the counts, and for --metrics-listen. Changes are picked up.")
	f.StringVar(&o.KEDACert, "keda-tls-cert", "", "A file with the certificate that KEDA is served with. Default: it is served without TLS. Changes are picked up.")
	f.StringVar(&o.KEDAKey, "keda-tls-key", "", "A file with the key of --keda-tls-cert.")
	f.StringVar(&o.KEDAClientCA, "keda-tls-client-ca", "", "A file with the authority of the certificate that KEDA must have. Default: it need not have one.")
	f.DurationVar(&o.ActiveFor, "active-for", o.ActiveFor, "How long after its last request, or after it was woken by hand, an app is still active: about two of KEDA's polling intervals. A trigger's metadata.activeFor goes before it.")
	f.IntVar(&o.MaxStreams, "max-streams", o.MaxStreams, "The most streams that there may be, of all who ask: KEDA has one or two for each ScaledObject. Without one it hears of an app only when it asks, and is answered. One more fails with ResourceExhausted. Each takes about 10 kB of memory.")
	f.DurationVar(&o.CountsGrace, "counts-grace", o.CountsGrace, "How long the last counts of an interceptor that was lost are used.")
	f.DurationVar(&o.ShutdownDelay, "shutdown-delay", o.ShutdownDelay, "How long KEDA is still answered after the signal to end, so that it finds another scaler first.")
	o.Metrics.AddFlags(f)
	applyLogging = logging.AddFlags(f)
	return cmd
}

// Complete fills in what was not given.
func (o *Options) Complete() error {
	if o.Namespace == "" {
		if ns, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace"); err == nil {
			o.Namespace = strings.TrimSpace(string(ns))
		}
	}
	if o.MaxStreams < 1 {
		return errors.New("--max-streams has to be positive: KEDA would hear of nothing in time")
	}
	if o.Namespace == "" {
		return errors.New("--namespace is needed outside of a cluster: the namespace of the interceptors")
	}
	return nil
}

// apps reads the apps from the informer of their records.
type apps struct{ informer cache.SharedIndexInformer }

func (a apps) Get(app types.NamespacedName) *v1alpha1.HTTPApp {
	obj, _, err := a.informer.GetStore().GetByKey(app.String())
	if err != nil {
		return nil
	}
	found, _ := obj.(*v1alpha1.HTTPApp)
	return found
}

// cluster is how to reach the cluster of a kubeconfig file, or the one that this runs in.
func cluster(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

// Run runs the scaler until the context ends.
func (o *Options) Run(ctx context.Context) error {
	config, err := cluster(o.Kubeconfig)
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	rest.AddUserAgent(config, "kedahttp-scaler")
	creds, err := queue.ClientCredentials(o.TLSDir, fmt.Sprintf("%s.%s.svc", o.CountsService, o.Namespace))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	records, err := record.NewClient(config)
	if err != nil {
		return fmt.Errorf("making a client for the records: %w", err)
	}
	informer, err := record.NewInformer(records)
	if err != nil {
		return err
	}
	interceptors := cache.NewFilteredListWatchFromClient(client.DiscoveryV1().RESTClient(), "endpointslices", o.Namespace, queue.SlicesOf(o.CountsService))
	collector, err := queue.NewCollector(queue.CollectorConfig{
		Interceptors: interceptors, Credentials: creds, Grace: o.CountsGrace,
	})
	if err != nil {
		return err
	}
	requests, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return err
	}
	admin, err := net.Listen("tcp", o.AdminListen)
	if err != nil {
		return err
	}
	metrics, err := o.Metrics.Open(o.TLSDir, queue.MutualTLS)
	if err != nil {
		return err
	}
	return o.serve(ctx, requests, admin, metrics, informer, collector)
}

// serve serves, metrics by themselves if there is a listener for them, until the context ends.
func (o *Options) serve(ctx context.Context, requests, asked, metrics net.Listener, informer cache.SharedIndexInformer, collector *queue.Collector) error {
	server := scaler.NewServer(scaler.Config{
		Source: collector, Apps: apps{informer}, Clock: clock.RealClock{}, ActiveFor: o.ActiveFor,
	})
	changed := func(obj any) {
		if key, err := cache.DeletionHandlingObjectToName(obj); err == nil {
			server.AppChanged(types.NamespacedName{Namespace: key.Namespace, Name: key.Name})
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: changed, UpdateFunc: func(_, obj any) { changed(obj) }, DeleteFunc: changed,
	}); err != nil {
		return fmt.Errorf("watching the apps: %w", err)
	}

	calls := newCalls(o.MaxStreams)
	creds, err := o.credentials()
	if err != nil {
		return err
	}
	grpcServer := grpc.NewServer(
		grpc.Creds(creds),
		// All streams may be on one connection, and calls have to get by beside them: who has as many as a connection may have waits without an error.
		grpc.MaxConcurrentStreams(uint32(min(o.MaxStreams, math.MaxInt32)+mostCalls)),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.MaxRecvMsgSize(64<<10),
		grpc.ChainUnaryInterceptor(calls.unary),
		grpc.ChainStreamInterceptor(calls.stream),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	)
	externalscaler.RegisterExternalScalerServer(grpcServer, server)
	healthServer := health.NewServer()
	healthServer.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(grpcServer, healthServer)
	reflection.Register(grpcServer)

	ending := make(chan struct{})
	ready := func() error {
		select {
		case <-ending:
			return errors.New("the scaler is ending")
		default:
		}
		switch {
		case !informer.HasSynced():
			return errors.New("the apps are not known yet")
		case !collector.Synced():
			return errors.New("the counts are not known yet")
		}
		return nil
	}
	told := promhttp.HandlerFor(newRegistry(collector, calls), promhttp.HandlerOpts{})
	metricsServer := o.Metrics.NewServer(told)
	adminServer := &http.Server{Handler: o.admin(ready, told), ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}

	group, failed := errgroup.WithContext(context.Background())
	last, stop := context.WithCancel(failed)
	defer stop()
	telling, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	group.Go(func() error { informer.RunWithContext(last); return nil })
	group.Go(func() error { return collector.Run(last) })
	group.Go(func() error { server.Run(telling); return nil })
	group.Go(func() error { return grpcServer.Serve(netutil.LimitListener(requests, mostConnections)) })
	group.Go(func() error { return admin.Closed(adminServer.Serve(admin.Listener(asked))) })
	if metrics != nil {
		group.Go(func() error { return admin.Closed(metricsServer.Serve(metrics)) })
		klog.InfoS("Serving with mutual TLS", "metrics", metrics.Addr().String())
	}
	group.Go(func() error {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-last.Done():
				return nil
			case <-ending:
				healthServer.Shutdown()
				return nil
			case <-ticker.C:
			}
			s := grpc_health_v1.HealthCheckResponse_NOT_SERVING
			if ready() == nil {
				s = grpc_health_v1.HealthCheckResponse_SERVING
			}
			healthServer.SetServingStatus("", s)
		}
	})
	klog.InfoS("Serving", "keda", requests.Addr().String(), "admin", asked.Addr().String())
	group.Go(func() error {
		select {
		case <-ctx.Done():
			close(ending)
			klog.InfoS("Ending: not ready any more", "delay", o.ShutdownDelay)
			select {
			case <-time.After(o.ShutdownDelay):
			case <-failed.Done():
			}
		case <-failed.Done():
		}
		endStreams()
		timer := time.AfterFunc(o.stopWithin, grpcServer.Stop)
		grpcServer.GracefulStop()
		timer.Stop()
		stop()
		_ = adminServer.Close()
		_ = metricsServer.Close()
		klog.InfoS("Ended")
		return nil
	})
	return group.Wait()
}

func (o *Options) admin(ready func() error, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	debug := http.NewServeMux()
	debug.HandleFunc(admin.VerbosityPattern, admin.Verbosity)
	mux.Handle("/debug/", admin.FromInside(debug))
	o.Metrics.Beside(mux, metrics)
	return mux
}
