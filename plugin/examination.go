package plugin

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/rest"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// examination looks at an installation, and remembers what it has found.
type examination struct {
	*session
	clients *clients
	system  string
	found   []check
	// hopeless says that nothing else can be looked at.
	hopeless bool
}

func (e *examination) say(verdict, name, next, format string, args ...any) {
	e.found = append(e.found, check{Name: name, Verdict: verdict, Found: fmt.Sprintf(format, args...), Next: next})
}

func (e *examination) failed() bool {
	return slices.ContainsFunc(e.found, func(c check) bool { return c.Verdict == fail })
}

// oldest is the oldest Kubernetes that kedahttp is meant for.
var oldest = version.MustParseGeneric("1.30")

const (
	// tolerable and harmful are how far clocks may be apart.
	tolerable = 5 * time.Second
	harmful   = time.Minute
	// expiring is how long before its end a certificate is worth a word.
	expiring = 7 * 24 * time.Hour
)

// cluster looks whether the cluster answers, how old it is, and what its clock says.
func (e *examination) cluster(ctx context.Context) {
	var date string
	config := rest.CopyConfig(e.clients.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			res, err := next.RoundTrip(r)
			if err == nil {
				date = res.Header.Get("Date")
			}
			return res, err
		})
	})
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		e.say(fail, "cluster", "", "%v", err)
		e.hopeless = true
		return
	}
	found, err := e.clients.kubernetes.Discovery().ServerVersion()
	if err != nil {
		e.say(fail, "cluster", "choose one that answers: kubectl config get-contexts", "%v", err)
		e.hopeless = true
		return
	}
	running, err := version.ParseGeneric(found.GitVersion)
	switch {
	case err != nil:
		e.say(warn, "cluster", "", "its version %q cannot be read", found.GitVersion)
	case running.LessThan(oldest):
		e.say(fail, "cluster", fmt.Sprintf("kedahttp is meant for Kubernetes %s and later", oldest), "Kubernetes %s", found.GitVersion)
	default:
		e.say(pass, "cluster", "", "Kubernetes %s at %s", found.GitVersion, e.clients.config.Host)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(hostOf(e.clients.config.Host), "/")+"/version", nil)
	if err != nil {
		return
	}
	res, err := client.Do(req)
	if err != nil {
		return // its version was read a moment ago
	}
	res.Body.Close() //nolint:errcheck // only the header counts
	theirs, err := http.ParseTime(date)
	if err != nil {
		return
	}
	switch off := e.now().Sub(theirs).Abs().Truncate(time.Second); {
	case off >= harmful:
		e.say(warn, "clock", "set one of them: certificates and times in status are judged by it", "this machine and the cluster are %v apart", off)
	case off >= tolerable:
		e.say(warn, "clock", "", "this machine and the cluster are %v apart", off)
	default:
		e.say(pass, "clock", "", "as the cluster's")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// api looks at the APIService, its certificate, and whether apps can be read.
func (e *examination) api(ctx context.Context) {
	service, err := e.clients.apiServiceNamed(ctx, apiServiceName)
	switch {
	case apierrors.IsNotFound(err):
		e.say(fail, "APIService", e.calledAs+" install --help", "%s is not there: kedahttp is not installed", apiServiceName)
		e.hopeless = true
		return
	case apierrors.IsForbidden(err):
		e.say(warn, "APIService", "", "you may not read APIServices")
	case err != nil:
		e.say(fail, "APIService", "", "%v", err)
	default:
		e.apiService(service)
	}
	began := e.now()
	_, err = e.clients.apps.HTTPApps(e.clients.namespace).List(ctx, metav1.ListOptions{Limit: 1})
	switch took := e.now().Sub(began); {
	case apierrors.IsForbidden(err):
		e.say(warn, "apps", "ask who administers the namespace for the role view", "you may not list apps in namespace %s", e.clients.namespace)
	case err != nil:
		e.say(fail, "apps", "kubectl logs -n "+e.system+" deployment/kedahttp-apiserver", "they cannot be listed: %v", err)
	case took > time.Second:
		e.say(warn, "apps", "", "a list of one took %v", took.Round(time.Millisecond))
	default:
		e.say(pass, "apps", "", "are served; a list of one took %v", took.Round(time.Millisecond))
	}
}

func (e *examination) apiService(service *apiService) {
	i := slices.IndexFunc(service.Status.Conditions, func(c struct{ Type, Status, Reason, Message string }) bool { return c.Type == "Available" })
	switch {
	case i < 0:
		e.say(warn, "APIService", "", "the cluster has not looked at it yet")
	case service.Status.Conditions[i].Status != "True":
		e.say(fail, "APIService", "kubectl get pods -n "+e.system, "not available: %s: %s", service.Status.Conditions[i].Reason, service.Status.Conditions[i].Message)
	default:
		e.say(pass, "APIService", "", "%s is available", apiServiceName)
	}
	if len(service.Spec.CABundle) == 0 {
		e.say(fail, "certificate", "the API server fills it in: kubectl logs -n "+e.system+" deployment/kedahttp-apiserver", "the APIService has no CA bundle")
		return
	}
	e.certificate("certificate", service.Spec.CABundle)
}

// certificate looks how long certificates are still good for: of a bundle, the one that is longest.
func (e *examination) certificate(name string, bundle []byte) {
	var until time.Time
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && c.NotAfter.After(until) {
			until = c.NotAfter
		}
	}
	left := until.Sub(e.now())
	switch {
	case until.IsZero():
		e.say(fail, name, "", "there is none that can be read")
	case left <= 0:
		e.say(fail, name, "kubectl rollout restart -n "+e.system+" deployment/kedahttp-apiserver", "it expired at %s", until.Format(time.RFC3339))
	case left < expiring:
		e.say(warn, name, "it should have been renewed by now: kubectl logs -n "+e.system+" deployment/kedahttp-apiserver", "it expires at %s", until.Format(time.RFC3339))
	default:
		e.say(pass, name, "", "of the API: valid until %s", until.Format(time.DateOnly))
	}
}

// parts looks at what runs.
func (e *examination) parts(ctx context.Context) {
	for _, program := range programs {
		name := "kedahttp-" + program
		d, err := e.clients.kubernetes.AppsV1().Deployments(e.system).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsForbidden(err):
			e.say(warn, program, "", "you may not read Deployments in namespace %s", e.system)
			return
		case apierrors.IsNotFound(err):
			e.say(fail, program, e.calledAs+" upgrade", "there is no Deployment %s in namespace %s", name, e.system)
			continue
		case err != nil:
			e.say(fail, program, "", "%v", err)
			continue
		}
		e.part(program, d)
	}
}

func (e *examination) part(program string, d *appsv1.Deployment) {
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	image := d.Spec.Template.Spec.Containers[0].Image
	next := fmt.Sprintf("kubectl describe pods -n %s -l %s=%s", e.system, nameLabel, d.Name)
	switch ready := d.Status.ReadyReplicas; {
	case ready == 0:
		e.say(fail, program, next, "none of %d replicas is ready (%s)", wanted, image)
	case ready < wanted:
		e.say(warn, program, next, "%d of %d replicas are ready (%s)", ready, wanted, image)
	case d.Status.UpdatedReplicas < wanted:
		e.say(warn, program, next, "%d of %d replicas are of the latest template (%s)", d.Status.UpdatedReplicas, wanted, image)
	default:
		e.say(pass, program, "", "%d of %d replicas are ready (%s)", ready, wanted, image)
	}
}

// keda looks for KEDA, and for the version that it says it is.
func (e *examination) keda(ctx context.Context) {
	_, err := e.clients.kubernetes.Discovery().ServerResourcesForGroupVersion("keda.sh/v1alpha1")
	switch {
	case apierrors.IsNotFound(err):
		e.say(warn, "KEDA", "install it, or let apps be scaled without: spec.scaling.autoscaler: HPA", "it is not installed")
		return
	case err != nil:
		e.say(warn, "KEDA", "", "%v", err)
		return
	}
	list, err := e.clients.kubernetes.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: labels.Set{"app": "keda-operator"}.String()})
	if err == nil && len(list.Items) == 0 {
		list, err = e.clients.kubernetes.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: labels.Set{nameLabel: "keda-operator"}.String()})
	}
	if err != nil || len(list.Items) == 0 {
		e.say(pass, "KEDA", "", "is served; its operator is not seen")
		return
	}
	operator := list.Items[0]
	running := operator.Labels["app.kubernetes.io/version"]
	if running == "" {
		running = operator.Spec.Template.Spec.Containers[0].Image
	}
	if operator.Status.ReadyReplicas == 0 {
		e.say(fail, "KEDA", fmt.Sprintf("kubectl describe pods -n %s -l app=keda-operator; apps wake without it, and do not grow", operator.Namespace), "%s, none of its operators is ready", running)
		return
	}
	e.say(pass, "KEDA", "", "%s, %d operators are ready", running, operator.Status.ReadyReplicas)
}

// rights looks what the user may do.
func (e *examination) rights(ctx context.Context) {
	var lacking []string
	for _, r := range []authorizationv1.ResourceAttributes{
		{Namespace: e.clients.namespace, Verb: "create", Group: v1alpha1.GroupName, Resource: resource},
		{Namespace: e.clients.namespace, Verb: "create", Group: "apps", Resource: "deployments"},
		{Namespace: e.clients.namespace, Verb: "get", Resource: "pods", Subresource: "log"},
		{Namespace: e.system, Verb: "create", Resource: "pods", Subresource: "portforward"},
	} {
		review, err := e.clients.kubernetes.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &r},
		}, metav1.CreateOptions{})
		if err != nil {
			e.say(warn, "rights", "", "%v", err)
			return
		}
		if !review.Status.Allowed {
			what := r.Resource
			if r.Subresource != "" {
				what += "/" + r.Subresource
			}
			lacking = append(lacking, fmt.Sprintf("%s %s in %s", r.Verb, what, r.Namespace))
		}
	}
	if len(lacking) > 0 {
		e.say(warn, "rights", "to deploy takes the role edit of the namespace; curl, port-forward and load take port-forwards to interceptors", "you may not %s", strings.Join(lacking, ", "))
		return
	}
	e.say(pass, "rights", "", "to deploy into namespace %s and to reach the interceptors", e.clients.namespace)
}

// interceptors asks each of them whether it is ready.
func (e *examination) interceptors(ctx context.Context) {
	pods, err := e.clients.kubernetes.CoreV1().Pods(e.system).List(ctx, metav1.ListOptions{LabelSelector: labels.Set{nameLabel: interceptorName}.String()})
	if err != nil {
		e.say(warn, "interceptors", "", "%v", err)
		return
	}
	var problems []string
	answered := 0
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		if err := e.askReady(ctx, pod); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", pod.Name, err))
		} else {
			answered++
		}
	}
	switch {
	case answered == 0 && len(problems) == 0:
		e.say(fail, "interceptors", "kubectl get pods -n "+e.system, "none runs")
	case answered == 0:
		e.say(fail, "interceptors", "", "none answers: %s", strings.Join(problems, "; "))
	case len(problems) > 0:
		e.say(warn, "interceptors", "", "%d answer: %s", answered, strings.Join(problems, "; "))
	default:
		e.say(pass, "interceptors", "", "%d answer that they are ready", answered)
	}
}

func (e *examination) askReady(ctx context.Context, pod *corev1.Pod) error {
	port, ok := portNamed(pod, "admin")
	if !ok {
		return errors.New("it has no port admin")
	}
	t, err := e.forward(ctx, e.clients, pod, port)
	if err != nil {
		return err
	}
	defer t.stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.address+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close() //nolint:errcheck // only the status counts
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it says %s", res.Status)
	}
	return nil
}

// apps looks how many apps fail, and whether the DNS leads to one.
func (e *examination) apps(ctx context.Context, name, host string) {
	apps := e.clients.apps.HTTPApps(e.clients.namespace)
	failing, err := apps.List(ctx, metav1.ListOptions{FieldSelector: v1alpha1.FieldReady + "=False", Limit: mostNames})
	switch {
	case err != nil:
	case len(failing.Items) > 0:
		e.say(warn, "health", fmt.Sprintf("%s status %s", e.calledAs, failing.Items[0].Name), "%s failing in namespace %s", howMany(len(failing.Items), "app is", "apps are"), e.clients.namespace)
	default:
		e.say(pass, "health", "", "no app of namespace %s is failing", e.clients.namespace)
	}
	if host == "" {
		app, err := e.someApp(ctx, name)
		if err != nil {
			e.say(fail, "DNS", "", "%v", err)
			return
		}
		if app == nil {
			e.say(warn, "DNS", "say --host, or deploy an app", "there is no app whose host could be asked for")
			return
		}
		u, err := url.Parse(urlOf(app))
		if err != nil {
			return
		}
		host = u.Host
	}
	e.dns(ctx, host)
}

func (e *examination) someApp(ctx context.Context, name string) (*v1alpha1.HTTPApp, error) {
	if name != "" {
		return e.clients.get(ctx, name)
	}
	list, err := e.clients.apps.HTTPApps(e.clients.namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil || len(list.Items) == 0 {
		return nil, err
	}
	return &list.Items[0], nil
}

func (e *examination) dns(ctx context.Context, host string) {
	name, port := host, "80"
	if h, p, err := net.SplitHostPort(host); err == nil {
		name, port = h, p
	}
	addresses, err := e.lookup(ctx, name)
	if err != nil {
		e.say(warn, "DNS", "let the name, or a wildcard of its domain, lead to the Service kedahttp-interceptor; until then: "+e.calledAs+" curl and port-forward", "%s leads nowhere: %v", name, err)
		return
	}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(limited, "tcp", net.JoinHostPort(addresses[0], port))
	if err != nil {
		e.say(warn, "DNS", "let it lead to the Service kedahttp-interceptor, and packets get there", "%s leads to %s, where nobody answers at port %s: %v", name, addresses[0], port, err)
		return
	}
	conn.Close() //nolint:errcheck // somebody took it, which is all that matters
	e.say(pass, "DNS", "", "%s leads to %s, where somebody answers at port %s", name, strings.Join(addresses, " "), port)
}
