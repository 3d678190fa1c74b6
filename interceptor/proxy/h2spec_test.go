package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// h2specExceptions are the cases of h2spec that do not pass, with the reasons.
var h2specExceptions = map[string]string{
	"http2/3.5/2": "what begins like a request of HTTP/1.1 gets 400 in HTTP/1.1 before the connection is closed: both are spoken on one port",
}

// h2specCases are all cases of h2spec, by their names there.
func h2specCases() map[string]*spec.TestCase {
	all := map[string]*spec.TestCase{}
	var walk func(*spec.TestGroup)
	walk = func(g *spec.TestGroup) {
		for i, c := range append(g.Tests, g.StrictTests...) {
			all[fmt.Sprintf("%s/%d", g.ID(), i+1)] = c
		}
		for _, g := range g.Groups {
			walk(g)
		}
	}
	for _, g := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		walk(g)
	}
	return all
}

// h2spec runs a case against a server, which may take so long for what it does. Each time is a try.
func h2spec(c *spec.TestCase, address string, tries ...time.Duration) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	try := func(most time.Duration) error {
		conf := &config.Config{Host: host, Port: number, Path: "/", Timeout: most, MaxHeaderLen: 4000, Strict: true}
		conn, err := spec.Dial(conf)
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // the case is over
		return c.Run(conf, conn)
	}
	for _, most := range tries {
		if err = try(most); err == nil || errors.Is(err, spec.ErrSkipped) {
			break
		}
	}
	return err
}

// The requests of the cases are forwarded to a pod and answered by it.
func TestHTTP2IsSpokenAsH2specWantsIt(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for what is not to come")
	}
	answer := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		hello(w, r)
	}
	w := newWorldWith(t, &http.Server{ErrorLog: silence})
	w.app("a", func(a *v1alpha1.HTTPApp) { a.Spec.Routes[0].Hosts = append(a.Spec.Routes[0].Hosts, "127.0.0.1") })
	w.ready("a", "", at(w.pod(answer)))
	w.eventually("there is a pod", func() bool { return w.backend("a").Pods.Available() })
	all := h2specCases()
	require.Greater(t, len(all), 100)
	for id := range h2specExceptions {
		require.Contains(t, all, id)
	}
	t.Run("cases", func(t *testing.T) {
		for id, c := range all {
			t.Run(id, func(t *testing.T) {
				t.Parallel()
				if reason, known := h2specExceptions[id]; known {
					require.Error(t, h2spec(c, w.address, time.Second), "%s: it passes, and need not be excepted: %s", c.Desc, reason)
				} else if err := h2spec(c, w.address, 2*time.Second, patience); !errors.Is(err, spec.ErrSkipped) {
					require.NoError(t, err, "%s: %s", c.Desc, c.Requirement)
				}
			})
		}
	})
	w.is("a", 0, 0)
}
