package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/client/versioned"
	"github.com/kedahttp/kedahttp/test/bench/report"
)

const (
	namespace = "bench-scaling"
	system    = "kedahttp-system"
	theGoal   = "the goal"
	// look is how often it is looked whether something has happened that is not measured.
	look = 50 * time.Millisecond
)

type bench struct {
	server, interceptor string
	rounds              int

	report *report.Report
	client kubernetes.Interface
	apps   versioned.Interface
	// http sends every request to the interceptors, whatever its host, each on a connection of its own.
	http *http.Client
	end  func()
}

func (b *bench) prepare(ctx context.Context) error {
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{})
	config, err := loader.ClientConfig()
	if err != nil {
		return err
	}
	config.Host, config.QPS = b.server, -1
	if b.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if b.apps, err = versioned.NewForConfig(config); err != nil {
		return err
	}
	b.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, b.interceptor)
	}}}
	_, err = b.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		err = fmt.Errorf("the namespace %s is there already, from a run before: delete it first", namespace)
	}
	b.end = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = b.client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
	}
	return err
}

// template is a small server whose image is there, and which is asked once a second whether it is ready.
func template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](2),
			Containers: []corev1.Container{{
				Name: "app", Image: "kedahttp/test-echo:dev", ImagePullPolicy: corev1.PullNever,
				Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}},
				ReadinessProbe: &corev1.Probe{
					PeriodSeconds: 1,
					ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("web")}},
				},
			}},
		},
	}
}

// deploy makes an app that sleeps as soon as it may, and waits until requests are routed to it.
func (b *bench) deploy(ctx context.Context, name string, scaling v1alpha1.Scaling) error {
	scaling.Cooldown = &metav1.Duration{Duration: time.Second}
	app := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.HTTPAppSpec{
			Template: ptr.To(template()),
			Routes:   []v1alpha1.Route{{Hosts: []string{host(name)}}},
			Scaling:  scaling,
		},
	}
	if _, err := b.apps.AppsV1alpha1().HTTPApps(namespace).Create(ctx, app, metav1.CreateOptions{}); err != nil {
		return err
	}
	return b.until(ctx, name+" is ready", func(ctx context.Context) (bool, error) {
		app, err := b.apps.AppsV1alpha1().HTTPApps(namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady), nil
	})
}

func host(app string) string { return app + ".bench.example.com" }

func atMost(replicas int32, target string) v1alpha1.Scaling {
	return v1alpha1.Scaling{MaxReplicas: &replicas, Target: ptr.To(resource.MustParse(target))}
}

// until waits for what is not measured.
func (b *bench) until(ctx context.Context, what string, is wait.ConditionWithContextFunc) error {
	if err := wait.PollUntilContextTimeout(ctx, look, 3*time.Minute, true, is); err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}

// sleeps waits until a workload has no replica and no pod.
func (b *bench) sleeps(ctx context.Context, name, selector string) error {
	return b.until(ctx, name+" has no pod", func(ctx context.Context) (bool, error) {
		d, err := b.client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil || ptr.Deref(d.Spec.Replicas, 1) > 0 {
			return false, nil
		}
		pods, err := b.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		return err == nil && len(pods.Items) == 0, nil
	})
}

func podsOf(app string) string { return v1alpha1.AppLabel + "=" + app }

// get sends a GET to an app and reads the answer to its end.
func (b *bench) get(ctx context.Context, app, path string) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host(app)+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := b.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s%s: %s: %s", host(app), path, res.Status, body)
	}
	return res.Header, err
}

// ready is told when a Deployment has so many ready pods.
func (b *bench) ready(ctx context.Context, name string, pods int32) (<-chan time.Time, error) {
	watcher, err := b.client.AppsV1().Deployments(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return nil, err
	}
	at := make(chan time.Time, 1)
	go func() {
		defer watcher.Stop()
		for e := range watcher.ResultChan() {
			if d, ok := e.Object.(*appsv1.Deployment); ok && d.Status.ReadyReplicas >= pods {
				at <- time.Now()
				return
			}
		}
	}()
	return at, nil
}
