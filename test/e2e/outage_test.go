//go:build e2e

package e2e

import (
	"fmt"
	"strconv"
	"testing"
	"time"
)

// away takes every API server of ours away until the returned function is called, at the latest at the end of the test.
func (u user) away() (back func()) {
	u.Helper()
	o := operator(u.T)
	replicas := o.kubectl("get", "deployment", "kedahttp-apiserver", "-o", "jsonpath={.spec.replicas}")
	back = func() {
		o.kubectl("scale", "deployment/kedahttp-apiserver", "--replicas="+replicas)
		u.allServersReady()
	}
	// Before the user's namespace is deleted, which would wait for the API.
	u.Cleanup(back)
	o.kubectl("scale", "deployment/kedahttp-apiserver", "--replicas=0")
	o.kubectl("wait", "--for=delete", "pod", "-l", apiServers, "--timeout=2m")
	o.kubectl("wait", "--for=condition=Available=false", "apiservice/"+apiServiceName, "--timeout=2m")
	return back
}

// What serves requests reads the apps' records, not the API, and KEDA scales the workloads themselves: both do without our API
// servers. What does not is what asks every API of the cluster, and that goes on by itself afterwards.
func TestAnOutageOfEveryAPIServerIsSurvived(t *testing.T) {
	u := onlyUser(t)
	u.deploy("awake", "--scale", "1..3", "--concurrency", "1")
	u.deploy("asleep")
	u.apply(manifest("owner", container, idle))
	u.routed("owner")
	u.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "httpapp/awake", "--timeout=2m")
	u.waitReplicas("asleep", 0, soon)
	uid := u.kubectl("get", "httpapp", "owner", "-o", "jsonpath={.metadata.uid}")
	u.apply(dependent("kept", "owner", uid))
	anybody := user{T: t}
	with, without := u.namespace+"-with", u.namespace+"-without"
	for _, ns := range []string{with, without} {
		anybody.kubectl("create", "namespace", ns)
		t.Cleanup(func() { _, _ = anybody.try("", "delete", "namespace", ns, "--ignore-not-found", "--wait=false") })
	}
	user{T: t, namespace: with}.apply(manifest("doomed", container, idle))

	back := u.away()
	if _, err := u.get("awake", "/"); err != nil {
		t.Errorf("an awake app should serve on: %v", err)
	}
	started := time.Now()
	if _, err := u.get("asleep", "/"); err != nil {
		t.Errorf("a sleeping app should be woken by KEDA: %v", err)
	}
	t.Logf("KEDA alone woke the app after %v", time.Since(started).Round(10*time.Millisecond))
	anybody.kubectl("delete", "namespace", with, without, "--wait=false")
	stop := u.load("awake", 4, "/?delay=300ms")
	started = time.Now()
	u.eventually(later, "scaled up by KEDA alone", func() error {
		replicas, err := u.value("deployment/awake", "{.status.readyReplicas}")
		if n, _ := strconv.Atoi(replicas); err == nil && n < 2 {
			err = fmt.Errorf("%s ready replicas", replicas)
		}
		return err
	})
	t.Logf("KEDA alone scaled the app up after %v", time.Since(started).Round(100*time.Millisecond))
	stop()
	for _, ns := range []string{with, without} {
		if err := anybody.field("namespace/"+ns, "{.status.phase}", "Terminating"); err != nil {
			t.Errorf("a namespace cannot go while nobody says whether it has apps: %v", err)
		}
	}
	u.kubectl("get", "pods") // discovery of what else there is does not suffer

	back()
	started = time.Now()
	for _, ns := range []string{with, without} {
		u.eventually(later, "the namespace "+ns+" gone", func() error {
			out, err := anybody.try("", "get", "namespace", ns, "--ignore-not-found", "-o", "jsonpath={.metadata.name} {.status.conditions[*].message}")
			if err == nil && out != "" {
				err = fmt.Errorf("%s", out)
			}
			return err
		})
	}
	t.Logf("the namespaces were gone %v after the servers were back", time.Since(started).Round(100*time.Millisecond))
	u.eventually(soon, "discovery with the apps", func() error {
		out, err := u.try("", "api-resources", "--api-group=apps.http.keda.sh", "-o", "name", "--cached=false")
		if err == nil && out != "httpapps.apps.http.keda.sh\n" {
			err = fmt.Errorf("it lists %q", out)
		}
		return err
	})
	u.kubectl("get", "configmap", "kept")
	u.collects()
}

// collects shows that the garbage collector is well: it keeps, removes before or removes after, as it was told.
func (u user) collects() {
	u.Helper()
	for _, cascade := range []string{"background", "foreground", "orphan"} {
		name := "cascade-" + cascade
		u.apply(manifest(name, container, idle))
		u.routed(name)
		u.apply(dependent(name, name, u.kubectl("get", "httpapp", name, "-o", "jsonpath={.metadata.uid}")))
		u.kubectl("delete", "httpapp", name, "--cascade="+cascade, "--timeout=2m")
		out := u.kubectl("get", "configmap,deployment", name, "--ignore-not-found", "-o", "name")
		switch cascade {
		case "foreground":
			if out != "" {
				u.Errorf("the app went before what it owns: %s", out)
			}
		case "background":
			// The collector watches apps again when its last pause is over, each of which was longer than the one before.
			u.eventually(later, "what the app owned gone", func() error {
				out, err := u.try("", "get", "configmap,deployment,service", name, "--ignore-not-found", "-o", "name")
				if err == nil && out != "" {
					err = fmt.Errorf("%s", out)
				}
				return err
			})
		case "orphan":
			if err := u.field("configmap/"+name, "{.metadata.ownerReferences}", ""); err != nil {
				u.Errorf("what was owned should be left alone: %v", err)
			}
		}
	}
}
