//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// How much a part logs changes while it runs, for those who may forward its port, or may put that path of the API server. However much it
// is, no secret is in it.
func TestLogsTellMoreWhenTheyAreToldTo(t *testing.T) {
	u := newUser(t)
	o := operator(t)
	do := func(client *http.Client, method, url, body string) (int, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			return 0, "", err
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text), err
	}
	loudest := func(v string) {
		t.Helper()
		for _, part := range []string{"apiserver", "interceptor", "scaler"} {
			for _, pod := range u.running("app.kubernetes.io/name=kedahttp-" + part) {
				client, url := u.direct(), "https://"+pod.Status.PodIP+":8443/debug/flags/v"
				if part != "apiserver" {
					client, url = http.DefaultClient, "http://"+u.forward(pod.Name, 9901)+"/debug/flags/v"
				}
				if code, said, err := do(client, http.MethodPut, url, v); err != nil || code != http.StatusOK {
					t.Errorf("%s: -v=%s is answered with %d %s %v", pod.Name, v, code, said, err)
				}
			}
		}
	}
	for part, does := range map[string]func(address, mark string){
		// An interceptor tells of handshakes for hosts that have no certificate, the API server of each request.
		"interceptor": func(address, mark string) {
			conn, err := inside(t.Context(), "tcp4", address+":8443")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = tls.Client(conn, &tls.Config{ServerName: mark + ".nobody.test"}).HandshakeContext(t.Context()) // it is refused
		},
		"apiserver": func(address, mark string) {
			if code, body, err := do(u.direct(), http.MethodGet, "https://"+address+":8443/version?"+mark, ""); err != nil || code != http.StatusOK {
				t.Fatal(code, body, err)
			}
		},
		// A scaler tells that it was told.
		"scaler": nil,
	} {
		pod := u.running("app.kubernetes.io/name=kedahttp-" + part)[0]
		client, url := http.DefaultClient, "https://"+pod.Status.PodIP+":8443/debug/flags/v"
		if part == "apiserver" {
			client = u.direct()
		} else {
			url = "http://" + u.forward(pod.Name, 9901) + "/debug/flags/v"
			through := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:9901/proxy/debug/flags/v", systemNamespace, pod.Name)
			if _, err := o.try("4", "replace", "--raw", through, "-f", "-"); err == nil || !strings.Contains(err.Error(), "only from inside of the pod") {
				t.Errorf("a stranger sets the verbosity of the %s and gets %v", part, err)
			}
		}
		set := func(v string, want int) {
			t.Helper()
			if code, said, err := do(client, http.MethodPut, url, v); err != nil || code != want {
				t.Errorf("%s: -v=%s is answered with %d %s %v", part, v, code, said, err)
			}
		}
		mark := u.namespace + "-" + part
		if does != nil {
			does(pod.Status.PodIP, mark+"-quiet")
		}
		set("much", http.StatusBadRequest)
		set("8", http.StatusBadRequest) // secrets would be logged
		set("4", http.StatusOK)
		if does == nil {
			mark = `v=4`
		} else {
			mark += "-loud"
			does(pod.Status.PodIP, mark)
		}
		set("0", http.StatusOK)
		u.eventually(soon, "the mark in the log of the "+part, func() error {
			log, err := o.try("", "logs", pod.Name, "--tail=-1")
			if err == nil && strings.Contains(log, u.namespace+"-"+part+"-quiet") {
				t.Fatalf("the %s tells as much without -v=4", part)
			}
			if err == nil && !strings.Contains(log, mark) {
				err = fmt.Errorf("%d bytes of log without it", len(log))
			}
			return err
		})
	}
	u.keepsSecrets(loudest)
}
