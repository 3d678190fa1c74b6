package server

import (
	"context"
	"fmt"

	genericserver "k8s.io/apiserver/pkg/server"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
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

// addHooks starts what runs beside the API once the server serves.
func (p *parts) addHooks(server *genericserver.GenericAPIServer) error {
	for name, run := range map[string]func(context.Context){
		"kedahttp-certificates": p.certificates.Run,
		"kedahttp-apps":         p.apps.RunWithContext,
		"kedahttp-counts": func(ctx context.Context) {
			if err := p.counts.Run(ctx); err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "Collecting the counts ended")
			}
		},
	} {
		if err := server.AddPostStartHook(name, inBackground(run)); err != nil {
			return err
		}
	}
	return nil
}

// inBackground is a hook that starts a part and does not wait for it.
func inBackground(run func(context.Context)) genericserver.PostStartHookFunc {
	return func(ctx genericserver.PostStartHookContext) error {
		go run(ctx)
		return nil
	}
}
