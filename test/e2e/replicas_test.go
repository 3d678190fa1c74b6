//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
)

// idle is an app that costs nothing: it has no pods, and nobody scales it.
const idle = "  scaling: {autoscaler: None, minReplicas: 0}"

func appPath(namespace, name string) string {
	return "/apis/apps.http.keda.sh/v1alpha1/namespaces/" + namespace + "/httpapps/" + name
}

func (u user) throughTheHost() (*http.Client, string) {
	u.Helper()
	config := administrator(u.T)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		u.Fatal(err)
	}
	return client, config.Host
}

func TestARollingRestartFailsNoRequest(t *testing.T) {
	u := onlyUser(t)
	u.apply(manifest("steady", container, idle))
	u.allServersReady()
	before := u.servers()
	outages := u.availability()
	client, host := u.throughTheHost()
	one := u.probe(client, host+appPath(u.namespace, "steady"), false, http.StatusOK)
	list := u.probe(client, host+appPath(u.namespace, ""), false, http.StatusOK)

	o := operator(t)
	o.kubectl("rollout", "restart", "deployment/kedahttp-apiserver")
	o.kubectl("rollout", "status", "deployment/kedahttp-apiserver", "--timeout=3m")
	for _, p := range before {
		o.kubectl("wait", "--for=delete", "pod/"+p.Name, "--timeout=2m")
	}
	one.check(u, "GET of one app")
	list.check(u, "LIST of a namespace")
	if now := outages(); len(now) > 0 {
		t.Errorf("the APIService became unavailable: %v", now)
	}
	if one.answers[http.StatusOK] < 100 {
		t.Errorf("only %d requests were sent", one.answers[http.StatusOK])
	}
}

// The garbage collector takes a 404 of an owner for its end: a server that has just started must not say it of what it has not
// seen yet.
func TestKilledServersLoseNothingAndNeverDenyWhatThereIs(t *testing.T) {
	u := onlyUser(t)
	u.allServersReady()
	u.apply(manifest("before", container, idle))
	u.routed("before")
	uid := u.kubectl("get", "httpapp", "before", "-o", "jsonpath={.metadata.uid}")
	u.apply(dependent("kept", "before", uid))

	var all []*prober
	direct := u.direct()
	// Before a server is ready, and nobody is sent to it, it may not know yet whose certificates to believe.
	codes := []int{http.StatusOK, http.StatusServiceUnavailable, http.StatusUnauthorized, http.StatusForbidden}
	pods := u.servers()
	for _, p := range pods {
		all = append(all, u.probe(direct, "https://"+p.Status.PodIP+":8443"+appPath(u.namespace, "before"), true, codes...))
	}
	client, host := u.throughTheHost()
	through := u.probe(client, host+appPath(u.namespace, "before"), false, http.StatusOK, http.StatusServiceUnavailable)

	leads := u.leader()
	i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.Name == leads })
	if i < 0 {
		t.Fatalf("%q leads, which is none of the servers", leads)
	}
	u.apply(manifest("just-before", container, idle))
	u.kill(pods[i])
	killed := time.Now()
	// While nobody leads, the other one takes writes.
	u.eventually(soon, "an app made while nobody leads", func() error {
		_, err := u.try(manifest("meanwhile", container, idle), "apply", "-f", "-")
		return err
	})
	u.eventually(soon, "the scale written while nobody leads", func() error {
		_, err := u.try("", "scale", "httpapp/before", "--replicas=1")
		return err
	})
	if err := u.field("deployment/before", "{.spec.replicas}", "1"); err != nil {
		t.Errorf("what scale wrote is lost: %v", err)
	}
	for _, app := range []string{"just-before", "meanwhile"} {
		u.eventually(later, app+" reconciled by the next leader", func() error {
			return u.field("httpapp/"+app, `{.status.conditions[?(@.type=="Ready")].status}`, "True")
		})
	}
	t.Logf("the next leader was through after %v", time.Since(killed).Round(100*time.Millisecond))

	// Both at once, so that there is nothing but cold starts.
	u.eventually(later, "the killed server ready again", func() error { return u.readyServers(2) })
	for _, p := range u.servers() {
		u.kill(p)
	}
	u.eventually(later, "both servers ready again", func() error { return u.readyServers(2) })
	u.allServersReady()
	for n, p := range all {
		p.check(u, fmt.Sprintf("server %d itself", n))
	}
	through.check(u, "through the host")
	u.kubectl("get", "configmap", "kept")
	// The host may take a moment to see that they are back, and say 503 until then.
	u.eventually(soon, "the app as it was", func() error {
		return u.field("httpapp/before", "{.metadata.uid}", uid)
	})
}

func (u user) readyServers(want int) error {
	ready := 0
	for _, p := range u.servers() {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	if ready != want {
		return fmt.Errorf("%d servers are ready", ready)
	}
	return nil
}

// dependent is a ConfigMap that an app owns.
func dependent(name, owner, uid string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata:
  name: %s
  ownerReferences:
  - {apiVersion: apps.http.keda.sh/v1alpha1, kind: HTTPApp, name: %s, uid: %s, blockOwnerDeletion: true}
`, name, owner, uid)
}
