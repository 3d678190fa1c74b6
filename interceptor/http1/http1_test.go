package http1

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedahttp/kedahttp/interceptor/http1/http1test"
)

func TestARequestIsReadInPlaceAndForwardedWithoutWhatIsForTheConnection(t *testing.T) {
	const head = "POST /a%2Fb?x=%zz&y HTTP/1.1\r\nHost: shop.test:80\r\ncOnTent-Length: 5\r\nConnection: keep-alive, X-Mine\r\n" +
		"X-Mine: gone\r\nx-kept:  a b\t\r\nTE: trailers, deflate\r\nKeep-Alive: 5\r\nProxy-Authorization: x\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: gopher\r\n\r\n"
	var r Request
	for n := range len(head) {
		got, err := r.Parse([]byte(head[:n]))
		require.NoError(t, err)
		require.Zero(t, got, "it is not whole")
	}
	n, err := r.Parse([]byte(head + "hello"))
	require.NoError(t, err)
	require.Equal(t, len(head), n)
	require.Equal(t, "shop.test:80", string(r.Host))
	require.Equal(t, int64(5), r.Length)
	require.False(t, r.Unusual || r.Close || r.Chunked)
	path, ok := r.DecodedPath()
	require.True(t, ok)
	require.Equal(t, "/a/b", string(path))
	require.True(t, r.Has("X-Kept", "a b"))

	stranger := &Client{Address: []byte("10.0.0.1"), Proto: "http"}
	require.Equal(t, "POST /a%2Fb?x=%zz&y HTTP/1.1\r\nHost: shop.test:80\r\ncOnTent-Length: 5\r\nx-kept: a b\r\nTe: trailers\r\n"+
		"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: shop.test:80\r\nX-Forwarded-Proto: http\r\n\r\n", string(r.AppendTo(nil, stranger, &Own{})))
	proxy := &Client{Address: []byte("10.0.0.1"), Proto: "http", Trusted: true}
	require.Contains(t, string(r.AppendTo(nil, proxy, &Own{})), "X-Forwarded-For: 6.6.6.6, 10.0.0.1\r\n")
	require.Contains(t, string(r.AppendTo(nil, proxy, &Own{})), "X-Forwarded-Proto: gopher\r\n")
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	for what, head := range http1test.Malformed {
		t.Run(what, func(t *testing.T) {
			var r Request
			_, err := r.Parse([]byte(head))
			var m *Malformed
			require.ErrorAs(t, err, &m)
			require.GreaterOrEqual(t, m.Status, 400)
		})
	}
}

func TestWhatIsUnusualIsLeftToOthers(t *testing.T) {
	for what, head := range map[string]string{
		"HTTP/1.0":              "GET / HTTP/1.0\r\n\r\n",
		"HTTP/2":                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"two upgrades":          "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
		"an empty upgrade":      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade:\r\n\r\n",
		"a strange upgrade":     "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: \xe4\r\n\r\n",
		"an upgrade and a body": "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n",
		"100-continue":          "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
		"trailers":              "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n",
		"an absolute target":    "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"no target but all":     "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"a path to be encoded":  "GET /a\"b HTTP/1.1\r\nHost: a\r\n\r\n",
		"a query alone":         "GET ?a HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			var r Request
			n, err := r.Parse([]byte(head))
			require.NoError(t, err)
			require.Positive(t, n)
			require.True(t, r.Unusual)
		})
	}
	var r Request
	_, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"))
	require.NoError(t, err)
	require.False(t, r.Unusual, "an upgrade that nobody connects to this connection is none")
	_, err = r.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"))
	require.NoError(t, err)
	require.False(t, r.Unusual, "an upgrade to HTTP/2 is not for the app")
	require.NotContains(t, string(r.AppendTo(nil, &Client{}, &Own{})), "h2c")
}

func TestAnUpgradeIsForwarded(t *testing.T) {
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive\r\nConnection: x, uPgrade\r\n\r\n",
	} {
		var r Request
		_, err := r.Parse([]byte(head))
		require.NoError(t, err)
		require.False(t, r.Unusual)
		require.Equal(t, "websocket", string(r.Upgrade))
		require.Contains(t, string(r.AppendTo(nil, &Client{}, &Own{})), "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
	}
	var r Response
	_, err := r.Parse([]byte("HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"), false)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", string(r.AppendTo(nil, Way{})))
	_, err = r.Parse([]byte("HTTP/1.1 426 No\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"), false)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 426 No\r\nContent-Length: 0\r\nDate: \r\n\r\n", string(r.AppendTo(nil, Way{})))
}

func TestAConnectionFieldTakesNoFramingAway(t *testing.T) {
	var r Request
	_, err := r.Parse([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-Mine: x\r\nConnection: close, host, content-length, x-mine\r\n\r\n"))
	require.NoError(t, err)
	require.True(t, r.Close)
	out := string(r.AppendTo(nil, &Client{Proto: "http"}, &Own{}))
	require.Contains(t, out, "Host: a\r\n")
	require.Contains(t, out, "Content-Length: 5\r\n")
	require.NotContains(t, out, "X-Mine")
	require.NotContains(t, out, "Connection")
}

func TestAResponseIsPassedOn(t *testing.T) {
	for what, c := range map[string]struct {
		head, out string
		way       Way
		isHead    bool
		want      Response
	}{
		"with a length": {
			head: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\n\r\n",
			out:  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\nDate: now\r\n\r\n",
			want: Response{Status: 200, Length: 5},
		},
		"chunked with trailers": {
			head: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nDate: then\r\nContent-Length: 7\r\n\r\n",
			out:  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nDate: then\r\nConnection: close\r\n\r\n",
			way:  Way{Close: true},
			want: Response{Status: 200, Chunked: true, Close: true},
		},
		"until the connection ends": {
			head: "HTTP/1.0 200\nX-A: b\n c\nDate: then\n\n",
			out:  "HTTP/1.1 200 \r\nX-A: b  c\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n",
			way:  Way{Chunk: true},
			want: Response{Status: 200, Length: -1, Close: true},
		},
		"of a HEAD": {
			head: "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nDate: then\r\n\r\n", isHead: true,
			out:  "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nDate: then\r\n\r\n",
			want: Response{Status: 200},
		},
		"not modified": {
			head: "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nDate: then\r\nConnection: X-B\r\nX-B: c\r\n\r\n",
			out:  "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nDate: then\r\n\r\n",
			want: Response{Status: 304},
		},
	} {
		t.Run(what, func(t *testing.T) {
			var r Response
			for n := range len(c.head) {
				got, err := r.Parse([]byte(c.head[:n]), c.isHead)
				require.NoError(t, err)
				require.Zero(t, got, "it is not whole")
			}
			n, err := r.Parse([]byte(c.head), c.isHead)
			require.NoError(t, err)
			require.Equal(t, len(c.head), n)
			require.Equal(t, c.want, Response{Status: r.Status, Length: r.Length, Chunked: r.Chunked, Close: r.Close})
			c.way.Date = []byte("now")
			require.Equal(t, c.out, string(r.AppendTo(nil, c.way)))
		})
	}
}

func TestWhatIsNoResponseIsTakenForNone(t *testing.T) {
	for _, head := range []string{
		"hello\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
	} {
		var r Response
		_, err := r.Parse([]byte(head), false)
		require.ErrorIs(t, err, ErrResponse, "%q", head)
	}
}

func TestChunksEndWhereTheyEnd(t *testing.T) {
	for _, body := range []string{"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "00a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", "1\r\nx\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n"} {
		for split := range len(body) + 1 {
			var c Chunks
			n, done, err := c.Scan([]byte(body[:split]))
			require.NoError(t, err)
			require.Equal(t, split, n)
			require.Equal(t, split == len(body), done)
			n, done, err = c.Scan([]byte(body[split:] + "GET / HTTP"))
			require.NoError(t, err)
			require.Equal(t, len(body)-split, n)
			require.True(t, done)
		}
	}
	for _, body := range http1test.Chunks {
		var c Chunks
		_, _, err := c.Scan([]byte(body))
		require.ErrorIs(t, err, ErrChunks, "%q", body)
	}
	c := Chunks{Lenient: true}
	_, done, err := c.Scan([]byte("5;a=\"b\"\r\nhello\r\n0;x\r\n\r\n"))
	require.NoError(t, err)
	require.True(t, done)
}

// exchangeOnce makes a function that reads a request and its response and writes both.
func exchangeOnce(t testing.TB) func() {
	head := []byte("GET /api/items?id=5 HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: wrk\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n")
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
	from := &Client{Address: []byte("10.0.0.1"), Proto: "http"}
	var r Request
	var a Response
	out := make([]byte, 0, 4096)
	return func() {
		if n, err := r.Parse(head); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		r.AppendTo(out, from, &Own{})
		if n, err := a.Parse(answer, false); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		a.AppendTo(out, Way{})
	}
}

func TestNothingIsAllocated(t *testing.T) {
	require.Zero(t, testing.AllocsPerRun(100, exchangeOnce(t)))
}

func TestTheEndOfAHeadIsFoundInWhatArrived(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for n := range len(head) {
		require.Equal(t, n == len(head)-1, Ends([]byte(head[:n+1]), n), n)
	}
	require.True(t, Ends([]byte("GET / HTTP/1.1\n\n"), 0))
	require.False(t, Ends([]byte(strings.Repeat("a\r\n", 1000)), 500))
}

func BenchmarkARequestAndItsResponse(b *testing.B) {
	once := exchangeOnce(b)
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}
