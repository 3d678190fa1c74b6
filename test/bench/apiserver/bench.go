package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/test/bench/report"
)

const (
	namespace = "bench"
	system    = "kedahttp-system"
	// crd is what the reference is called in the figures.
	crd = "the same as a CRD"
)

// kind is what is measured: ours, or the same objects as a plain CRD.
type kind struct {
	name    string
	version schema.GroupVersion
	plural  string
}

var (
	ours  = kind{"HTTPApp", schema.GroupVersion{Group: "apps.http.keda.sh", Version: "v1alpha1"}, "httpapps"}
	plain = kind{"PlainApp", schema.GroupVersion{Group: "bench.kedahttp.test", Version: "v1"}, "plainapps"}
	both  = []kind{ours, plain}
	// hop is no kind of objects, but the way to ours.
	hop = kind{name: "hop"}
)

// path is that of all objects, of those of the benchmark's namespace, or of one.
func (k kind) path(name string) string {
	p := fmt.Sprintf("/apis/%s/namespaces/%s/%s", k.version, namespace, k.plural)
	if name != "" {
		p += "/" + name
	}
	return p
}

type bench struct {
	server, interceptor string
	apps, watchers      int

	report *report.Report
	config *rest.Config
	client kubernetes.Interface
	// raw sends requests and does not look at what comes back: a client's own work is the same for both kinds.
	raw rest.Interface
	end func()
}

// prepare makes clients, the CRD and the namespace, and takes the reconciler's leadership, so that what is measured is the API:
// nobody makes anything of the apps, and nobody writes their status.
func (b *bench) prepare(ctx context.Context) error {
	b.end = func() {}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{})
	config, err := loader.ClientConfig()
	if err != nil {
		return err
	}
	config.Host, config.QPS = b.server, -1
	b.config = config
	if b.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if b.raw, err = newRaw(config); err != nil {
		return err
	}
	_, err = b.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := b.makeCRD(ctx); err != nil {
		return err
	}
	return b.takeLeadership(ctx)
}

func newRaw(config *rest.Config) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.GroupVersion = &schema.GroupVersion{}
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	return rest.UnversionedRESTClientFor(config)
}

// makeCRD makes a CRD that checks nothing, which is the cheapest there is.
func (b *bench) makeCRD(ctx context.Context) error {
	crds := apiextensions.NewForConfigOrDie(b.config).CustomResourceDefinitions()
	open := apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr.To(true)}
	_, err := crds.Create(ctx, &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plain.plural + "." + plain.version.Group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: plain.version.Group,
			Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plain.plural, Singular: "plainapp", Kind: plain.name, ListKind: plain.name + "List"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: plain.version.Version, Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": open, "status": open},
				}},
				AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{
					{Name: "Host", Type: "string", JSONPath: ".spec.routes[0].hosts[0]"},
					{Name: "Min", Type: "integer", JSONPath: ".spec.scaling.minReplicas"},
					{Name: "Max", Type: "integer", JSONPath: ".spec.scaling.maxReplicas"},
					{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"},
				},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		return b.get(ctx, plain.path(""), "application/json") == nil, nil
	})
}

// takeLeadership holds the Lease of the reconciler until the end.
func (b *bench) takeLeadership(ctx context.Context) error {
	leases := b.client.CoordinationV1().Leases(system)
	hold := func(ctx context.Context) error {
		lease, err := leases.Get(ctx, "kedahttp-reconciler", metav1.GetOptions{})
		if err != nil {
			return err
		}
		lease.Spec.HolderIdentity = ptr.To("benchmark")
		lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		return err
	}
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		err := hold(ctx)
		return err == nil, ignoreConflict(err)
	})
	if err != nil {
		return fmt.Errorf("taking the reconciler's leadership: %w", err)
	}
	holding, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = wait.PollUntilContextCancel(holding, 2*time.Second, false, func(ctx context.Context) (bool, error) {
			_ = hold(ctx)
			return false, nil
		})
	}()
	b.end = func() {
		cancel()
		<-done
		released, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = leases.Delete(released, "kedahttp-reconciler", metav1.DeleteOptions{})
	}
	// Replicas that never led have nothing of a leader's left to do.
	return b.rollOut(ctx)
}

// rollOut replaces the API server's replicas and waits for the new ones, and until the old ones are gone: one that led goes on for
// some seconds after it lost the Lease.
func (b *bench) rollOut(ctx context.Context) error {
	deployments := b.client.AppsV1().Deployments(system)
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	if _, err := deployments.Patch(ctx, "kedahttp-apiserver", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, 5*time.Minute, true, func(ctx context.Context) (bool, error) {
		d, err := deployments.Get(ctx, "kedahttp-apiserver", metav1.GetOptions{})
		if err != nil {
			return false, nil
		}
		s := d.Status
		if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != *d.Spec.Replicas || s.ReadyReplicas != s.UpdatedReplicas {
			return false, nil
		}
		pods, err := b.client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
		return err == nil && len(pods.Items) == int(s.UpdatedReplicas), nil
	})
}

func ignoreConflict(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// get reads a path, with parameters, to its end.
func (b *bench) get(ctx context.Context, path, accept string, params ...string) error {
	r := b.raw.Get().AbsPath(path).SetHeader("Accept", accept)
	for i := 0; i+1 < len(params); i += 2 {
		r = r.Param(params[i], params[i+1])
	}
	body, err := r.Stream(ctx)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // only read
	_, err = io.Copy(io.Discard, body)
	return err
}

// timed tells how long something took.
func timed(what func() error) (time.Duration, error) {
	started := time.Now()
	err := what()
	return time.Since(started), err
}

// app is the nth app: what a user would write, and some labels.
func app(k kind, n int) []byte {
	name := appName(n)
	object := map[string]any{
		"apiVersion": k.version.String(),
		"kind":       k.name,
		"metadata": map[string]any{
			"namespace": namespace, "name": name,
			"labels":      map[string]any{"app.kubernetes.io/name": name, "team": fmt.Sprintf("team-%d", n%100), "tier": "web"},
			"annotations": map[string]any{"example.com/owner": "somebody@example.com", "example.com/description": "An app of the benchmark, with an annotation as long as they are."},
		},
		"spec": map[string]any{
			"template": map[string]any{
				"metadata": map[string]any{"labels": map[string]any{"team": fmt.Sprintf("team-%d", n%100)}},
				"spec": map[string]any{
					"containers": []any{map[string]any{
						"name":  "app",
						"image": "kedahttp/test-echo:dev",
						"ports": []any{map[string]any{"containerPort": 8080, "name": "web", "protocol": "TCP"}},
						"env": []any{
							map[string]any{"name": "LOG_LEVEL", "value": "info"},
							map[string]any{"name": "DATABASE_HOST", "value": "database.example.com"},
						},
						"resources":      map[string]any{"requests": map[string]any{"cpu": "50m", "memory": "64Mi"}, "limits": map[string]any{"memory": "128Mi"}},
						"readinessProbe": map[string]any{"httpGet": map[string]any{"path": "/healthz", "port": "web", "scheme": "HTTP"}, "periodSeconds": 1},
					}},
				},
			},
			"routes":  []any{map[string]any{"hosts": []any{host(n)}, "pathPrefix": "/"}},
			"scaling": map[string]any{"minReplicas": 0, "maxReplicas": 5, "metric": "concurrency", "target": "10", "window": "1m0s", "cooldown": "5m0s", "autoscaler": "None"},
			"queue":   map[string]any{"maxPending": 1000, "maxWait": "2m0s"},
		},
	}
	data, err := json.Marshal(object)
	if err != nil {
		panic(err) // maps and strings
	}
	return data
}

func appName(n int) string { return fmt.Sprintf("app-%05d", n) }
func host(n int) string    { return appName(n) + ".bench.example.com" }
