//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Whoever holds as many connections as an interceptor takes, and says nothing, keeps nobody out.
func TestSilentClientsKeepNobodyOut(t *testing.T) {
	u := newUser(t)
	const most = 20
	asking := u.ownInterceptor(fmt.Sprint("--max-connections=", most))
	pod := u.running("app.kubernetes.io/name=interceptor-of-" + u.namespace)[0].Status.PodIP
	for range most {
		conn, err := inside(t.Context(), "tcp", pod+":8080")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	// As soon as they have been silent for long enough.
	u.eventually(soon, "an answer", func() error {
		res, err := asking.Get("http://" + u.host("nobody"))
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			return fmt.Errorf("%s", res.Status)
		}
		return nil
	})
	admin := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return inside(ctx, network, pod+":9901")
	}}}
	res, err := admin.Get("http://interceptor/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `kedahttp_interceptor_connections_over_limit_total{outcome="made_room"} 1`) {
		t.Errorf("no connection, or more than one, was ended for it:\n%s", text)
	}
}
