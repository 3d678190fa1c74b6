package http1

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func parse(t *testing.T, fields string) *Request {
	t.Helper()
	r := &Request{}
	n, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: shop.test:80\r\n" + fields + "\r\n"))
	require.NoError(t, err)
	require.NotZero(t, n)
	return r
}

func TestForwardedSaysWhoAskedToTheExtentThatItIsKnown(t *testing.T) {
	const ours = `for=10.0.0.9;host="shop.test:80";proto=http`
	for what, c := range map[string]struct {
		fields            string
		address           string
		stranger, trusted string
	}{
		"nothing":          {"", "10.0.0.9", ours, ours},
		"IPv6":             {"", "fd00::1", `for="[fd00::1]";host="shop.test:80";proto=http`, `for="[fd00::1]";host="shop.test:80";proto=http`},
		"a zone":           {"", "fe80::1%eth0", `for="[fe80::1]";host="shop.test:80";proto=http`, `for="[fe80::1]";host="shop.test:80";proto=http`},
		"Forwarded":        {"Forwarded: for=6.6.6.6;proto=https\r\nForwarded: for=_x\r\n", "10.0.0.9", ours, "for=6.6.6.6;proto=https, for=_x, " + ours},
		"both":             {"Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n", "10.0.0.9", ours, "for=6.6.6.6, " + ours},
		"an empty one":     {"Forwarded:\r\n", "10.0.0.9", ours, ours},
		"X-Forwarded":      {"X-Forwarded-For: 6.6.6.6, fd00::2,,\r\nX-Forwarded-For: 7.7.7.7:80\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.test\r\n", "10.0.0.9", ours, `for=6.6.6.6;host=a.test;proto=https, for="[fd00::2]", for="7.7.7.7:80", ` + ours},
		"no addresses":     {"X-Forwarded-For: a b, \"evil\"\r\n", "10.0.0.9", ours, `for=unknown;host="shop.test:80";proto=http, for=unknown, ` + ours},
		"the scheme alone": {"X-Forwarded-Proto: https\r\n", "10.0.0.9", ours, `for=10.0.0.9;host="shop.test:80";proto=https`},
		"no scheme":        {"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: a;b\r\n", "10.0.0.9", ours, `for=6.6.6.6;host="shop.test:80";proto=http, ` + ours},
		"a host to quote":  {"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: a\"b\\\r\n", "10.0.0.9", ours, `for=6.6.6.6;host="a\"b\\";proto=http, ` + ours},
	} {
		t.Run(what, func(t *testing.T) {
			r := parse(t, c.fields)
			from := &Client{Address: []byte(c.address), Proto: "http", Node: ForwardedNode(netip.MustParseAddr(c.address))}
			require.Equal(t, c.stranger, string(r.AppendForwarded(nil, from)))
			require.Equal(t, 1, strings.Count(string(r.AppendTo(nil, from, &Own{})), "\r\nForwarded: "+c.stranger+"\r\n"))
			from.Trusted = true
			require.Equal(t, c.trusted, string(r.AppendForwarded(nil, from)))
			out := string(r.AppendTo(nil, from, &Own{}))
			require.Equal(t, 1, strings.Count(out, "Forwarded: for"), out)
			from.Node = nil
			require.NotContains(t, string(r.AppendTo(nil, from, &Own{})), "\r\nForwarded:")
		})
	}
}

func TestAClientsRequestIDIsTakenOverIfItCanBeWrittenDown(t *testing.T) {
	long := strings.Repeat("x", 128)
	for fields, want := range map[string]string{
		"":                                       "",
		"X-REQUEST-ID: a-1\r\n":                  "a-1",
		"X-Request-Id: " + long + "\r\n":         long,
		"X-Request-Id: " + long + "x\r\n":        "",
		"X-Request-Id:\r\n":                      "",
		"X-Request-Id: a b\r\n":                  "",
		"X-Request-Id: \xe4\r\n":                 "",
		"X-Request-Id: a\r\nX-Request-Id: a\r\n": "",
		"Connection: X-Request-Id\r\nX-Request-Id: a\r\n": "a",
	} {
		require.Equal(t, want, string(parse(t, fields).RequestID()), fields)
	}
}

func TestWhatAForwarderSaysTakesThePlaceOfWhatTheClientSaid(t *testing.T) {
	r := parse(t, "X-Request-Id: theirs\r\nTraceparent: theirs\r\nTracestate: a=1\r\nX-Other: kept\r\n")
	out := string(r.AppendTo(nil, &Client{}, &Own{}))
	for _, kept := range []string{"X-Request-Id: theirs", "Traceparent: theirs", "Tracestate: a=1", "X-Other: kept"} {
		require.Contains(t, out, "\r\n"+kept+"\r\n")
	}
	own := &Own{RequestID: []byte("ours"), TraceParent: []byte("ours")}
	out = string(r.AppendTo(nil, &Client{}, own))
	require.NotContains(t, out, "theirs")
	for _, said := range []string{"X-Request-Id: ours", "Traceparent: ours", "Tracestate: a=1", "X-Other: kept"} {
		require.Equal(t, 1, strings.Count(out, "\r\n"+said+"\r\n"), said)
	}
	own.NewTrace = true
	require.NotContains(t, string(r.AppendTo(nil, &Client{}, own)), "Tracestate")
}

func TestResponsesAreGivenTheRequestsIDUnlessTheyHaveOne(t *testing.T) {
	for head, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":                       "X-Request-Id: ours",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-request-id: apps\r\n\r\n": "x-request-id: apps",
	} {
		var r Response
		_, err := r.Parse([]byte(head), false)
		require.NoError(t, err)
		out := string(r.AppendTo(nil, Way{RequestID: []byte("ours")}))
		require.Contains(t, out, "\r\n"+want+"\r\n")
		require.Equal(t, 1, strings.Count(strings.ToLower(out), "x-request-id"))
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		id := string(AppendRequestID(nil))
		require.Regexp(t, "^[0-9a-f]{32}$", id)
		require.False(t, seen[id])
		seen[id] = true
	}
	buffer := make([]byte, 0, 32)
	require.Zero(t, testing.AllocsPerRun(100, func() { AppendRequestID(buffer) }))
}

func BenchmarkARequestID(b *testing.B) {
	buffer := make([]byte, 0, 32)
	for b.Loop() {
		AppendRequestID(buffer)
	}
}
