//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// cutOff takes the API away from a pod, until the returned function is called or the test ends: connections to it are refused.
func (u user) cutOff(pod corev1.Pod) (back func()) {
	u.Helper()
	port := operator(u.T).kubectl("get", "endpointslice", "kubernetes", "-n", "default", "-o", "jsonpath={.ports[0].port}")
	rule := func(op string) error {
		out, err := exec.Command("nsenter", "--net="+os.Getenv("KEDAHTTP_NETNS"), "iptables", "--wait", op, "INPUT",
			"--source", pod.Status.PodIP, "--protocol", "tcp", "--dport", port, "--jump", "REJECT", "--reject-with", "tcp-reset").CombinedOutput()
		if err != nil {
			return fmt.Errorf("iptables %s: %w: %s", op, err, out)
		}
		return nil
	}
	if err := rule("--insert"); err != nil {
		u.Fatal(err)
	}
	is := true
	back = func() {
		if is {
			is = false
			if err := rule("--delete"); err != nil {
				u.Error(err)
			}
		}
	}
	u.Cleanup(back)
	return back
}

// An interceptor that crashes while it cannot reach the cluster's API comes back with what it knew.
func TestAnInterceptorThatStartsWithoutTheAPIServesWithWhatItKnew(t *testing.T) {
	u := onlyUser(t)
	u.deploy("kept", "--scale", "1..2")
	u.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "httpapp/kept", "--timeout=60s")
	pod := u.running(interceptors)[0]
	direct := &http.Client{Timeout: soon, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return inside(ctx, network, pod.Status.PodIP+":8080")
	}}}
	answers := func(app string) func() error {
		return func() error {
			res, err := direct.Get("http://" + u.host(app) + "/")
			if err != nil {
				return err
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("%s", res.Status)
			}
			return nil
		}
	}
	u.eventually(soon, "an answer of "+pod.Name, answers("kept"))
	file := fmt.Sprintf("/proc/%d/root/var/lib/kedahttp/known.json", u.process(pod))
	u.eventually(later, "kept what it knows", func() error {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var known struct{ Slices []discoveryv1.EndpointSlice }
		if err := json.Unmarshal(content, &known); err != nil {
			return err
		}
		for _, s := range known.Slices {
			if s.Namespace == u.namespace && len(s.Endpoints) == 1 && ptr.Deref(s.Endpoints[0].Conditions.Ready, false) {
				return nil
			}
		}
		return fmt.Errorf("no ready pod in %s", content)
	})

	back := u.cutOff(pod)
	u.kill(pod)
	u.eventually(later, "an answer of "+pod.Name+" after its crash", answers("kept"))
	log := operator(t).kubectl("logs", pod.Name)
	if !strings.Contains(log, "serving with what was known before this start") {
		t.Errorf("it did not need what it knew: %s", log)
	}
	back()
	u.deploy("new", "--scale", "1..2")
	u.eventually(later, "an answer for an app that is made now", answers("new"))
}
