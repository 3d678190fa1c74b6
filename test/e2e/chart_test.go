//go:build e2e && chart

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// helm runs helm for the release.
func (u user) helm(args ...string) {
	u.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), later)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join("..", "..", "bin", "tools", "helm"), append(args, "--namespace", systemNamespace, "--wait", "--timeout", "150s")...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		u.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
}

// traced awaits the spans of a request and of a call to the API, and in that what it asked of the cluster's API.
func (u user) traced(c *collector, app string) {
	u.Helper()
	u.eventually(soon, "spans of requests and of calls to the API", func() error {
		u.kubectl("get", "httpapp", app)
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.spans[app]) == 0 {
			return errors.New("none of requests")
		}
		asked := map[string]bool{}
		for _, s := range c.spans[""] {
			if strings.Contains(fmt.Sprint(s.Attributes), "/httpapprecords/"+app) {
				asked[string(s.TraceId)] = true
			}
		}
		for _, s := range c.spans[""] {
			if strings.Contains(fmt.Sprint(s.Attributes), appPath(u.namespace, app)) && asked[string(s.TraceId)] {
				return nil
			}
		}
		return fmt.Errorf("%d of the API, and %d that asked the cluster's, and no two of one call", len(c.spans[""]), len(asked))
	})
}

// evicted takes a pod away as a node that is drained does, and the next one only when there is another.
func (u user) evicted(deployment string) {
	u.Helper()
	// Not by kubectl, which may take longer to start than a pod to be replaced.
	client, err := kubernetes.NewForConfig(administrator(u.T))
	if err != nil {
		u.Fatal(err)
	}
	evict := func(pod string) error {
		return client.PolicyV1().Evictions(systemNamespace).Evict(u.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: pod}})
	}
	o := operator(u.T)
	u.eventually(later, "three pods of "+deployment+", of which one may go", func() error {
		return o.field("poddisruptionbudget/"+deployment, "{.status.expectedPods} {.status.currentHealthy} {.status.disruptionsAllowed}", "3 3 1")
	})
	pods := u.running("app.kubernetes.io/name=" + deployment)
	if len(pods) != 3 {
		u.Fatalf("%s has %d pods", deployment, len(pods))
	}
	u.eventually(soon, "a pod of "+deployment+" may go", func() error { return evict(pods[0].Name) })
	if err := evict(pods[1].Name); err == nil || !strings.Contains(err.Error(), "disruption budget") {
		u.Errorf("of %s another pod goes before the first is replaced: %v", deployment, err)
	}
	o.kubectl("rollout", "status", "deployment/"+deployment, "--timeout=2m")
	u.eventually(later, "the next pod of "+deployment+" may go", func() error { return evict(pods[1].Name) })
}

// hey asks an app until the returned function is called, which fails the test if one answer was another than 200, or none came.
func (u user) hey(app string) (check func()) {
	u.Helper()
	var out bytes.Buffer
	cmd := exec.Command(filepath.Join("..", "..", "bin", "tools", "hey"), "-z", "1h", "-c", "8", "-q", "10", "-host", u.host(app), "http://"+environment.interceptor+"/")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		u.Fatal(err)
	}
	end := sync.OnceValue(func() error {
		_ = cmd.Process.Signal(os.Interrupt)
		return cmd.Wait()
	})
	u.Cleanup(func() { _ = end() })
	return func() {
		u.Helper()
		if err := end(); err != nil {
			u.Errorf("hey: %v", err)
		}
		u.Logf("hey says\n%s", out.String())
		_, codes, _ := strings.Cut(out.String(), "Status code distribution:")
		if fields := strings.Fields(codes); len(fields) != 3 || fields[0] != "[200]" || fields[2] != "responses" {
			u.Errorf("hey had other answers than 200, or none: %s", codes)
		}
	}
}

// scaledByKEDA sees that KEDA hears from the scaler of requests that wait for their answers.
func (u user) scaledByKEDA(app string) {
	u.Helper()
	u.kubectl("wait", "--for=condition=Ready", "scaledobject/"+app, "--timeout=2m")
	const held = 3
	stop := u.hold(app, held, "/?delay=2m")
	defer stop()
	u.eventually(later, "KEDA knows of the requests", func() error {
		name, err := u.value("hpa/keda-hpa-"+app, "{.spec.metrics[0].external.metric.name}")
		if err != nil {
			return err
		}
		values, err := u.metrics(name, "scaledobject.keda.sh/name="+app)
		if err != nil {
			return err
		}
		if len(values) != 1 {
			return fmt.Errorf("it knows of %v", values)
		}
		if n, err := resource.ParseQuantity(values[0].Value); err != nil || n.AsApproximateFloat64() < held {
			return fmt.Errorf("it knows of %s: %v", values[0].Value, err)
		}
		return nil
	})
}

// guarded sees that neither metrics nor what KEDA asks for are told who has no certificate.
func (u user) guarded() {
	u.Helper()
	for _, part := range []string{"interceptor", "scaler"} {
		config := u.clientTLS(systemNamespace, "kedahttp-metrics-tls", "kedahttp-"+part)
		for _, pod := range u.running("app.kubernetes.io/name=kedahttp-" + part) {
			ask := func(url string, config *tls.Config) (int, string, error) {
				return once(u.Context(), &http.Client{Transport: &http.Transport{DialContext: inside, TLSClientConfig: config, DisableKeepAlives: true}}, url)
			}
			at := pod.Status.PodIP
			if code, body, err := ask("https://"+at+":9902/metrics", config); code != http.StatusOK || !strings.Contains(body, "\nkedahttp_"+part+"_") {
				u.Errorf("the metrics of %s: %d, %v", pod.Name, code, err)
			}
			stranger := config.Clone()
			stranger.Certificates = nil
			if code, _, err := ask("https://"+at+":9902/metrics", stranger); err == nil || !strings.Contains(err.Error(), "certificate required") {
				u.Errorf("the metrics of %s for a stranger: %d, %v", pod.Name, code, err)
			}
			if code, _, err := ask("http://"+at+":9901/metrics", nil); code != http.StatusNotFound {
				u.Errorf("the metrics of %s in plain text: %d, %v", pod.Name, code, err)
			}
		}
	}
	config := u.clientTLS("keda", "kedahttp-keda-tls", "kedahttp-scaler")
	stranger := config.Clone()
	stranger.Certificates = nil
	for _, pod := range u.running("app.kubernetes.io/name=kedahttp-scaler") {
		for who, creds := range map[string]credentials.TransportCredentials{"KEDA": credentials.NewTLS(config), "a stranger": credentials.NewTLS(stranger), "who speaks no TLS": insecure.NewCredentials()} {
			conn, err := grpc.NewClient("passthrough:///"+pod.Status.PodIP+":9090", grpc.WithTransportCredentials(creds),
				grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return inside(ctx, "tcp4", address) }))
			if err != nil {
				u.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(u.Context(), soon)
			_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
			cancel()
			_ = conn.Close()
			if (err == nil) != (who == "KEDA") {
				u.Errorf("%s asks %s: %v", who, pod.Name, err)
			}
		}
	}
}

// clientTLS is that of who has a Secret, for a part.
func (u user) clientTLS(namespace, secret, part string) *tls.Config {
	u.Helper()
	s := u.secret(namespace, secret)
	pair, err := tls.X509KeyPair(s.Data["tls.crt"], s.Data["tls.key"])
	if err != nil {
		u.Fatalf("the Secret %s: %v", secret, err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(s.Data["ca.crt"])
	return &tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{pair}, ServerName: part + "." + systemNamespace + ".svc"}
}

func TestChartIsInstalledUpgradedRolledBackAndRemoved(t *testing.T) {
	u := onlyUser(t)
	everybody := user{T: t}
	_, port, err := net.SplitHostPort(environment.interceptor)
	if err != nil {
		t.Fatal(err)
	}
	values := strings.Join([]string{
		"domain=localhost", "publicPort=" + port, "publicTLSPort=0", "image.pullPolicy=Never", "interceptor.autoscaling.enabled=true",
		"interceptor.service.type=NodePort", "interceptor.service.nodePorts.http=30080",
		"networkPolicies.enabled=true", "networkPolicies.metricsFrom[0].namespaceSelector.matchLabels.team=monitoring",
	}, ",")
	const chart = "../../artifacts/chart"
	everybody.kubectl("create", "namespace", systemNamespace)
	everybody.kubectl("label", "namespace", systemNamespace, "pod-security.kubernetes.io/enforce=restricted")
	u.helm("install", "kedahttp", chart, "--set", values)
	for name, autoscaler := range map[string]string{"hello": "KEDA", "cold": "None"} {
		u.apply(`apiVersion: apps.http.keda.sh/v1alpha1
kind: HTTPApp
metadata: {name: ` + name + `}
spec:
  template:
    metadata: {labels: {of: ` + name + `}}
    spec:
      containers:
        - {name: app, image: "kedahttp/test-echo:dev", imagePullPolicy: Never, ports: [{containerPort: 8080}], readinessProbe: {httpGet: {path: /healthz, port: 8080}}}
  scaling: {autoscaler: ` + autoscaler + `}
`)
		u.routed(name)
		if _, err := u.get(name, "/"); err != nil {
			t.Fatal("the first request: ", err)
		}
	}

	// On connections that stay and on new ones, for pods that are there and for those that have to come, by calls to the API as well.
	all := u.plain("hello")
	fresh := u.protocol(func(t *http.Transport) { t.DisableKeepAlives = true })
	all[lasting+"sleep and a cold start"] = func(ctx context.Context) error {
		for _, command := range [][]string{{"scale", "httpapp/cold", "--replicas=0"}, {"wait", "--for=delete", "pods", "-l", "of=cold", "--timeout=2m"}} {
			if _, err := u.try("", command...); err != nil {
				return err
			}
		}
		return u.ask(ctx, fresh, "cold", "/", nil)
	}
	spans := u.collect()
	l := u.traffic(all)
	hey := u.hey("hello")
	u.scaledByKEDA("hello")
	// To what is for large clusters, in the room that there is, with mutual TLS for all who are no part.
	u.helm("upgrade", "kedahttp", chart, "--values", chart+"/values-large.yaml", "--set", values, "--set", "tracing.endpoint="+spans.address+",tracing.samplingRatePerMillion=1000000",
		"--set", "mutualTLS.keda=true,mutualTLS.metrics=true,scaler.resources.requests.cpu=10m,scaler.resources.requests.memory=50Mi",
		"--set", "apiserver.resources.requests.cpu=10m,apiserver.resources.requests.memory=50Mi,interceptor.resources.requests.cpu=10m,interceptor.resources.requests.memory=50Mi")
	u.traced(spans, "hello")
	u.evicted("kedahttp-interceptor")
	u.evicted("kedahttp-apiserver")
	u.guarded()
	u.eventually(soon, "KEDA is told how to ask", func() error {
		return u.field("scaledobject/hello", "{.spec.triggers[0].authenticationRef.name}", "kedahttp-scaler")
	})
	u.scaledByKEDA("hello")
	u.helm("rollback", "kedahttp", "1")
	l.check(u, all)
	hey()

	// Apps are not removed unasked.
	u.helm("uninstall", "kedahttp")
	u.waitReplicas("hello", 1, soon)
	if services := everybody.kubectl("get", "apiservices", "-o", "name"); strings.Contains(services, "v1alpha1.apps.http.keda.sh") {
		t.Errorf("APIServices that nobody answers for: %s", services)
	}
	u.another() // its namespace is made now, and deleted at the end
	u.helm("install", "kedahttp", chart, "--set", values)
	u.routed("hello")
	if _, err := u.get("hello", "/"); err != nil {
		t.Error("after it was installed again: ", err)
	}
	u.scaledByKEDA("hello")
	u.strangersAreKeptOut("hello")

	u.kubectl("delete", "httpapp", "hello", "cold", "--timeout=2m")
	u.helm("uninstall", "kedahttp")
	everybody.kubectl("delete", "crd", "httpapprecords.storage.apps.http.keda.sh", "--timeout=2m")
	everybody.kubectl("delete", "namespace", systemNamespace, "--timeout=2m")
	u.eventually(soon, "nothing of it is left in the cluster", func() error {
		left := everybody.kubectl("get", "clusterroles,clusterrolebindings,apiservices,crds,priorityclasses,validatingwebhookconfigurations,mutatingwebhookconfigurations,clustertriggerauthentications", "-o", "name") +
			everybody.kubectl("get", "roles,rolebindings,leases,secrets,configmaps", "--all-namespaces", "-o", "name")
		var ours []string
		for line := range strings.Lines(left) {
			if strings.Contains(line, "kedahttp") || strings.Contains(line, "http.keda.sh") {
				ours = append(ours, strings.TrimSpace(line))
			}
		}
		if len(ours) > 0 {
			return fmt.Errorf("%v", ours)
		}
		return nil
	})
}
