//go:build e2e && exposed

package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	// The ports of Traefik inside of the cluster's network.
	traefikWeb    = "19080"
	traefikSecure = "19443"
)

// traefik runs Traefik as the cluster's Ingress controller and Gateway, inside of its network and with its DNS.
func (u user) traefik() {
	u.Helper()
	o := operator(u.T)
	name := u.namespace
	u.Cleanup(func() { o.kubectl("delete", "clusterrolebinding,serviceaccount", name, "--ignore-not-found") })
	o.apply(fmt.Sprintf(`apiVersion: v1
kind: ServiceAccount
metadata: {name: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: %[1]s, namespace: %[2]s}]
`, name, systemNamespace))
	dir := u.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			u.Fatal(err)
		}
		return path
	}
	dns := o.kubectl("get", "service", "kube-dns", "--namespace", "kube-system", "-o", "jsonpath={.spec.clusterIP}")
	resolv := file("resolv.conf", "nameserver "+dns+"\n")
	authority := file("ca.crt", o.kubectl("get", "configmap", "kube-root-ca.crt", "-o", `jsonpath={.data.ca\.crt}`))
	endpoint := "https://" + o.kubectl("get", "endpointslices", "--namespace", "default", "kubernetes", "-o", "jsonpath={.endpoints[0].addresses[0]}:{.ports[0].port}")
	token := strings.TrimSpace(o.kubectl("create", "token", name))
	args := []string{
		"--net=" + os.Getenv("KEDAHTTP_NETNS"), "unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, resolv,
		"../../bin/tools/traefik", "--global.checknewversion=false", "--global.sendanonymoususage=false",
		"--entrypoints.web.address=:" + traefikWeb, "--entrypoints.websecure.address=:" + traefikSecure,
		// Else a TLS secret makes no router of plain HTTP either.
		"--entrypoints.websecure.http.tls=true",
		"--providers.kubernetesingress.allowexternalnameservices=true",
	}
	for _, provider := range []string{"kubernetesingress", "kubernetesgateway"} {
		for key, value := range map[string]string{"endpoint": endpoint, "token": token, "certauthfilepath": authority} {
			args = append(args, fmt.Sprintf("--providers.%s.%s=%s", provider, key, value))
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		u.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // without KUBECONFIG, which is for outside of the cluster's network
	if err := cmd.Start(); err != nil {
		u.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	u.Cleanup(func() {
		cancel()
		<-ended
		if text, err := os.ReadFile(log.Name()); err == nil && u.Failed() {
			u.Logf("Traefik's log:\n%s", text)
		}
	})
	u.eventually(soon, "Traefik listens", func() error {
		select {
		case err := <-ended:
			ended <- err
			u.Fatalf("Traefik ended: %v", err)
		default:
		}
		conn, err := inside(u.Context(), "tcp4", "127.0.0.1:"+traefikWeb)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
}

// lettingIn are the objects that let an app in.
func (u user) lettingIn() string {
	u.Helper()
	return u.kubectl("get", "ingresses,httproutes,services", "-l", "apps.http.keda.sh/httpapp", "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {end}`)
}

// through asks for a path of an app by what lets it in.
func (u user) through(app, scheme, port, path string) (string, error) {
	client := &http.Client{Timeout: soon, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // looked at by the tests of TLS
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return inside(ctx, "tcp4", "127.0.0.1:"+port)
		},
	}}
	res, err := client.Get(scheme + "://" + u.host(app) + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), err
}

func TestAnIngressControllerAndAGatewayLetAppsInAndWakeThem(t *testing.T) {
	u := onlyUser(t)
	o := operator(t)
	u.deploy("plain")

	u.gatewayAPI()
	class := "class-" + u.namespace
	u.Cleanup(func() { o.kubectl("delete", "ingressclass,gatewayclass", class, "--ignore-not-found") })
	o.apply(fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: %[1]s}
spec: {controller: traefik.io/ingress-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: %[1]s}
spec: {controllerName: traefik.io/gateway-controller}
`, class))
	u.apply(fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: %s
  listeners:
    - {name: web, protocol: HTTP, port: %s}
`, class, traefikWeb))
	u.traefik()

	secure := u.secure()
	serial := secure.secret("cert", u.host("byingress"))
	u.deploy("byingress", "--ingress="+class)
	u.deploy("byroute", "--gateway="+u.namespace+"/front/web")
	u.eventually(soon, "what lets them in is there", func() error {
		return errors.Join(u.exposedAs("byingress", "True IngressMade"), u.exposedAs("byroute", "True HTTPRouteAccepted"), u.exposedAs("plain", ""))
	})
	if got := u.kubectl("http", "status", "byroute"); !strings.Contains(got, "from Gateway "+u.namespace+"/front to the interceptors") {
		t.Errorf("status says\n%s", got)
	}
	for _, app := range []string{"byingress", "byroute"} {
		u.eventually(later, "a request wakes "+app, func() error {
			_, err := u.through(app, "http", traefikWeb, "/")
			return err
		})
	}
	if _, err := u.through("plain", "http", traefikWeb, "/"); err == nil {
		t.Error("an app that is not exposed is let in")
	}

	// With a certificate, which the controller serves then.
	u.kubectl("http", "set", "expose", "byingress", "--ingress-tls-secret=cert")
	u.eventually(soon, "the certificate of the Ingress is served", func() error {
		conn, err := inside(t.Context(), "tcp4", "127.0.0.1:"+traefikSecure)
		if err != nil {
			return err
		}
		defer conn.Close()
		c := tls.Client(conn, &tls.Config{ServerName: u.host("byingress"), RootCAs: secure.authority.Pool()})
		if err := c.HandshakeContext(t.Context()); err != nil {
			return err
		}
		if got := c.ConnectionState().PeerCertificates[0].SerialNumber.String(); got != serial {
			return fmt.Errorf("it is %s, not %s", got, serial)
		}
		_, err = u.through("byingress", "https", traefikSecure, "/")
		return err
	})
	if got := u.kubectl("http", "url", "byingress"); got != "https://"+u.host("byingress")+"\n" {
		t.Errorf("its URL is %s", got)
	}

	// What follows the app's routes, and what is not asked for any more.
	u.kubectl("http", "set", "host", "byroute", u.host("moved"))
	u.eventually(soon, "the new host leads to the app", func() error {
		_, err := u.through("moved", "http", traefikWeb, "/")
		return err
	})
	u.kubectl("delete", "ingress", "byingress")
	u.eventually(soon, "an Ingress that somebody deleted is made again", func() error {
		_, err := u.through("byingress", "https", traefikSecure, "/")
		return err
	})
	u.kubectl("http", "set", "expose", "byingress", "--ingress=none")
	u.kubectl("http", "set", "expose", "byroute", "--gateway=none")
	grant := "kedahttp-httproutes-" + u.namespace
	u.eventually(soon, "nothing is left of it", func() error {
		if got := u.lettingIn(); strings.Contains(got, "Ingress/") || strings.Contains(got, "HTTPRoute/") || strings.Contains(got, "Service/kedahttp-") {
			return errors.New(got)
		}
		if got := o.kubectl("get", "referencegrant", grant, "--ignore-not-found", "-o", "name"); got != "" {
			return errors.New(got + " is there")
		}
		return nil
	})

	// With the app all of it goes, and an object of somebody else's stays as it is.
	u.kubectl("create", "ingress", "byroute", "--class=other", "--rule=other.example.com/*=other:80")
	u.kubectl("http", "set", "expose", "byroute", "--ingress="+class)
	u.eventually(soon, "another's Ingress is in the way", func() error { return u.exposedAs("byroute", "False NameTaken") })
	u.kubectl("http", "set", "expose", "byroute", "--ingress=none", "--gateway=front")
	u.eventually(soon, "the HTTPRoute is made", func() error { return u.exposedAs("byroute", "True HTTPRouteAccepted") })
	u.kubectl("delete", "httpapp", "byroute")
	u.eventually(later, "what was made for it is gone", func() error {
		if got := u.kubectl("get", "httproutes,ingresses", "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {end}`); got != "Ingress/byroute " {
			return errors.New(got)
		}
		if got := o.kubectl("get", "referencegrant", grant, "--ignore-not-found", "-o", "name"); got != "" {
			return errors.New(got + " is there")
		}
		return nil
	})
}
