//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
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
	return u.filter("INPUT", "--source", pod.Status.PodIP, "--protocol", "tcp", "--dport", port, "--jump", "REJECT", "--reject-with", "tcp-reset")
}

// filter has the node follow a rule of iptables, until the returned function is called or the test ends.
func (u user) filter(chain string, rule ...string) (back func()) {
	u.Helper()
	change := func(op string) error {
		args := append([]string{"--net=" + os.Getenv("KEDAHTTP_NETNS"), "iptables", "--wait", op, chain}, rule...)
		out, err := exec.Command("nsenter", args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("iptables %s: %w: %s", op, err, out)
		}
		return err
	}
	if err := change("--insert"); err != nil {
		u.Fatal(err)
	}
	is := true
	back = func() {
		if is {
			is = false
			if err := change("--delete"); err != nil {
				u.Error(err)
			}
		}
	}
	u.Cleanup(back)
	return back
}

// An interceptor that crashes while it cannot reach the cluster's API comes back with what it knew.
func TestAnInterceptorThatStartsWithoutTheAPIServesWithWhatItKnew(t *testing.T) {
	u := onlyUser(t).secure()
	serial := u.secret("kept-cert", u.host("kept"))
	u.deploy("kept", "--scale", "1..2")
	u.kubectl("patch", "httpapp", "kept", "--type=merge", `--patch={"spec":{"tls":{"secretName":"kept-cert"}}}`)
	u.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "httpapp/kept", "--timeout=2m")
	pod := u.running(interceptors)[0]
	direct := &http.Client{Timeout: soon, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return inside(ctx, network, pod.Status.PodIP+":8080")
	}}}
	secure := &http.Client{Timeout: soon, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: u.config(), DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return inside(ctx, network, pod.Status.PodIP+":8443")
	}}}
	answersWithTLS := func() error {
		_, _, got, err := u.ask(secure, "kept")
		if err == nil && got != serial {
			err = fmt.Errorf("its certificate is %s, not %s", got, serial)
		}
		return err
	}
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
	u.eventually(soon, "an answer with TLS of "+pod.Name, answersWithTLS)
	file := fmt.Sprintf("/proc/%d/root/var/lib/kedahttp/known.json", u.process(pod))
	u.eventually(later, "kept what it knows", func() error {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var known struct {
			Slices  []discoveryv1.EndpointSlice
			Secrets []corev1.Secret
		}
		if err := json.Unmarshal(content, &known); err != nil {
			return err
		}
		if !slices.ContainsFunc(known.Secrets, func(s corev1.Secret) bool { return s.Namespace == u.namespace }) {
			return errors.New("no Secret is in it")
		}
		for _, s := range known.Slices {
			if s.Namespace == u.namespace && len(s.Endpoints) == 1 && ptr.Deref(s.Endpoints[0].Conditions.Ready, false) {
				return nil
			}
		}
		return errors.New("no ready pod is in it")
	})

	back := u.cutOff(pod)
	u.kill(pod)
	u.eventually(later, "an answer of "+pod.Name+" after its crash", answers("kept"))
	u.eventually(soon, "an answer with TLS of "+pod.Name+" after its crash", answersWithTLS)
	log := operator(t).kubectl("logs", pod.Name)
	if !strings.Contains(log, "serving with what was known before this start") {
		t.Errorf("it did not need what it knew: %s", log)
	}
	back()
	u.deploy("new", "--scale", "1..2")
	u.eventually(later, "an answer for an app that is made now", answers("new"))
}
