//go:build e2e

package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// keepsSecrets says a word to every part wherever secrets are said or kept, while they log all that they may, and looks for it in all logs
// and in the report of the plugin. verbose has all parts but one more interceptor, which is started here, log as much as they may.
func (u user) keepsSecrets(verbose func(v string)) {
	u.Helper()
	canary := "canary-" + u.namespace
	said := func(where string) string { return canary + "-" + where }
	verbose("7")
	defer verbose("0")
	full := u.ownInterceptor("--v=7", "--access-log=full")

	// What a cluster keeps: the environment of an app and of its Secret, the key of its certificate.
	s := u.secure()
	s.secret("front", u.host("told"))
	u.kubectl("create", "secret", "generic", "password", "--from-literal=A="+said("secret"))
	u.kubectl("http", "deploy", "told", "--image", "kedahttp/test-echo:dev", "--env", "A="+said("env"), "--env-from", "secret/password", "--tls-secret", "front", "--scale", "1..2")
	u.kubectl("patch", "httpapp", "told", "--type=merge", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"told","image":"kedahttp/test-echo:dev","imagePullPolicy":"Never","env":[{"name":"B","value":"`+said("patched")+`"}]}]}}}}`)
	u.routed("told")
	key, err := base64.StdEncoding.DecodeString(u.kubectl("get", "secret", "front", "-o", `jsonpath={.data.tls\.key}`))
	if err != nil {
		u.Fatal(err)
	}
	keyLine := strings.Split(string(key), "\n")[1]

	// What callers say, to an app, to nobody, and in a way that nobody understands.
	secretly := func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+said("authorization"))
		r.Header.Set("Proxy-Authorization", "Basic "+said("proxy"))
		r.Header.Set("X-Api-Key", said("key"))
		r.AddCookie(&http.Cookie{Name: "session", Value: said("cookie")})
	}
	for _, app := range []string{"told", "nobody"} {
		for _, c := range []*http.Client{full, u.protocol(h2c)} {
			r, err := http.NewRequestWithContext(u.Context(), http.MethodPost, "http://"+u.host(app)+"/seen-"+u.namespace+"?token="+said("query"), strings.NewReader(said("body")))
			if err != nil {
				u.Fatal(err)
			}
			secretly(r)
			res, err := c.Do(r)
			if err != nil {
				u.Fatal(err)
			}
			_ = res.Body.Close()
		}
	}
	for _, broken := range []string{"GET / HTTP/1.1\r\nHost: a b\r\nCookie: %s\r\n\r\n", "GET /?%s HTTP/1.1\r\nHost: a\r\nCookie: \x01%[1]s\r\n\r\n"} {
		conn, err := net.Dial("tcp", environment.interceptor)
		if err != nil {
			u.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, broken, said("broken"))
		_, _ = io.ReadAll(conn)
		_ = conn.Close()
	}
	// And those of the API, and of the scaler.
	for _, server := range u.servers() {
		r, err := http.NewRequestWithContext(u.Context(), http.MethodGet, "https://"+server.Status.PodIP+":8443"+appPath(u.namespace, "told"), nil)
		if err != nil {
			u.Fatal(err)
		}
		secretly(r)
		res, err := u.strangersTo().Do(r)
		if err != nil {
			u.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			u.Errorf("a token that nobody gave out: %s", res.Status)
		}
	}
	scaler := u.running("app.kubernetes.io/name=kedahttp-scaler")[0].Status.PodIP + ":9090"
	conn, err := grpc.NewClient("passthrough:///"+scaler, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return inside(ctx, "tcp", address) }))
	if err != nil {
		u.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(u.Context(), "authorization", said("metadata"))
	for _, app := range []string{"told", ""} {
		_, _ = externalscaler.NewExternalScalerClient(conn).GetMetrics(ctx, &externalscaler.GetMetricsRequest{MetricName: "of-no-such-name", ScaledObjectRef: &externalscaler.ScaledObjectRef{
			Name: "told", Namespace: u.namespace, ScalerMetadata: map[string]string{"httpApp": app, "password": said("trigger")},
		}})
	}

	report := filepath.Join(u.TempDir(), "report.tar.gz")
	_, _ = u.try("", "http", "doctor", "told", "--report", report) // that all is well is others' to say
	o := operator(u.T)
	u.eventually(soon, "what the parts have to tell in their logs", func() error {
		logs, err := o.try("", "logs", "-l", "app.kubernetes.io/name in (kedahttp-apiserver,kedahttp-interceptor,kedahttp-scaler)", "--all-containers", "--tail=-1", "--max-log-requests=20", "--prefix")
		if err != nil {
			return err
		}
		own, err := o.try("", "logs", "deployment/interceptor-of-"+u.namespace, "--tail=-1")
		if err != nil {
			return err
		}
		if !strings.Contains(own, "/seen-"+u.namespace) || !strings.Contains(logs, appPath(u.namespace, "told")) {
			return fmt.Errorf("%d bytes of the parts and %d of the interceptor do not tell of what was asked", len(logs), len(own))
		}
		u.hides(canary, keyLine, "the logs", logs+own)
		return nil
	})
	archive, err := os.ReadFile(report)
	if err != nil {
		u.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		u.Fatal(err)
	}
	files := tar.NewReader(unpacked)
	for {
		h, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			u.Fatal(err)
		}
		text, err := io.ReadAll(files)
		if err != nil {
			u.Fatal(err)
		}
		u.hides(canary, keyLine, h.Name, string(text))
	}
}

// hides fails the test if a text has the canary, as it is or encoded in any of the ways in which base64 may come to lie, or the key.
func (u user) hides(canary, key, what, text string) {
	u.Helper()
	forms := []string{canary + "-", key, base64.StdEncoding.EncodeToString([]byte(key))[:40]}
	for i := range 3 {
		whole := base64.StdEncoding.EncodeToString([]byte("xx"[:i] + canary))
		forms = append(forms, whole[4:len(whole)-4])
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		for _, form := range forms {
			if strings.Contains(lines.Text(), form) {
				u.Errorf("%s: %.600s", what, lines.Text())
				break
			}
		}
	}
	if err := lines.Err(); err != nil {
		u.Error(err)
	}
}

// strangersTo is a client of one server itself, without a certificate.
func (u user) strangersTo() *http.Client {
	t := u.direct().Transport
	for {
		wrapped, ok := t.(interface{ WrappedRoundTripper() http.RoundTripper })
		if !ok {
			break
		}
		t = wrapped.WrappedRoundTripper()
	}
	own := t.(*http.Transport).Clone()
	own.TLSClientConfig.GetClientCertificate, own.TLSClientConfig.Certificates = nil, nil
	u.Cleanup(own.CloseIdleConnections)
	return &http.Client{Transport: own, Timeout: soon}
}
