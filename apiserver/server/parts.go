package server

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	genericserver "k8s.io/apiserver/pkg/server"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/apiserver/activate"
	"github.com/kedahttp/kedahttp/apiserver/externalmetrics"
	"github.com/kedahttp/kedahttp/apiserver/reconcile"
	"github.com/kedahttp/kedahttp/apiserver/server/apiservice"
	"github.com/kedahttp/kedahttp/apiserver/server/leader"
	"github.com/kedahttp/kedahttp/apiserver/sleep"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// hostConfig is the configuration of clients of the host cluster: from a file, or that of the pod.
func hostConfig(path string) (*clientrest.Config, error) {
	var config *clientrest.Config
	var err error
	if path == "" {
		config, err = clientrest.InClusterConfig()
	} else {
		config, err = clientcmd.BuildConfigFromFlags("", path)
	}
	if err != nil {
		return nil, fmt.Errorf("how to reach the host cluster: %w", err)
	}
	config.QPS = -1
	return clientrest.AddUserAgent(config, "kedahttp-apiserver"), nil
}

// addHooks starts what runs beside the API once the server serves. Each part runs in every replica, except what is led.
func (p *parts) addHooks(server *genericserver.GenericAPIServer, scheme *runtime.Scheme) error {
	deployments, err := workload.NewDeploymentInformer(p.client)
	if err != nil {
		return err
	}
	events := record.NewBroadcaster()
	recorder := events.NewRecorder(scheme, corev1.EventSource{Component: "kedahttp"})
	activator, err := activate.New(activate.Config{
		Counts:      p.counts,
		Apps:        p.apps,
		Deployments: deployments,
		Owners:      p.owners,
		Scales:      p.scales,
		Events:      recorder,
	})
	if err != nil {
		return err
	}
	loans, err := sleep.NewLoans(p.apps, clock.RealClock{})
	if err != nil {
		return err
	}
	status, err := newStatusWriter(p.loopback)
	if err != nil {
		return err
	}
	identity, err := leader.Identity()
	if err != nil {
		return err
	}
	election := leader.Election{
		Client: p.client.CoordinationV1(), Namespace: p.options.Namespace, Name: "kedahttp-reconciler", Identity: identity,
	}
	led := func(ctx context.Context) {
		p.leads.Store(true)
		defer p.leads.Store(false)
		metrics := apiservice.New(apiservice.Config{
			Dynamic: p.dynamic, GroupVersion: externalmetrics.GroupVersion, Model: apiService,
			Renounce: !p.options.ExternalMetrics, Events: recorder,
		})
		r, err := reconcile.New(reconcile.Config{
			Client:        p.client,
			Dynamic:       p.dynamic,
			Apps:          p.apps,
			Deployments:   deployments,
			Owners:        p.owners,
			Scales:        p.scales,
			Status:        status,
			Events:        recorder,
			Metrics:       metrics,
			ScalerAddress: p.options.ScalerAddress, ScalerAuthentication: p.options.ScalerAuthentication,
			PublicPort:    p.options.PublicPort,
			PublicTLSPort: p.options.PublicTLSPort,
			Interceptor:   types.NamespacedName{Namespace: p.options.Namespace, Name: p.options.InterceptorAccount},

			InterceptorService: types.NamespacedName{Namespace: p.options.Namespace, Name: p.options.InterceptorService},
			ClusterDomain:      p.options.ClusterDomain,
		})
		var sleeper *sleep.Sleeper
		if err == nil {
			sleeper, err = sleep.New(sleep.Config{
				Counts: p.counts, Apps: p.apps, Deployments: deployments, Scales: p.scales, Loans: loans, Events: recorder, Clock: clock.RealClock{},
			})
		}
		if err == nil {
			group, ctx := errgroup.WithContext(ctx)
			group.Go(func() error { return metrics.Run(ctx) })
			group.Go(func() error { return r.Run(ctx) })
			group.Go(func() error { return sleeper.Run(ctx) })
			err = group.Wait()
		}
		if err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "What the leader does ended")
		}
	}
	for name, run := range map[string]func(context.Context) error{
		"kedahttp-certificates": forever(p.certificates.Run),
		"kedahttp-storage":      p.storage.run,
		"kedahttp-apps":         forever(p.apps.RunWithContext),
		"kedahttp-deployments":  forever(deployments.RunWithContext),
		"kedahttp-activation":   activator.Run,
		"kedahttp-reconciler":   func(ctx context.Context) error { return election.Run(ctx, led) },
		"kedahttp-events": func(ctx context.Context) error {
			events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: p.client.CoreV1().Events("")})
			<-ctx.Done()
			events.Shutdown()
			return nil
		},
	} {
		if err := server.AddPostStartHook(name, inBackground(name, run)); err != nil {
			return err
		}
	}
	return nil
}

func forever(run func(context.Context)) func(context.Context) error {
	return func(ctx context.Context) error { run(ctx); return nil }
}

// inBackground is a hook that starts a part and does not wait for it.
func inBackground(name string, run func(context.Context) error) genericserver.PostStartHookFunc {
	return func(ctx genericserver.PostStartHookContext) error {
		go func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				// A server that lost a part looks healthy and is not: a new start is the way back.
				klog.ErrorS(err, "A part of the server ended", "part", name)
				klog.FlushAndExit(klog.ExitFlushTimeout, 1)
			}
		}()
		return nil
	}
}
