package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const (
	resource = "httpapps"
	// fieldManager owns what the plugin writes.
	fieldManager = "kubectl-http"
)

// get returns an app. Of one that is not there the error names those that may have been meant.
func (c *clients) get(ctx context.Context, name string) (*v1alpha1.HTTPApp, error) {
	app, err := c.apps.HTTPApps(c.namespace).Get(ctx, name, metav1.GetOptions{})
	if isMissing(err) {
		return nil, c.missing(ctx, name, err)
	}
	return app, err
}

// isMissing says that an object is not there, where its API is.
func isMissing(err error) bool {
	return apierrors.IsNotFound(err) && detailsOf(err).Name != "" && !isNotServed(err)
}

// missingError says that there is no such app.
type missingError struct {
	namespace, name string
	near            []string
	err             error
}

func (e *missingError) Error() string {
	message := fmt.Sprintf("there is no app %s in namespace %s", e.name, e.namespace)
	if len(e.near) > 0 {
		return message + "; did you mean " + strings.Join(e.near, " or ") + "?"
	}
	return message
}

func (e *missingError) Unwrap() error { return e.err }

func (c *clients) missing(ctx context.Context, name string, err error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	names, _ := c.names(ctx, "") // it is only a help
	return &missingError{c.namespace, name, near(name, names), err}
}

// serverDryRun is what an option says that is to be tried only.
func serverDryRun(strategy cmdutil.DryRunStrategy) []string {
	if strategy == cmdutil.DryRunServer {
		return []string{metav1.DryRunAll}
	}
	return nil
}

// apply creates or changes an app by server-side apply. What the manifest says is the user's word, so it takes fields over from
// other managers.
func (c *clients) apply(ctx context.Context, name string, manifest []byte, strategy cmdutil.DryRunStrategy) (*v1alpha1.HTTPApp, error) {
	return c.apps.HTTPApps(c.namespace).Patch(ctx, name, types.ApplyPatchType, manifest,
		metav1.PatchOptions{FieldManager: fieldManager, Force: ptr.To(true), DryRun: serverDryRun(strategy)})
}

// change changes an app that there is. What is sent is what differs and nothing else, so that fields which only the server knows
// stay, on the condition that nobody changes the app meanwhile; if somebody does, it is changed anew.
func (c *clients) change(ctx context.Context, name string, strategy cmdutil.DryRunStrategy, change func(*v1alpha1.HTTPApp) error) (before, after *v1alpha1.HTTPApp, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if before, err = c.get(ctx, name); err != nil {
			return err
		}
		after = before.DeepCopy()
		if err := change(after); err != nil {
			return err
		}
		patch, err := difference(before, after)
		if err != nil || patch == nil || strategy == cmdutil.DryRunClient {
			return err
		}
		after, err = c.apps.HTTPApps(c.namespace).Patch(ctx, name, types.StrategicMergePatchType, patch,
			metav1.PatchOptions{FieldManager: fieldManager, DryRun: serverDryRun(strategy)})
		return err
	})
	return before, after, err
}

// difference is the patch from one version of an app to another, bound to the first; nil if they are the same.
func difference(before, after *v1alpha1.HTTPApp) ([]byte, error) {
	old, err := json.Marshal(before)
	if err != nil {
		return nil, err
	}
	changed, err := json.Marshal(after)
	if err != nil {
		return nil, err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(old, changed, v1alpha1.HTTPApp{})
	if err != nil || string(patch) == "{}" {
		return nil, err
	}
	var bound map[string]any
	if err := json.Unmarshal(patch, &bound); err != nil {
		return nil, err
	}
	metadata, ok := bound["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		bound["metadata"] = metadata
	}
	metadata["uid"], metadata["resourceVersion"] = before.UID, before.ResourceVersion
	return json.Marshal(bound)
}

// watcher lists and watches one app.
func (c *clients) watcher(name string) cache.ListerWatcher {
	only := func(opts metav1.ListOptions) metav1.ListOptions {
		opts.FieldSelector = metav1.ObjectNameField + "=" + name
		return opts
	}
	apps := c.apps.HTTPApps(c.namespace)
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			return apps.List(ctx, only(opts))
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			return apps.Watch(ctx, only(opts))
		},
	}
}

// goneError says that the workload which an app adopted is not there any more.
type goneError struct {
	app *v1alpha1.HTTPApp
	err error
}

func (e *goneError) Error() string {
	ref := e.app.Spec.WorkloadRef
	return fmt.Sprintf("the %s %s that app %s adopted is gone", ref.Kind, ref.Name, e.app.Name)
}

func (e *goneError) Unwrap() error { return e.err }

// goneIf tells a workload that is not there from all else that may be wrong with it.
func goneIf(app *v1alpha1.HTTPApp, err error) error {
	if app.Spec.WorkloadRef != nil && isMissing(err) {
		return &goneError{app, err}
	}
	return err
}

// workloadOf is the workload of an app: what it adopts, or the Deployment that is made for it.
func workloadOf(app *v1alpha1.HTTPApp) v1alpha1.WorkloadReference {
	if app.Spec.WorkloadRef != nil {
		return *app.Spec.WorkloadRef
	}
	return v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app.Name}
}

// url is where an app is reached. One whose routes all have fixed responses is nowhere.
func (c *clients) url(ctx context.Context, name string) (string, error) {
	app, err := c.get(ctx, name)
	if err != nil {
		return "", err
	}
	to, err := destinationOf(app)
	if err != nil {
		return "", err
	}
	return to.url.String(), nil
}

// urlOf is where the app is reached, as the server says or, before it does, as its first route does.
func urlOf(app *v1alpha1.HTTPApp) string {
	if app.Status.URL != "" {
		return app.Status.URL
	}
	for _, route := range app.Spec.Routes {
		if route.Static != nil || len(route.Hosts) == 0 {
			continue
		}
		path := route.PathPrefix
		if path == "/" {
			path = ""
		}
		return "http://" + route.Hosts[0] + path
	}
	return ""
}
