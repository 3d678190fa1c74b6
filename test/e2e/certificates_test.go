//go:build e2e

package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// served is the serial number of the certificate that each server serves with, by its pod.
func (u user) served() map[string]string {
	u.Helper()
	serials := map[string]string{}
	for _, p := range u.servers() {
		conn, err := inside(u.Context(), "tcp4", p.Status.PodIP+":8443")
		if err != nil {
			u.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // only looked at
		if err := c.HandshakeContext(u.Context()); err != nil {
			u.Fatal(err)
		}
		serials[p.Name] = c.ConnectionState().PeerCertificates[0].SerialNumber.String()
		_ = conn.Close()
	}
	return serials
}

func (u user) restarts() string {
	u.Helper()
	return operator(u.T).kubectl("get", "pods", "-l", "app.kubernetes.io/part-of=kedahttp", "-o", `jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount}{"\n"}{end}`)
}

// bundle is what the host trusts, and how many authorities that are.
func (u user) bundle() ([]byte, int) {
	u.Helper()
	encoded := operator(u.T).kubectl("get", "apiservice", apiServiceName, "-o", "jsonpath={.spec.caBundle}")
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		u.Fatal(err)
	}
	return decoded, bytes.Count(decoded, []byte("BEGIN CERTIFICATE"))
}

func TestCertificatesChangeWithoutARestartAndWithoutAnOutage(t *testing.T) {
	u := onlyUser(t)
	u.deploy("counted", "--scale", "1..1")
	u.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "httpapp/counted", "--timeout=2m")
	u.allServersReady()
	o := operator(t)
	restarts, outages := u.restarts(), u.availability()
	client, host := u.throughTheHost()
	through := u.probe(client, host+appPath(u.namespace, "counted"), false, http.StatusOK)

	before := u.served()
	o.kubectl("delete", "secret", "kedahttp-apiserver-tls")
	u.eventually(soon, "every server with a new certificate", func() error {
		for pod, serial := range u.served() {
			if before[pod] == serial {
				return fmt.Errorf("%s serves with the old one", pod)
			}
		}
		return nil
	})

	before = u.served()
	authority, _ := u.bundle()
	o.kubectl("delete", "secret", "kedahttp-ca")
	u.eventually(soon, "the old authority and the new one trusted together", func() error {
		now, n := u.bundle()
		if n < 2 || !bytes.HasSuffix(now, authority) || bytes.Equal(now, authority) {
			return fmt.Errorf("%d are trusted", n)
		}
		return nil
	})
	if now := u.served(); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("a certificate of the new authority is used before everybody trusts it: %v, then %v", before, now)
	}
	// Somebody's kubectl replace must not cut the API off for long.
	o.kubectl("patch", "apiservice", apiServiceName, "--type=merge", "--patch", `{"spec":{"caBundle":"`+base64.StdEncoding.EncodeToString(authority)+`"}}`)
	u.eventually(soon, "the bundle mended", func() error {
		if _, n := u.bundle(); n < 2 {
			return fmt.Errorf("%d are trusted", n)
		}
		return nil
	})

	stop := u.load("counted", 2, "/?delay=5s")
	u.eventually(soon, "counts from every interceptor", func() error {
		got, err := u.value("httpapp/counted", "{.status.traffic.inFlight} {.status.traffic.interceptors.reporting}/{.status.traffic.interceptors.expected}")
		if fields := strings.Fields(got); err == nil && !slices.Equal(fields, []string{"2", "2/2"}) {
			err = fmt.Errorf("they are %q", got)
		}
		return err
	})
	stop()
	through.check(u, "through the host")
	if now := outages(); len(now) > 0 {
		t.Errorf("the APIService became unavailable: %v", now)
	}
	if now := u.restarts(); now != restarts {
		t.Errorf("pods were replaced or restarted: \n%s then\n%s", restarts, now)
	}
}
