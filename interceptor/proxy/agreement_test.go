package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// reference is what the standard library makes of requests: what ours passes on has to be the same, unless ours refuses it. With told,
// it says what ours says by configuration.
func reference(t testing.TB, pod string, told bool) (address string) {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", pod
			r.Out.Host = r.In.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Trailer = r.In.Trailer
			r.SetXForwarded()
			if told {
				r.Out.Header.Set("Forwarded", "for=127.0.0.1;host="+quoted(r.In.Host)+";proto=http")
				if id := r.In.Header["X-Request-Id"]; len(id) == 1 && sane.MatchString(id[0]) {
					r.Out.Header["X-Request-Id"] = id
				} else {
					r.Out.Header.Set("X-Request-Id", "made")
				}
			}
		},
		Transport:     &http.Transport{DisableCompression: true},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	s := httptest.NewUnstartedServer(proxy)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return at(s)
}

var (
	sane = regexp.MustCompile(`^[!-~]{1,128}$`)
	made = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// quoted is a host as Forwarded has it.
func quoted(host string) string {
	if regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$").MatchString(host) {
		return host
	}
	return strconv.Quote(host)
}

// seen is what an app is told by a request.
type seen struct {
	Method, Target, Host, Body string
	Header, Trailer            http.Header
}

// witness is an app that remembers what it was told.
type witness struct {
	// secure says that requests come with TLS.
	secure bool
	t      testing.TB

	mu  sync.Mutex
	all []seen
}

func (p *witness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	header := r.Header.Clone()
	header.Del("Trailer") // it is in the trailers
	if header.Get("Content-Length") == "0" {
		header.Del("Content-Length") // without a body it says nothing
	}
	if ids := header["X-Request-Id"]; len(ids) == 1 && made.MatchString(ids[0]) {
		ids[0] = "made"
	}
	if header.Get("User-Agent") == "" {
		header.Del("User-Agent")
	}
	if p.secure {
		// The reference is asked without TLS.
		if got := r.Header["X-Forwarded-Proto"]; len(got) != 1 || got[0] != "https" {
			p.t.Errorf("the app is told that the request came by %q", got)
		}
		header.Set("X-Forwarded-Proto", "http")
	}
	p.mu.Lock()
	p.all = append(p.all, seen{r.Method, r.RequestURI, r.Host, string(body), header, r.Trailer})
	p.mu.Unlock()
	fmt.Fprint(w, "ok") //nolint:errcheck // the test sees
}

func (p *witness) take() []seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.all
	p.all = nil
	return all
}

// statuses are those of the responses to what is sent on one connection, until it ends or nothing comes for a while.
func statuses(t testing.TB, address string, sent []byte, most time.Duration) (all []int, ended bool) {
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()  //nolint:errcheck // nothing more is wanted of it
	go conn.Write(sent) //nolint:errcheck // the answers tell
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(most)))
	r := bufio.NewReader(conn)
	method, _, _ := strings.Cut(string(sent), " ")
	for {
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			_, err := r.Peek(1)
			return all, err == io.EOF
		}
		method = "GET"
		if res.StatusCode >= 200 {
			all = append(all, res.StatusCode)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return all, false
		}
	}
}

type agreement struct {
	world                    *world
	ours, theirs             string
	ourWitness, theirWitness *witness
}

func newAgreement(t testing.TB, change ...func(*Config)) *agreement {
	return newAgreementWith(t, "", change...)
}

// newAgreementWith has a pod with an appProtocol.
func newAgreementWith(t testing.TB, appProtocol string, change ...func(*Config)) *agreement {
	a := &agreement{ourWitness: &witness{}, theirWitness: &witness{}}
	w := newWorld(t, change...)
	w.app("a")
	w.ready("a", appProtocol, at(w.pod(a.ourWitness.ServeHTTP)))
	w.eventually("there is a pod", func() bool { return w.backend("a").Pods.Available() })
	a.world = w
	a.ours, a.theirs = w.address, reference(t, at(w.pod(a.theirWitness.ServeHTTP)), len(change) > 0)
	return a
}

// newSecureAgreement is newAgreement, where ours is asked with TLS.
func newSecureAgreement(t testing.TB) *agreement {
	a := newAgreement(t)
	a.ourWitness.t, a.ourWitness.secure = t, true
	a.ours = a.world.secure().tunnel(t)
	return a
}

// sentinel comes behind what is tried: it must arrive as it is, or not at all.
const sentinel = "GET /sentinel HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"

// check sends the same to both. Whatever ours accepts the reference accepts, and the apps are told the same.
func (a *agreement) check(t *testing.T, request []byte) (accepted bool) {
	const most = 2 * time.Second // nothing comes to requests that do not end
	sent := append(bytes.Clone(request), sentinel...)
	ours, ended := statuses(t, a.ours, sent, most)
	told := a.ourWitness.take()
	for _, status := range ours {
		if status != http.StatusOK {
			return false
		}
	}
	if !ended || len(ours) == 0 {
		return false
	}
	a.theirWitness.take()
	theirs, _ := statuses(t, a.theirs, sent, most)
	// It may close the connection behind a long body.
	require.NotEmpty(t, theirs, "ours accepts what the standard library does not: %q", request)
	require.LessOrEqual(t, len(theirs), len(ours), "%q", request)
	require.Equal(t, ours[:len(theirs)], theirs, "%q", request)
	require.Len(t, told, len(ours))
	toldByThem := a.theirWitness.take()
	require.Len(t, toldByThem, len(theirs))
	for i := range toldByThem {
		told[i].Trailer = announced(told[i].Trailer, toldByThem[i].Trailer)
	}
	require.Equal(t, toldByThem, told[:len(theirs)], "%q", request)
	return true
}

// announced are those trailers of ours that the standard library passes on too. It drops what was not announced, of which ours may keep
// some: a proxy may do either (RFC 9110 section 6.5.2).
func announced(ours, theirs http.Header) http.Header {
	maps.DeleteFunc(ours, func(name string, _ []string) bool {
		_, passed := theirs[name]
		return !passed
	})
	if len(ours) == 0 && theirs == nil {
		return nil
	}
	return ours
}

var accepted = map[string]string{
	"a GET":                       "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"a path":                      "GET /a/./b/../c//d/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"two slashes":                 "GET //b/c HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"an encoded path":             "GET /a%2Fb%20c?x=%zz&y=a+b;c HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"a path to be encoded":        "GET /a\"b|c HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"a path beyond ASCII":         "GET /\xc3\xa4 HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"a fragment":                  "GET /a#b?c HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"an empty query":              "GET /a? HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"a query with marks":          "GET /a?b?c={\"d\":[1]} HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"an absolute target":          "GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"a port":                      "GET / HTTP/1.1\r\nHost: A.Test.:80\r\n\r\n",
	"other methods":               "PROPFIND / HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"a method in lower case":      "get / HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"spaces around values":        "GET / HTTP/1.1\r\nHost:a.test\t \r\nX-A:  b\tc  \r\nX-Empty:\r\n\r\n",
	"values beyond ASCII":         "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: \xe4\xff\r\n\r\n",
	"names in any case":           "GET / HTTP/1.1\r\nhOST: a.test\r\nx-a_b!: c\r\nX-A: 1\r\nx-a: 2\r\n\r\n",
	"hop-by-hop fields":           "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: X-B, keep-alive\r\nX-B: c\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\nTE: gzip\r\nUpgrade: foo\r\n\r\n",
	"trailers are wanted":         "GET / HTTP/1.1\r\nHost: a.test\r\nTE: gzip, trailers\r\nConnection: TE\r\n\r\n",
	"request ids":                 "GET /1 HTTP/1.1\r\nHost: a.test\r\nX-Request-ID: a-b_c/1\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.test\r\nx-request-id: \xff\r\n\r\nGET /3 HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n\r\n",
	"traces":                      "GET / HTTP/1.1\r\nHost: a.test\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nTracestate: a=1\r\nTracestate: b=2\r\n\r\n",
	"forwarded fields":            "GET / HTTP/1.1\r\nHost: a.test\r\nForwarded: for=b\r\nX-Forwarded-For: c\r\nX-Forwarded-Host: d\r\nX-Forwarded-Proto: e\r\nX-Forwarded-Port: f\r\n\r\n",
	"no user agent":               "GET / HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\n\r\n",
	"an empty user agent":         "GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent:\r\n\r\n",
	"a HEAD":                      "HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"a body":                      "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
	"an empty body":               "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
	"zeros before a length":       "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 00000000000000000000005\r\n\r\nhello",
	"many zeros":                  "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length:00\r\n\r\n",
	"no body":                     "POST / HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"a GET with a body":           "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
	"a long body":                 "PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("0123456789", 10000),
	"a body in chunks":            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n",
	"a long body in chunks":       "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10\r\n0123456789abcdef\r\n", 5000) + "0\r\n\r\n",
	"announced trailers":          "POST / HTTP/1.1\r\nHost: a.test\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
	"trailers not announced":      "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
	"two requests":                "GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi",
	"Expect":                      "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
	"a Connection that lists all": "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nConnection: ,,  , keep-alive ,Keep-Alive\r\n\r\nhello",
	"a large head":                "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: " + strings.Repeat("a", 60<<10) + "\r\n\r\n",
	"a larger head":               "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: " + strings.Repeat("a", 200<<10) + "\r\n\r\n",
}

func TestAppsAreToldTheSameAsByTheStandardLibrary(t *testing.T) {
	for which, a := range map[string]*agreement{
		"plainly": newAgreement(t), "and more": newAgreement(t, tellMore), "with TLS": newSecureAgreement(t),
	} {
		for what, request := range accepted {
			t.Run(which+" "+what, func(t *testing.T) {
				require.True(t, a.check(t, []byte(request)), "it is refused")
			})
		}
	}
}

// tellMore has apps told all that they can be told.
func tellMore(c *Config) { c.Forwarded, c.RequestIDs = true, RequestIDsReturn }

// A request whose end or whose meaning is not certain is refused, and what comes behind it is not read.
func TestWhatCouldSmuggleARequestIsRefusedAndTheConnectionClosed(t *testing.T) {
	for how, a := range map[string]*agreement{"plainly": newAgreement(t), "with TLS": newSecureAgreement(t)} {
		t.Run(how, a.refusesSmuggling)
	}
}

func (a *agreement) refusesSmuggling(t *testing.T) {
	for what, request := range map[string]string{
		"both lengths":               "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":                "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
		"the same length twice":      "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
		"a signed length":            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +5\r\n\r\nhello",
		"a length with a space":      "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length : 5\r\n\r\nhello",
		"a coding with a space":      "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"a coding behind a tab":      "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
		"an unknown coding":          "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"two codings":                "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
		"a folded coding":            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"a folded value":             "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\r\n\tb\r\n\r\n",
		"a bare LF":                  "GET / HTTP/1.1\r\nHost: a.test\nX: a\r\n\r\n",
		"a bare CR":                  "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\rGET /b HTTP/1.1\r\n\r\n",
		"a NUL":                      "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\x00b\r\n\r\n",
		"two hosts":                  "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
		"no host":                    "GET / HTTP/1.1\r\n\r\n",
		"a chunk's extension":        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
		"a chunk's size with LF":     "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
		"a chunk that is longer":     "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
		"a chunk of 2^64":            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
		"a length among trailers":    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
		"a space in the target":      "GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"a path that is not encoded": "GET /%zz HTTP/1.1\r\nHost: a.test\r\n\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			got, ended := statuses(t, a.ours, []byte(request+sentinel), patience)
			require.Equal(t, []int{http.StatusBadRequest}, got)
			require.True(t, ended, "the connection is closed")
			require.Empty(t, a.ourWitness.take())
		})
	}
	// Also behind one that is answered.
	got, ended := statuses(t, a.ours, []byte("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n "+sentinel), patience)
	require.Equal(t, []int{http.StatusOK, http.StatusBadRequest}, got)
	require.True(t, ended)
	require.Len(t, a.ourWitness.take(), 1)
	got, ended = statuses(t, a.ours, []byte("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"+sentinel), patience)
	require.Equal(t, []int{http.StatusMethodNotAllowed}, got)
	require.True(t, ended)
	got, ended = statuses(t, a.ours, []byte("GET / HTTP/1.2\r\nHost: a.test\r\n\r\n"+sentinel), patience)
	require.Equal(t, []int{http.StatusHTTPVersionNotSupported}, got)
	require.True(t, ended)
}

func FuzzAppsAreToldTheSameAsByTheStandardLibrary(f *testing.F) {
	for _, request := range accepted {
		if len(request) < 500 {
			f.Add([]byte(request))
		}
	}
	a := newAgreement(f, tellMore)
	f.Fuzz(func(t *testing.T, request []byte) { a.check(t, request) })
}

// What clients get of a response is what the standard library gives them.
func TestClientsAreToldTheSameAsByTheStandardLibrary(t *testing.T) {
	type told struct {
		status          int
		header, trailer http.Header
		body            string
		torn            bool
		interim         []int
	}
	for what, c := range map[string]struct {
		method, response string
	}{
		"a length":              {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello"},
		"another reason":        {"GET", "HTTP/1.1 404 Nobody Knows\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello"},
		"chunks":                {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"chunks with ends":      {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\n\r\n"},
		"trailers":              {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"},
		"until the end":         {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nhello"},
		"of HTTP/1.0":           {"GET", "HTTP/1.0 200 OK\r\nContent-Type: a/b\r\n\r\nhello"},
		"no content":            {"GET", "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"},
		"no content, length 0":  {"GET", "HTTP/1.1 204 No Content\r\nX-A: b\r\nContent-Length: 0\r\n\r\n"},
		"not modified":          {"GET", "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\n\r\n"},
		"a HEAD":                {"HEAD", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 500\r\n\r\n"},
		"a HEAD in chunks":      {"HEAD", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n"},
		"early hints":           {"GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n"},
		"100 unasked":           {"GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n"},
		"hop-by-hop fields":     {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nConnection: X-B\r\nX-B: c\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n"},
		"cookies":               {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n"},
		"a folded value":        {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"},
		"bare LFs":              {"GET", "HTTP/1.1 200 OK\nContent-Type: a/b\nContent-Length: 5\n\nhello"},
		"a body that breaks":    {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 50\r\n\r\nhello"},
		"chunks that break":     {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello"},
		"a long body":           {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("0123456789", 100000)},
		"a body of 100 kB":      {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("0123456789", 10000)},
		"no response":           {"GET", "nonsense\r\n\r\n"},
		"nothing":               {"GET", ""},
		"half a head":           {"GET", "HTTP/1.1 200 OK\r\nContent-"},
		"an upgrade unasked":    {"GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"},
		"lengths that disagree": {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"},
		"an unknown coding":     {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello"},
		"a large head":          {"GET", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nX-A: " + strings.Repeat("a", 100<<10) + "\r\nContent-Length: 5\r\n\r\nhello"},
	} {
		t.Run(what, func(t *testing.T) {
			pod := bytePod(t, func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, c.response)
				}
			})
			w := newWorld(t)
			w.app("a")
			w.ready("a", "", pod)
			w.eventually("there is a pod", func() bool { return w.backend("a").Pods.Available() })
			ask := func(address string) (got told) {
				r, err := http.NewRequest(c.method, "http://"+address+"/", nil)
				require.NoError(t, err)
				r.Host = "a.test"
				conn, err := net.Dial("tcp", address)
				require.NoError(t, err)
				defer conn.Close() //nolint:errcheck // the test is over
				require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
				require.NoError(t, r.Write(conn))
				in := bufio.NewReader(conn)
				for {
					res, err := http.ReadResponse(in, r)
					require.NoError(t, err)
					if res.StatusCode < 200 {
						got.interim = append(got.interim, res.StatusCode)
						continue
					}
					body, err := io.ReadAll(res.Body)
					got.status, got.header, got.trailer, got.body, got.torn = res.StatusCode, res.Header, res.Trailer, string(body), err != nil
					break
				}
				got.header.Del("Date")
				got.header.Del("Connection")
				for _, values := range got.header {
					for i := range values {
						values[i] = strings.Join(strings.Fields(values[i]), " ") // a folded one has spaces for the fold
					}
				}
				if got.status == http.StatusBadGateway { // ours says more
					got.header, got.body = nil, ""
				}
				return got
			}
			want := ask(reference(t, pod, false))
			require.Equal(t, want, ask(w.address))
			require.Equal(t, want, ask(w.secure().tunnel(t)), "with TLS")
		})
	}
}
