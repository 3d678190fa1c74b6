//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets/secretstest"
)

// secure is a client of the interceptors by TLS, whatever the host.
type secure struct {
	user
	authority *secretstest.Authority
	address   string
}

func (u user) secure() secure {
	u.Helper()
	at, err := url.Parse(os.Getenv("KEDAHTTP_INTERCEPTOR_TLS"))
	if err != nil || at.Host == "" {
		u.Fatalf("the environment does not name the interceptor's address for TLS: %v", err)
	}
	return secure{u, secretstest.NewAuthority(u.T), at.Host}
}

// secret applies a Secret with a new certificate, and returns its serial number.
func (s secure) secret(name string, hosts ...string) string {
	s.Helper()
	made := s.authority.Secret(s.namespace, name, hosts...)
	made.APIVersion, made.Kind = "v1", "Secret"
	text, err := json.Marshal(made)
	if err != nil {
		s.Fatal(err)
	}
	s.apply(string(text), "--server-side")
	pair, err := tls.X509KeyPair(made.Data["tls.crt"], made.Data["tls.key"])
	if err != nil {
		s.Fatal(err)
	}
	return pair.Leaf.SerialNumber.String()
}

func (s secure) config() *tls.Config { return &tls.Config{RootCAs: s.authority.Pool()} }

// over is a client of a version of HTTP.
func (s secure) over(major int) *http.Client {
	t := &http.Transport{TLSClientConfig: s.config(), Protocols: new(http.Protocols), DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.address)
	}}
	t.Protocols.SetHTTP1(major == 1)
	t.Protocols.SetHTTP2(major == 2)
	s.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// ask returns the app's answer, and the serial number of the certificate that came with it.
func (s secure) ask(c *http.Client, app string) (answer echo, proto, serial string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), later)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.host(app)+"/", nil)
	if err != nil {
		return answer, "", "", err
	}
	res, err := c.Do(req)
	if err != nil {
		return answer, "", "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	return answer, res.Proto, res.TLS.PeerCertificates[0].SerialNumber.String(), err
}

// tlsManifest is an app of an image of the tests with more lines in its spec.
func (u user) tlsManifest(name, image string, lines ...string) string {
	spec := append([]string{
		"scaling: {minReplicas: 0, maxReplicas: 2, cooldown: 1m}",
		fmt.Sprintf("template: {spec: {containers: [{name: app, image: 'kedahttp/test-%s:dev', imagePullPolicy: Never, ports: [{containerPort: 8080}]}]}}", image),
	}, lines...)
	return fmt.Sprintf("apiVersion: apps.http.keda.sh/v1alpha1\nkind: HTTPApp\nmetadata: {name: %s}\nspec:\n  %s\n", name, strings.Join(spec, "\n  "))
}

func TestAnAppWithACertificateIsServedWithTLSAlsoFromZero(t *testing.T) {
	s := newUser(t).secure()
	serial := s.secret("shop-cert", s.host("shop"))
	s.secret("grpc-cert", s.host("rpc"))
	s.apply(s.tlsManifest("shop", "echo", "tls: {secretName: shop-cert, redirect: true}"))
	s.apply(s.tlsManifest("rpc", "grpc", "tls: {secretName: grpc-cert}", "protocol: h2c"))
	s.routed("shop")
	s.routed("rpc")
	port := s.address[strings.LastIndexByte(s.address, ':'):]
	if got, want := s.kubectl("get", "httpapp", "shop", "-o", "jsonpath={.status.url}"), "https://"+s.host("shop")+port; got != want {
		t.Errorf("the app's URL is %s, not %s", got, want)
	}
	s.eventually(soon, "served by HTTP/1.1 and HTTP/2", func() error {
		for major, want := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2.0"} {
			answer, proto, got, err := s.ask(s.over(major), "shop")
			switch {
			case err != nil:
				return err
			case proto != want || got != serial:
				return fmt.Errorf("by %s with certificate %s, not by %s with %s", proto, got, want, serial)
			case answer.Header.Get("X-Forwarded-Proto") != "https" || answer.TLS:
				return fmt.Errorf("the app is told %v, by TLS: %t", answer.Header, answer.TLS)
			}
		}
		return nil
	})
	conn, err := grpc.NewClient("passthrough:///"+s.address, grpc.WithTransportCredentials(credentials.NewTLS(s.config())), grpc.WithAuthority(s.host("rpc")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("gRPC with TLS, from zero: %v", err)
	}

	// In plain text there is only the way to https.
	plain := &http.Client{Transport: client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := plain.Get("http://" + s.host("shop") + "/a?b")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if location := res.Header.Get("Location"); res.StatusCode != http.StatusPermanentRedirect || location != "https://"+s.host("shop")+port+"/a?b" {
		t.Errorf("without TLS: %s, to %q", res.Status, location)
	}

	// Interceptors may read what is named, while it is.
	interceptor := "--as=system:serviceaccount:" + systemNamespace + ":kedahttp-interceptor"
	may := func(verb, secret string) string {
		out, _ := s.try("", "auth", "can-i", verb, "secret/"+secret, interceptor)
		return strings.TrimSpace(out)
	}
	s.secret("other", "other.test")
	for _, verb := range []string{"get", "watch"} {
		if got := may(verb, "shop-cert") + may(verb, "other"); got != "yesno" {
			t.Errorf("whether interceptors may %s the app's Secret and another: %s", verb, got)
		}
	}
	s.kubectl("patch", "httpapp", "rpc", "--type=json", `--patch=[{"op":"remove","path":"/spec/tls"}]`)
	s.eventually(soon, "without the right that it does not need", func() error {
		if got := may("get", "grpc-cert"); got != "no" {
			return errors.New("they may still read it")
		}
		return nil
	})
	s.eventually(soon, "said to be without TLS", func() error {
		if got := s.kubectl("get", "httpapp", "rpc", "-o", "jsonpath={.status.conditions[*].type} {.status.url}"); strings.Contains(got, "TLSReady") || strings.Contains(got, "https:") {
			return fmt.Errorf("what is said is %s", got)
		}
		return nil
	})
}

func TestACertificateIsReplacedWithoutAFailedRequest(t *testing.T) {
	s := newUser(t).secure()
	before := s.secret("cert", s.host("shop"))
	s.apply(s.tlsManifest("shop", "echo", "tls: {secretName: cert}"))
	s.routed("shop")
	s.eventually(soon, "served", func() error {
		_, _, _, err := s.ask(s.over(1), "shop")
		return err
	})
	stop := make(chan struct{})
	var failed atomic.Pointer[error]
	var asked atomic.Int64
	var seen sync.Map
	var clients sync.WaitGroup
	for _, c := range []*http.Client{s.over(1), s.over(2), nil} { // nil: a connection for each request
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				with := c
				if with == nil {
					with = s.over(1)
				}
				_, _, serial, err := s.ask(with, "shop")
				if c == nil {
					with.CloseIdleConnections()
					seen.Store(serial, true)
				}
				if err != nil {
					failed.CompareAndSwap(nil, &err)
				}
				asked.Add(1)
			}
		})
	}
	after := before
	for range 3 {
		after = s.secret("cert", s.host("shop"))
		s.eventually(soon, "the new certificate", func() error {
			if _, ok := seen.Load(after); !ok {
				return errors.New("nobody has seen it")
			}
			return nil
		})
	}
	close(stop)
	clients.Wait()
	if err := failed.Load(); err != nil {
		t.Errorf("of %d requests one failed: %v", asked.Load(), *err)
	}
}

func TestABrokenSecretIsToldAndBreaksNoOtherApp(t *testing.T) {
	s := newUser(t).secure()
	s.secret("good", s.host("fine"))
	s.apply(s.tlsManifest("fine", "echo", "tls: {secretName: good}"))
	s.apply(s.tlsManifest("shop", "echo", "tls: {secretName: cert, redirect: true}"))
	says := func(reason, message string) {
		t.Helper()
		s.eventually(soon, "told of "+reason, func() error {
			if err := s.field("httpapp/shop", `{.status.conditions[?(@.type=="TLSReady")].reason}`, reason); err != nil {
				return err
			}
			if said := s.kubectl("get", "httpapp", "shop", "-o", `jsonpath={.status.conditions[?(@.type=="TLSReady")].message}`); !strings.Contains(said, message) {
				return fmt.Errorf("the message is %q", said)
			}
			return nil
		})
	}
	says("SecretNotFound", "make it")
	if reason := s.kubectl("get", "httpapp", "shop", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].reason} {.status.url}`); !strings.HasPrefix(reason, "SecretNotFound http://") {
		t.Errorf("the app as a whole is %s", reason)
	}
	s.kubectl("create", "secret", "generic", "cert", "--from-literal=tls.crt=x", "--from-literal=tls.key=y")
	says("SecretInvalid", "kubectl create secret tls")
	s.kubectl("delete", "secret", "cert")
	s.secret("cert", "elsewhere.test")
	says("HostNotCovered", "not for "+s.host("shop"))

	s.routed("fine")
	s.eventually(soon, "the other app served", func() error {
		_, _, _, err := s.ask(s.over(2), "fine")
		return err
	})
	s.secret("cert", s.host("shop"))
	says("Served", "valid until")
	s.eventually(soon, "the app served", func() error {
		_, _, _, err := s.ask(s.over(2), "shop")
		return err
	})
	if events := s.kubectl("get", "events", "--field-selector=involvedObject.name=shop", "-o", "jsonpath={.items[*].reason}"); !strings.Contains(events, "SecretInvalid") {
		t.Errorf("the events are %s", events)
	}
}

func TestPodsThatSpeakTLSAreForwardedToWithTLSAlsoFromZero(t *testing.T) {
	s := newUser(t).secure()
	s.secret("pods", "pods.example")
	s.apply(`apiVersion: apps.http.keda.sh/v1alpha1
kind: HTTPApp
metadata: {name: shop}
spec:
  protocol: https
  scaling: {minReplicas: 0, maxReplicas: 2, cooldown: 1m}
  template:
    spec:
      volumes: [{name: cert, secret: {secretName: pods}}]
      containers:
        - name: app
          image: kedahttp/test-echo:dev
          imagePullPolicy: Never
          ports: [{containerPort: 8080}]
          env: [{name: TLS_DIR, value: /cert}]
          volumeMounts: [{name: cert, mountPath: /cert}]
          readinessProbe: {periodSeconds: 30, httpGet: {path: /healthz, port: 8080, scheme: HTTPS}}
`)
	s.routed("shop")
	answer, err := s.get("shop", "/")
	if err != nil {
		t.Fatal(err)
	}
	if !answer.TLS || answer.Proto != "HTTP/2.0" || answer.Header.Get("X-Forwarded-Proto") != "http" {
		t.Errorf("the pod was asked by %s, with TLS: %t, and told %v", answer.Proto, answer.TLS, answer.Header)
	}
	if out, err := s.value("httpapp/shop", "{.spec.tls}"); err != nil || out != "" {
		t.Errorf("that has nothing to do with what clients speak: %s %v", out, err)
	}
}
