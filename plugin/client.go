package plugin

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	appsclient "github.com/kedahttp/kedahttp/apiserver/client/versioned/typed/apps/v1alpha1"
)

const (
	resource = "httpapps"
	// fieldManager owns what deploy sets.
	fieldManager = "kubectl-http"
)

// apps are the apps of one namespace.
type apps struct {
	client    appsclient.HTTPAppInterface
	namespace string
}

func newApps(getter genericclioptions.RESTClientGetter) (*apps, error) {
	config, err := getter.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	namespace, _, err := getter.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	client, err := appsclient.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &apps{client.HTTPApps(namespace), namespace}, nil
}

func (a *apps) get(ctx context.Context, name string) (*v1alpha1.HTTPApp, error) {
	app, err := a.client.Get(ctx, name, metav1.GetOptions{})
	return app, explain(err)
}

// apply creates or changes an app by server-side apply. What deploy says is the user's word, so it takes fields over from
// other managers.
func (a *apps) apply(ctx context.Context, name string, manifest []byte, dryRun bool) (*v1alpha1.HTTPApp, error) {
	opts := metav1.PatchOptions{FieldManager: fieldManager, Force: ptr.To(true)}
	if dryRun {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	app, err := a.client.Patch(ctx, name, types.ApplyPatchType, manifest, opts)
	return app, explain(err)
}

// watcher lists and watches one app.
func (a *apps) watcher(name string) cache.ListerWatcher {
	only := func(opts metav1.ListOptions) metav1.ListOptions {
		opts.FieldSelector = metav1.ObjectNameField + "=" + name
		return opts
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			return a.client.List(ctx, only(opts))
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			return a.client.Watch(ctx, only(opts))
		},
	}
}

// explain says what to do about an error that speaks of the cluster's set-up rather than of the app.
func explain(err error) error {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return nil
	case apierrors.IsServiceUnavailable(err):
		return fmt.Errorf("kedahttp's API server does not answer; see kubectl get apiservice %s.%s and the pods of kedahttp-apiserver: %w",
			v1alpha1.SchemeGroupVersion.Version, v1alpha1.GroupName, err)
	case apierrors.IsNotFound(err) && errors.As(err, &status) && (status.Status().Details == nil || status.Status().Details.Name == ""):
		return fmt.Errorf("the cluster does not serve %s; is kedahttp installed in it? %w", v1alpha1.SchemeGroupVersion, err)
	default:
		return err
	}
}
