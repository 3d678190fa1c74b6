package plugin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// scenes are what the golden files show of each command.
var scenes = map[string][]scene{
	"deploy": {
		{shows: "a new app", args: "new --image example.com/new:1"},
		{shows: "a change", args: "hello --image example.com/hello:4 --scale 1..3"},
		{shows: "nothing new", args: "hello --scale ..5"},
		{shows: "what would be", args: "new --image example.com/new:1 --dry-run=client -o yaml"},
		{shows: "what the server would make of it", args: "hello --scale 2.. --dry-run=server"},
		{shows: "a file", args: "-f testdata/app.yaml --no-wait"},
		{shows: "a file on stdin", args: "-f - --dry-run=client", stdin: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n"},
		{shows: "a workload that there is", args: "lent --from deployment/hello --no-wait -o name"},
		{shows: "a replica to see whether it comes up", args: "hello --env A=2 --try", given: asleep},
		{shows: "an app that does not come up", args: "hello --env A=2 --wait-timeout 50ms", given: starts},
		{shows: "no image", args: "new --scale 1..3"},
		{shows: "no right", args: "hello --image example.com/hello:4", given: forbid("patch httpapps")},
		{shows: "nothing installed", args: "hello --image example.com/hello:4", given: away(http.StatusNotFound)},
		{shows: "the server away", args: "hello --image example.com/hello:4", given: away(http.StatusServiceUnavailable)},
		{shows: "a flag that there is not", args: "hello --picture example.com/hello:4"},
	},
	"list": {
		{shows: "the apps of the namespace"},
		{shows: "an app, for other programs", args: "hello -o jsonpath={.spec.port}"},
		{shows: "names, by labels", args: "-l team=web -o name"},
		{shows: "apps of all namespaces", args: "-A"},
		{shows: "an app that there is not", args: "nobody"},
		{shows: "no apps", given: func(c *cluster) { c.lacks("httpapps") }},
		{shows: "no right", given: forbid("list httpapps")},
		{shows: "nothing installed", given: away(http.StatusNotFound)},
	},
	"status": {
		{shows: "an app that serves", args: "hello"},
		{shows: "an app at zero", args: "hello", given: asleep},
		{shows: "an app that is paused at zero", args: "hello", given: pausedAtZero},
		{shows: "an app that crashes", args: "hello", given: crashes},
		{shows: "an app that is held", args: "hello", given: func(c *cluster) {
			c.app(func(app *v1alpha1.HTTPApp) { _ = hold{By: "wake", Until: noon.Add(time.Hour)}.begin(app) })
		}},
		{shows: "one value", args: "hello -o jsonpath={.status.traffic.requestRate}"},
		{shows: "changes, where there is no terminal", args: "hello --watch", until: "serving"},
		{shows: "a name mistyped", args: "helo"},
		{shows: "nothing installed", args: "hello", given: away(http.StatusNotFound)},
		{shows: "no right", args: "hello", given: forbid("get httpapps")},
		{shows: "no right to events", args: "hello", given: forbid("list events")},
		{shows: "no name"},
	},
	"scale": {
		{shows: "replicas of now", args: "hello 3"},
		{shows: "bounds", args: "hello --min 1 --max 7"},
		{shows: "a try", args: "hello 2 --dry-run=server -o yaml"},
		{shows: "more than there may be", args: "hello 9"},
		{shows: "no right", args: "hello 3", given: forbid("update httpapps/scale")},
		{shows: "no such app", args: "nobody 3"},
		{shows: "no number", args: "hello many"},
	},
	"wake": {
		{shows: "an app at zero", args: "hello", given: asleep},
		{shows: "an app that is awake", args: "hello"},
		{shows: "an app that is kept awake", args: "hello --for 10m", given: asleep, until: "woken"},
		{shows: "a try", args: "hello --dry-run=client", given: asleep},
		{shows: "a hold cannot be tried", args: "hello --for 10m --dry-run=client"},
		{shows: "no such app", args: "nobody"},
	},
	"sleep": {
		{shows: "an app that is awake", args: "hello"},
		{shows: "an app that is kept asleep", args: "hello --for 10m", until: "held until"},
		{shows: "a try", args: "hello --dry-run=server -o name"},
		{shows: "no right", args: "hello", given: forbid("get httpapps/scale")},
		{shows: "no such app", args: "nobody"},
	},
	"pause": {
		{shows: "an app", args: "hello"},
		{shows: "a try", args: "hello --dry-run=client"},
		{shows: "no right", args: "hello", given: forbid("patch httpapps")},
		{shows: "no such app", args: "nobody"},
	},
	"resume": {
		{shows: "an app that is paused", args: "hello", given: func(c *cluster) { c.app(func(app *v1alpha1.HTTPApp) { app.Spec.Scaling.Paused = true }) }},
		{shows: "two apps", args: "hello world"},
	},
	"set":           {{shows: "nothing", args: "color hello red"}},
	"set image":     {{shows: "another image", args: "hello example.com/hello:4"}, {shows: "the same", args: "hello example.com/hello:1"}, {shows: "none", args: "hello"}},
	"set env":       {{shows: "one more and one less", args: "hello C=3 B-"}, {shows: "no assignment", args: "hello C"}},
	"set host":      {{shows: "two hosts", args: "hello a.test b.test"}, {shows: "no right", args: "hello a.test", given: forbid("patch httpapps")}},
	"set expose":    {{shows: "an Ingress", args: "hello --ingress=nginx"}, {shows: "nothing", args: "hello"}},
	"set port":      {{shows: "another port", args: "hello 3000"}, {shows: "no port", args: "hello 70000"}},
	"set health":    {{shows: "another path", args: "hello /ready"}, {shows: "no path", args: "hello ready"}},
	"set timeout":   {{shows: "another timeout", args: "hello 30s"}, {shows: "no duration", args: "hello soon"}},
	"set resources": {{shows: "memory", args: "hello --memory 64Mi"}, {shows: "nothing", args: "hello"}},
	"restart": {
		{shows: "an app", args: "hello"},
		{shows: "an app with an adopted workload", args: "hello", given: adopts},
		{shows: "no such app", args: "nobody"},
	},
	"history": {
		{shows: "three revisions", args: "hello"},
		{shows: "an adopted workload that has gone", args: "hello", given: func(c *cluster) { adopts(c); c.lacks("deployments") }},
		{shows: "no right", args: "hello", given: forbid("list replicasets")},
	},
	"rollback": {
		{shows: "the revision before", args: "hello"},
		{shows: "one that is named, tried", args: "hello 1 --dry-run=client"},
		{shows: "one that there is not", args: "hello 9"},
		{shows: "no number", args: "hello last"},
	},
	"export": {
		{shows: "an app", args: "hello"},
		{shows: "all apps, with their namespace", args: "--all --with-namespace"},
		{shows: "no such app", args: "nobody"},
		{shows: "no app", args: ""},
	},
	"import": {
		{shows: "a file", args: "-f migrate/testdata/httpscaledobject.yaml"},
		{shows: "nothing of others in the cluster", args: "--all"},
		{shows: "what cannot be imported", args: "deployment/hello"},
	},
	"delete": {
		{shows: "an app", args: "hello"},
		{shows: "apps by labels", args: "-l team=web --dry-run=server"},
		{shows: "an app that there is not, which is no error", args: "nobody --ignore-not-found -o yaml"},
		{shows: "an app, and its workload stays", args: "hello --keep-workload"},
		{shows: "its workload would stay", args: "hello --keep-workload --dry-run=client"},
		{shows: "no such app", args: "nobody"},
		{shows: "no such app whose workload could stay", args: "nobody --keep-workload"},
		{shows: "no right", args: "hello", given: forbid("delete httpapps")},
		{shows: "no right to what scales it", args: "hello --keep-workload", given: forbid("list scaledobjects")},
		{shows: "named and selected", args: "hello --all"},
	},
	"url": {
		{shows: "where an app is", args: "hello"},
		{shows: "an app that is nowhere", args: "hello", given: nowhere},
		{shows: "no such app", args: "nobody"},
	},
	"open": {
		{shows: "an app in the browser", args: "hello"},
		{shows: "only where it is", args: "hello -o json"},
		{shows: "an app that is nowhere", args: "hello", given: nowhere},
	},
	"curl": {
		{shows: "an app that is warm", args: "hello"},
		{shows: "a path, cold, with arguments of curl's", args: "hello /cold -- -X POST"},
		{shows: "the URL itself", args: "hello --direct"},
		{shows: "what became of it, for other programs", args: "hello /cold -o json"},
		{shows: "curl fails", args: "hello -- --max-time=0"},
		{shows: "no interceptor", args: "hello", given: func(c *cluster) { c.lacks("pods") }},
		{shows: "no path", args: "hello items"},
		{shows: "no right to pods", args: "hello", given: forbid("list pods")},
		{shows: "no such app", args: "nobody"},
	},
	"port-forward": {
		{shows: "a free port", args: "hello", until: "Ctrl-C"},
		{shows: "for other programs", args: "hello -o json", until: "Ctrl-C"},
		{shows: "no interceptor", args: "hello 0", given: func(c *cluster) { c.lacks("pods") }},
		{shows: "no port", args: "hello http"},
		{shows: "no such app", args: "nobody"},
	},
	"logs": {
		{shows: "all there is", args: "hello"},
		{shows: "the last line, with its time", args: "hello --tail 1 --timestamps"},
		{shows: "two replicas", args: "hello", given: func(c *cluster) { c.has(podOf("hello-2")); c.logs["hello-2/app"] = "listening on :8080\n" }},
		{shows: "before the last crash", args: "hello --previous", given: func(c *cluster) { c.logs["previous hello-1/app"] = "panic: no\n" }},
		{shows: "all that comes", args: "hello -f", until: "/slow"},
		{shows: "the access log", args: "hello --interceptor"},
		{shows: "an object for each line", args: "hello -o json"},
		{shows: "the access log with times, as objects", args: "hello --interceptor -o json"},
		{shows: "the access log with times", args: "hello --interceptor --timestamps"},
		{shows: "no replica", args: "hello", given: func(c *cluster) { c.lacks("pods") }},
		{shows: "no right", args: "hello", given: forbid("list pods")},
		{shows: "no right to logs", args: "hello", given: forbid("get pods/log")},
		{shows: "no such container", args: "hello -c side"},
		{shows: "what contradicts itself", args: "hello -f --previous"},
	},
	"top": {
		{shows: "how it is now", args: "--once"},
		{shows: "an app, for other programs", args: "hello --once -o json"},
		{shows: "what moves", args: "", until: "world"},
		{shows: "no such app", args: "nobody"},
		{shows: "no right", args: "-A", given: forbid("list httpapps")},
		{shows: "what is no colour", args: "--color red"},
	},
	"load": {
		{shows: "ten requests", args: "hello --requests 10 -c 2"},
		{shows: "cold starts", args: "hello /cold --cold --requests 2"},
		{shows: "responses that are failures", args: "hello /broken --requests 3 -c 1"},
		{shows: "for other programs", args: "hello --requests 1 -o yaml"},
		{shows: "no interceptor", args: "hello", given: func(c *cluster) { c.lacks("pods") }},
		{shows: "no right to scale it", args: "hello --cold", given: forbid("update httpapps/scale")},
		{shows: "no callers", args: "hello -c 0"},
	},
	"install": {
		{shows: "an edition of one's own", args: "-k testdata/edition", given: func(c *cluster) { c.lacks("deployments") }},
		{shows: "a try", args: "-k testdata/edition --dry-run=server", given: func(c *cluster) { c.lacks("deployments") }},
		{shows: "names", args: "-k testdata/edition --dry-run=client -o name", given: func(c *cluster) { c.lacks("deployments") }},
		{shows: "what is there already", args: "--domain apps.test"},
		{shows: "no right", args: "-k testdata/edition", given: func(c *cluster) { c.lacks("deployments"); forbid("patch namespaces")(c) }},
		{shows: "no domain"},
	},
	"upgrade": {
		{shows: "an edition of one's own", args: "-k testdata/edition"},
		{shows: "flags would be lost", args: "-k testdata/edition", given: func(c *cluster) { c.has(installed("--domain=apps.test", "--etcd-servers=x")) }},
		{shows: "nothing to upgrade", given: func(c *cluster) { c.lacks("deployments") }},
		{shows: "no right", given: forbid("get deployments")},
	},
	"uninstall": {
		{shows: "there are apps", args: "-k testdata/edition"},
		{shows: "all of it", args: "-k testdata/edition --yes"},
		{shows: "a try", args: "-k testdata/edition --yes --dry-run=server"},
		{shows: "what would be", args: "-k testdata/edition --yes --dry-run=client"},
		{shows: "names", args: "-k testdata/edition --yes --dry-run=server -o name"},
		{shows: "nothing there", args: "-k testdata/edition", given: func(c *cluster) { away(http.StatusNotFound)(c); clear(c.objects) }},
		{shows: "Helm's", args: "-k testdata/edition", given: func(c *cluster) {
			d := installed()
			d.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"}
			c.has(d)
		}},
		{shows: "no right", args: "-k testdata/edition --yes", given: forbid("delete apiservices")},
		{shows: "too much", args: "now"},
	},
	"generate": {
		{shows: "an edition of one's own", args: "-k testdata/edition"},
		{shows: "the same for other programs", args: "-k testdata/edition -o json"},
		{shows: "no domain"},
	},
	"doctor": {
		{shows: "an installation that is well", args: "hello --host 127.0.0.1:1"},
		{shows: "for other programs", args: "hello -o yaml", given: func(c *cluster) { c.app(func(app *v1alpha1.HTTPApp) { app.Status.URL = "http://hello.nowhere.test" }) }},
		{shows: "nothing installed", given: func(c *cluster) { c.lacks("apiservices") }},
		{shows: "parts that do not run", args: "--host app.nowhere.test", given: func(c *cluster) {
			c.lacks("pods")
			c.has(part("scaler", 0))
			c.lacks("scaledobjects")
			c.away["keda.sh"] = http.StatusNotFound
		}},
		{shows: "few rights", args: "--host app.nowhere.test", given: func(c *cluster) {
			c.forbidden = []string{"get apiservices", "get deployments", "list deployments", "list pods", "list httpapps", "create deployments", "create pods/portforward"}
		}},
		{shows: "no cluster", given: func(c *cluster) { c.server.Close() }},
		{shows: "no word", args: "-o xml"},
	},
	"version": {
		{shows: "all versions"},
		{shows: "the plugin's, for other programs", args: "--client -o json"},
		{shows: "nothing installed", given: away(http.StatusNotFound)},
	},
	"completion": {{shows: "what kubectl calls"}},
	"options":    {{shows: "the flags of the connection"}},
}

// usual is what is in a cluster: kedahttp, the app hello, which serves, and the app world, which is idle.
func usual() []runtime.Object {
	app := hello()
	app.CreationTimestamp = metav1.NewTime(noon.Add(-time.Hour))
	app.Status.Replicas, app.Status.ReadyReplicas = 1, 1
	app.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready", Message: "requests to the app's URL are answered"}}
	app.Status.Traffic = &v1alpha1.Traffic{
		Pending: 0, InFlight: 2, Concurrency: apiresource.MustParse("2500m"), RequestRate: apiresource.MustParse("17400m"), ColdStarts: 3,
		SampledAt: ptr.To(metav1.NewMicroTime(noon)), LastRequestTime: ptr.To(metav1.NewMicroTime(noon.Add(-2 * time.Second))),
		LastColdStart: &v1alpha1.CompleteColdStart{Time: metav1.NewMicroTime(noon.Add(-time.Minute)), Total: metav1.Duration{Duration: 612 * time.Millisecond},
			Stages: []v1alpha1.ColdStartStage{{Name: "address", After: metav1.Duration{Duration: 401 * time.Millisecond}}}},
		Interceptors: v1alpha1.Interceptors{Reporting: 1, Expected: 1},
	}
	world := hello()
	world.Name, world.UID, world.Labels = "world", "u-2", nil
	world.CreationTimestamp = app.CreationTimestamp
	world.Spec.Routes[0].Hosts[0] = "world.shop.example.com"
	world.Status = v1alpha1.HTTPAppStatus{ObservedGeneration: 3, URL: "http://world.shop.example.com", Conditions: app.Status.Conditions}
	pod := podOf("kedahttp-interceptor-1")
	pod.Namespace, pod.Labels = usualNamespace, map[string]string{nameLabel: interceptorName}
	pod.Spec.Containers = []corev1.Container{{Name: "interceptor", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}, {Name: "admin", ContainerPort: 9090}}}}
	pod.Status.ContainerStatuses[0].Name = "interceptor"
	keda := part("operator", 1)
	keda.Name, keda.Namespace, keda.Labels = "keda-operator", "keda", map[string]string{"app": "keda-operator", "app.kubernetes.io/version": "2.20.1"}
	return append(revised(3), namespace("shop"), namespace(usualNamespace), app, world, podOf("hello-1"), pod, part("apiserver", 2), part("interceptor", 2), part("scaler", 1), keda, theAPIService(),
		&corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: "hello.1", Namespace: "shop"},
			InvolvedObject: corev1.ObjectReference{UID: "u-1"}, Reason: "Woken", Message: "scaled to 1", LastTimestamp: metav1.NewTime(noon.Add(-time.Minute)),
		})
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// podOf is a pod of the app hello that runs.
func podOf(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name), Labels: map[string]string{v1alpha1.AppLabel: "hello"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "app", Ready: true, ContainerID: "c-" + name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(noon.Add(-time.Hour))}},
			}},
		},
	}
}

// part is the Deployment of one of the programs, of which so many replicas are ready.
func part(program string, ready int32) *appsv1.Deployment {
	d := installed("--domain=apps.test")
	d.Name = "kedahttp-" + program
	d.Spec.Replicas = ptr.To(max(1, ready))
	d.Spec.Template.Spec.Containers[0].Image = "kedahttp/" + program + ":v1"
	d.Status = appsv1.DeploymentStatus{Replicas: ready, ReadyReplicas: ready, UpdatedReplicas: ready, AvailableReplicas: ready}
	return d
}

// bundle is a certificate for 90 days.
var bundle = sync.OnceValue(func() []byte {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(90 * 24 * time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
})

// theAPIService is that of the apps.
func theAPIService() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": apiServiceName, "labels": map[string]any{"app.kubernetes.io/part-of": "kedahttp"}},
		"spec": map[string]any{
			"caBundle": base64.StdEncoding.EncodeToString(bundle()),
			"service":  map[string]any{"namespace": usualNamespace, "name": "kedahttp-apiserver"},
		},
		"status": map[string]any{"conditions": []any{map[string]any{"type": "Available", "status": "True", "reason": "Passed", "message": "all checks passed"}}},
	}}
}

func forbid(what ...string) func(*cluster) { return func(c *cluster) { c.forbidden = what } }

func away(code int) func(*cluster) { return func(c *cluster) { c.away[v1alpha1.GroupName] = code } }

// asleep takes the replicas of the app away.
func asleep(c *cluster) {
	c.app(func(app *v1alpha1.HTTPApp) {
		app.Status.Replicas, app.Status.ReadyReplicas = 0, 0
		app.Status.Traffic.InFlight, app.Status.Traffic.RequestRate = 0, apiresource.Quantity{}
	})
	c.lacks("pods")
}

func pausedAtZero(c *cluster) {
	asleep(c)
	c.app(func(app *v1alpha1.HTTPApp) { app.Spec.Scaling.Paused = true })
}

// adopts lets the app have the pods of the Deployment hello.
func adopts(c *cluster) {
	c.app(func(app *v1alpha1.HTTPApp) {
		app.Spec.Template, app.Spec.WorkloadRef = nil, &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "hello"}
	})
}

// nowhere leaves the app only a route that is answered without it.
func nowhere(c *cluster) {
	c.app(func(app *v1alpha1.HTTPApp) {
		app.Status.URL = ""
		app.Spec.Routes[0].Static = &v1alpha1.StaticResponse{}
	})
}

// starts lets the app be on its way for ever.
func starts(c *cluster) {
	c.app(func(app *v1alpha1.HTTPApp) {
		app.Status.Conditions[0] = metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: "Progressing", Message: "the Deployment is rolling out"}
	})
}

// crashes lets the app's pod crash.
func crashes(c *cluster) {
	c.app(func(app *v1alpha1.HTTPApp) {
		app.Status.ReadyReplicas = 0
		app.Status.Conditions = []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "PodsFailing", Message: "its pods do not run"},
			{Type: v1alpha1.ConditionWorkloadReady, Status: metav1.ConditionFalse, Reason: "CrashLoopBackOff", Message: "container app of pod hello-1 crashes"},
		}
	})
	pod := podOf("hello-1")
	pod.Status.ContainerStatuses[0].Ready = false
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	pod.Status.ContainerStatuses[0].LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2}}
	c.has(pod)
	c.logs["previous hello-1/app"] = fmt.Sprint("starting\n", "panic: no database\n")
}
