package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"
)

// A pod that can be connected to and breaks every connection has the fewest requests of all, at any time.
func TestAPodThatBreaksItsConnectionsGetsOnlyAFewRequests(t *testing.T) {
	reset := func(c net.Conn) {
		_ = c.(*net.TCPConn).SetLinger(0)
	}
	readAndReset := func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		reset(c)
	}
	readAndClose := func(c net.Conn) {
		b := make([]byte, 4096)
		_, _ = c.Read(b)
	}
	greetAndReset := func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(xhttp2.ClientPreface)))
		framer := xhttp2.NewFramer(c, c)
		_ = framer.WriteSettings()
		for {
			if f, err := framer.ReadFrame(); err != nil || f.Header().Type == xhttp2.FrameHeaders {
				break
			}
		}
		reset(c)
	}
	for what, c := range map[string]struct {
		breaks      func(net.Conn)
		appProtocol string
		protocol    string
		header      http.Header
	}{
		"reset at once":                 {breaks: reset},
		"reset in a request":            {breaks: readAndReset},
		"end in a request":              {breaks: readAndClose},
		"reset at once, Expect":         {breaks: reset, header: http.Header{"Expect": {"100-continue"}}},
		"end in a request, Expect":      {breaks: readAndClose, header: http.Header{"Expect": {"100-continue"}}},
		"reset in a request of HTTP/2":  {breaks: readAndReset, protocol: "h2c"},
		"reset in a request to TLS":     {breaks: readAndReset, appProtocol: "https"},
		"reset of HTTP/2 from HTTP/2":   {breaks: greetAndReset, appProtocol: "kubernetes.io/h2c", protocol: "h2c"},
		"reset of HTTP/2 from HTTP/1.1": {breaks: greetAndReset, appProtocol: "kubernetes.io/h2c"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.app("shop")
			stay := make(chan struct{})
			busy := make(chan struct{}, 10)
			pod := func() string {
				serve := func(rw http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodGet {
						busy <- struct{}{}
						w.awaitInPod(stay)
					}
					_, _ = io.Copy(io.Discard, r.Body)
				}
				if c.appProtocol == "https" {
					return at(w.securePod(serve, 1, 2))
				}
				return at(w.pod(serve))
			}
			w.ready("shop", c.appProtocol, pod(), pod(), bytePod(t, c.breaks))
			w.eventually("three pods are ready", func() bool { return w.backend("shop").Pods.Ready() == 3 })
			client := http.DefaultClient
			if c.protocol == "h2c" {
				client = h2cClient(t)
			}
			held := []<-chan answer{background(w.request("GET", "shop", "/", nil)), background(w.request("GET", "shop", "/", nil))}
			await(t, busy)
			await(t, busy)
			failed := 0
			for range 100 {
				r := w.request("POST", "shop", "/", strings.NewReader("once"))
				r.Header = c.header.Clone()
				a := doWith(client, r)
				require.NoError(t, a.err)
				if a.status != 200 {
					require.Equal(t, http.StatusBadGateway, a.status, a.body)
					failed++
				}
			}
			require.Less(t, failed, 20)
			close(stay)
			for _, a := range held {
				require.Equal(t, 200, await(t, a).status)
			}
		})
	}
}

// Nobody else has the requests of an app's only pod: what breaks it may be the requests themselves.
func TestAnAppsLastPodIsNotLeftOutForConnectionsThatBreak(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			panic(http.ErrAbortHandler)
		}
	})))
	for range 5 {
		require.Equal(t, http.StatusBadGateway, do(w.request("POST", "shop", "/", strings.NewReader("poison"))).status)
		require.True(t, w.backend("shop").Pods.Available())
	}
	require.Equal(t, 200, do(w.request("GET", "shop", "/", nil)).status)
}
