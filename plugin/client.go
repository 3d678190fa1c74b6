package plugin

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const (
	resource = "httpapps"
	// fieldManager owns what deploy sets.
	fieldManager = "kubectl-http"
)

var (
	scheme         = runtime.NewScheme()
	parameterCodec = runtime.NewParameterCodec(scheme)
)

func init() {
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		panic(fmt.Sprintf("the API's types do not fit a scheme: %v", err))
	}
	metav1.AddToGroupVersion(scheme, metav1.Unversioned)
}

// apps are the apps of one namespace.
type apps struct {
	client    rest.Interface
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
	config = rest.CopyConfig(config)
	config.GroupVersion = &v1alpha1.SchemeGroupVersion
	config.APIPath = "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	return &apps{client, namespace}, nil
}

func (a *apps) get(ctx context.Context, name string) (*v1alpha1.HTTPApp, error) {
	app := &v1alpha1.HTTPApp{}
	err := a.client.Get().Namespace(a.namespace).Resource(resource).Name(name).Do(ctx).Into(app)
	return app, explain(err)
}

// apply creates or changes an app by server-side apply. What deploy says is the user's word, so it takes fields over from
// other managers.
func (a *apps) apply(ctx context.Context, name string, manifest []byte, dryRun bool) (*v1alpha1.HTTPApp, error) {
	force := true
	opts := metav1.PatchOptions{FieldManager: fieldManager, Force: &force}
	if dryRun {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	app := &v1alpha1.HTTPApp{}
	err := a.client.Patch(types.ApplyPatchType).Namespace(a.namespace).Resource(resource).Name(name).
		VersionedParams(&opts, parameterCodec).Body(manifest).Do(ctx).Into(app)
	return app, explain(err)
}

// watcher lists and watches one app.
func (a *apps) watcher(name string) cache.ListerWatcher {
	only := func(opts *metav1.ListOptions) { opts.FieldSelector = metav1.ObjectNameField + "=" + name }
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			only(&opts)
			return a.client.Get().Namespace(a.namespace).Resource(resource).VersionedParams(&opts, parameterCodec).Do(ctx).Get()
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			only(&opts)
			opts.Watch = true
			return a.client.Get().Namespace(a.namespace).Resource(resource).VersionedParams(&opts, parameterCodec).Watch(ctx)
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
