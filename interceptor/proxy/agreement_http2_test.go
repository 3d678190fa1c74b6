package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// sent2 is a request of HTTP/2, as it is sent.
type sent2 struct {
	// fields are names and values.
	fields  []string
	body    string
	trailer []string
	// parts is in how many frames the body comes.
	parts int
}

var get2 = []string{":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", "/"}

func with(fields ...string) []string { return append(get2[:len(get2):len(get2)], fields...) }

func to(method, path string, fields ...string) []string {
	return append([]string{":method", method, ":scheme", "http", ":authority", "a.test", ":path", path}, fields...)
}

// block2 is a header block.
func block2(fields []string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for i := 0; i+1 < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.Bytes()
}

// frames2 are those of a request, behind the first words of a client.
func (s sent2) frames2() []byte {
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	b.WriteString(http2.ClientPreface)
	_ = f.WriteSettings()
	block := block2(s.fields)
	first := block[:min(len(block), 16<<10)]
	block = block[len(first):]
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndHeaders: len(block) == 0, EndStream: s.body == "" && s.trailer == nil})
	for len(block) > 0 {
		n := min(len(block), 16<<10)
		_ = f.WriteContinuation(1, n == len(block), block[:n])
		block = block[n:]
	}
	body, parts := s.body, max(s.parts, 1)
	for i := range parts {
		n := len(body) / (parts - i)
		if body == "" {
			break
		}
		_ = f.WriteData(1, s.trailer == nil && i == parts-1, []byte(body[:n]))
		body = body[n:]
	}
	if s.trailer != nil {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block2(s.trailer), EndHeaders: true, EndStream: true})
	}
	return b.Bytes()
}

// answer2 is what comes back on the first stream.
type answer2 struct {
	status  string
	interim []string
	header  http.Header
	trailer http.Header
	body    string
	reset   bool
}

func headerOf(f *http2.MetaHeadersFrame) http.Header {
	h := http.Header{}
	for _, f := range f.RegularFields() {
		h.Add(f.Name, f.Value)
	}
	return h
}

// ask2 sends frames and reads the answer on the first stream.
func ask2(t testing.TB, address string, frames []byte) (got answer2) {
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()    //nolint:errcheck // nothing more is wanted of it
	go conn.Write(frames) //nolint:errcheck // the answers tell
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	f := http2.NewFramer(io.Discard, conn)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			got.reset = true
			return got
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			status := frame.PseudoValue("status")
			switch {
			case got.status != "":
				got.trailer = headerOf(frame)
			case strings.HasPrefix(status, "1"):
				got.interim = append(got.interim, status)
			default:
				got.status, got.header = status, headerOf(frame)
			}
			if frame.StreamEnded() {
				return got
			}
		case *http2.DataFrame:
			if got.body += string(frame.Data()); frame.StreamEnded() {
				return got
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			got.reset = true
			return got
		}
	}
}

var accepted2 = map[string]sent2{
	"a GET":                     {fields: get2},
	"a path":                    {fields: to("GET", "/a/./b/../c//d/")},
	"two slashes":               {fields: to("GET", "//b/c")},
	"an encoded path":           {fields: to("GET", "/a%2Fb%20c?x=%zz&y=a+b;c")},
	"a path to be encoded":      {fields: to("GET", "/a\"b|c")},
	"a path beyond ASCII":       {fields: to("GET", "/\xc3\xa4")},
	"a fragment":                {fields: to("GET", "/a#b?c")},
	"an empty query":            {fields: to("GET", "/a?")},
	"other methods":             {fields: to("PROPFIND", "/")},
	"a port":                    {fields: []string{":method", "GET", ":scheme", "http", ":authority", "A.Test.:80", ":path", "/"}},
	"Host alone":                {fields: []string{":method", "GET", ":scheme", "http", ":path", "/", "host", "a.test"}},
	"Host, too":                 {fields: with("host", "a.test")},
	"the other scheme":          {fields: []string{":method", "GET", ":scheme", "https", ":authority", "a.test", ":path", "/"}},
	"another order":             {fields: []string{":path", "/", ":authority", "a.test", ":method", "GET", ":scheme", "http"}},
	"values":                    {fields: with("x-a", "b\tc", "x-empty", "", "x-b", "\xe4\xff")},
	"fields that come twice":    {fields: with("x-a", "1", "x-a", "2", "x-a", "1")},
	"cookies":                   {fields: with("cookie", "a=1", "x-a", "1", "cookie", "b=2", "cookie", "c=3")},
	"hop-by-hop fields":         {fields: with("proxy-authorization", "y")},
	"trailers are wanted":       {fields: with("te", "trailers")},
	"a request id":              {fields: with("x-request-id", "a-b_c/1")},
	"two request ids":           {fields: with("x-request-id", "a", "x-request-id", "b")},
	"traces":                    {fields: with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate", "a=1")},
	"forwarded fields":          {fields: with("forwarded", "for=b", "x-forwarded-for", "c", "x-forwarded-host", "d", "x-forwarded-proto", "e", "x-forwarded-port", "f")},
	"a user agent":              {fields: with("user-agent", "test/1")},
	"a HEAD":                    {fields: to("HEAD", "/")},
	"OPTIONS of all":            {fields: to("OPTIONS", "*")},
	"a body":                    {fields: to("POST", "/", "content-length", "5"), body: "hello"},
	"a body without a length":   {fields: to("POST", "/"), body: "hello"},
	"a body in parts":           {fields: to("POST", "/"), body: "hello", parts: 5},
	"a body with its length":    {fields: to("POST", "/", "content-length", "5"), body: "hello", parts: 5},
	"no body":                   {fields: to("POST", "/")},
	"an empty body":             {fields: to("POST", "/", "content-length", "0")},
	"zeros before a length":     {fields: to("POST", "/", "content-length", "005"), body: "hello"},
	"a GET with a body":         {fields: to("GET", "/"), body: "hello"},
	"a long body":               {fields: to("PUT", "/"), body: strings.Repeat("0123456789", 6000), parts: 10},
	"announced trailers":        {fields: to("POST", "/", "trailer", "x-sum"), body: "hello", trailer: []string{"x-sum", "1"}},
	"trailers nobody announced": {fields: to("POST", "/"), body: "hello", trailer: []string{"x-sum", "1"}},
	"Expect":                    {fields: to("POST", "/", "expect", "100-continue", "content-length", "5"), body: "hello"},
	"a large head":              {fields: with("x-a", strings.Repeat("a", 60<<10))},
	"a larger head":             {fields: with("x-a", strings.Repeat("a", 200<<10))},
}

// check2 sends the same to both. Whatever ours accepts the reference accepts, and the apps are told the same.
func (a *agreement) check2(t *testing.T, frames []byte) (accepted bool) {
	ours := ask2(t, a.ours, frames)
	told := a.ourWitness.take()
	if ours.reset || ours.status != "200" {
		return false
	}
	a.theirWitness.take()
	theirs := ask2(t, a.theirs, frames)
	require.False(t, theirs.reset, "ours accepts what the standard library does not")
	require.Equal(t, theirs.status, ours.status)
	wanted := a.theirWitness.take()
	for _, all := range [][]seen{told, wanted} {
		for i := range all {
			all[i].Header.Del("Content-Length") // ours knows it of more bodies
		}
	}
	require.Equal(t, wanted, told)
	return true
}

func TestAppsAreToldTheSameOfHTTP2AsByTheStandardLibrary(t *testing.T) {
	const h2c = "kubernetes.io/h2c"
	for which, a := range map[string]*agreement{
		"plainly": newAgreement(t), "and more": newAgreement(t, tellMore),
		"by HTTP/2 plainly": newAgreementWith(t, h2c), "by HTTP/2 and more": newAgreementWith(t, h2c, tellMore),
	} {
		for what, request := range accepted2 {
			t.Run(which+" "+what, func(t *testing.T) {
				require.True(t, a.check2(t, request.frames2()), "it is refused")
			})
		}
		a.world.is("a", 0, 0)
	}
}

func FuzzAppsAreToldTheSameOfHTTP2AsByTheStandardLibrary(f *testing.F) {
	for _, request := range accepted2 {
		if len(request.body) < 500 && len(request.fields[len(request.fields)-1]) < 500 {
			f.Add(strings.Join(request.fields, "\n"), request.body, strings.Join(request.trailer, "\n"), uint8(request.parts))
		}
	}
	a := newAgreement(f, tellMore)
	f.Cleanup(func() { a.world.is("a", 0, 0) })
	f.Fuzz(func(t *testing.T, fields, body, trailer string, parts uint8) {
		s := sent2{fields: strings.Split(fields, "\n"), body: body, parts: int(parts % 16)}
		if len(s.fields)%2 != 0 || len(body) > 60000 {
			return
		}
		if trailer != "" {
			s.trailer = strings.Split(trailer, "\n")
		}
		a.check2(t, s.frames2())
	})
}

// What clients get by HTTP/2 of what an app says by HTTP/1.1 is what the standard library gives them.
func TestClientsOfHTTP2AreToldTheSameAsByTheStandardLibrary(t *testing.T) {
	for what, response := range map[string]string{
		"a length":              "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello",
		"another reason":        "HTTP/1.1 404 Nobody Knows\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello",
		"chunks":                "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
		"no chunks":             "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunks with ends":      "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\n\r\n",
		"trailers":              "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n",
		"until the end":         "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nhello",
		"nothing until the end": "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n",
		"of HTTP/1.0":           "HTTP/1.0 200 OK\r\nContent-Type: a/b\r\n\r\nhello",
		"no content":            "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
		"no content, length 0":  "HTTP/1.1 204 No Content\r\nX-A: b\r\nContent-Length: 0\r\n\r\n",
		"not modified":          "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\n\r\n",
		"early hints":           "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n",
		"hop-by-hop fields":     "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nConnection: X-B\r\nX-B: c\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n",
		"cookies":               "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n",
		"bare LFs":              "HTTP/1.1 200 OK\nContent-Type: a/b\nContent-Length: 5\n\nhello",
		"a body that breaks":    "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 50\r\n\r\nhello",
		"chunks that break":     "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello",
		"a body of 50 kB":       "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 50000\r\n\r\n" + strings.Repeat("0123456789", 5000),
		"no response":           "nonsense\r\n\r\n",
		"nothing":               "",
		"half a head":           "HTTP/1.1 200 OK\r\nContent-",
		"an upgrade unasked":    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
		"lengths that disagree": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"an unknown coding":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
		"a large head":          "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nX-A: " + strings.Repeat("a", 100<<10) + "\r\nContent-Length: 5\r\n\r\nhello",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			if method == "HEAD" && (strings.Contains(what, "break") || what == "trailers") {
				continue // it has no body, so there are none
			}
			t.Run(fmt.Sprint(what, " ", method), func(t *testing.T) {
				said := response
				if head, _, cut := strings.Cut(response, "\r\n\r\n"); method == "HEAD" && cut && !strings.HasPrefix(head, "HTTP/1.1 1") {
					said = head + "\r\n\r\n"
				}
				pod := bytePod(t, func(conn net.Conn) {
					var in [4096]byte
					if _, err := conn.Read(in[:]); err == nil {
						_, _ = io.WriteString(conn, said)
					}
				})
				w := newWorld(t)
				w.app("a")
				w.ready("a", "", pod)
				w.eventually("there is a pod", func() bool { return w.backend("a").Pods.Available() })
				ask := func(address string) answer2 {
					got := ask2(t, address, sent2{fields: to(method, "/")}.frames2())
					got.header.Del("Date")
					if got.header.Get("Content-Length") == "0" {
						got.header.Del("Content-Length") // that there is no body is said by the end of the stream
					}
					if got.status == "502" { // ours says more
						got.header, got.body = nil, ""
					}
					if got.reset {
						got.body = "" // how much of it came before is of no use
					}
					return got
				}
				require.Equal(t, ask(reference(t, pod, false)), ask(w.address))
				w.is("a", 0, 0)
			})
		}
	}
}
