package proxy

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedahttp/kedahttp/interceptor/http1/http1test"
)

// Whatever brought a connection to the standard library, nothing gets through there that is refused in place.
func TestRequestsThatCouldBeTakenForOthersAreRefusedOnEveryConnection(t *testing.T) {
	const (
		plain   = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n"
		trailer = "POST /first HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"
		old     = "GET /first HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
		expect  = "POST /first HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"
		behind  = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	)
	for what, c := range map[string]struct{ appProtocol, first string }{
		"in place":                  {first: plain},
		"at once":                   {},
		"behind a trailer":          {first: trailer},
		"behind HTTP/1.0":           {first: old},
		"behind Expect":             {first: expect},
		"for HTTP/2":                {appProtocol: "kubernetes.io/h2c", first: plain},
		"for HTTP/2, at once":       {appProtocol: "kubernetes.io/h2c"},
		"for HTTP/2, behind others": {appProtocol: "kubernetes.io/h2c", first: trailer + old + plain},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.app("a")
			pod := &witness{}
			w.ready("a", c.appProtocol, at(w.pod(pod.ServeHTTP)))
			w.eventually("there is a pod", func() bool { return w.backend("a").Pods.Available() })
			first := strings.ReplaceAll(c.first, "Host: a", "Host: a.test")
			refused := func(t *testing.T, request string, pipelined bool) {
				d := w.dial(t)
				hear := func() (a answer) {
					for a = d.hear(http.MethodPost); a.status == http.StatusContinue; {
						a = d.hear(http.MethodPost)
					}
					return a
				}
				if pipelined {
					d.say(first + request + behind)
				} else {
					d.say(first)
				}
				for range strings.Count(first, "/first") {
					require.Equal(t, 200, hear().status)
				}
				if !pipelined {
					d.say(request + behind)
				}
				a := hear()
				require.GreaterOrEqual(t, a.status, 400, a)
				require.Less(t, a.status, 600)
				require.NotEqual(t, http.StatusBadGateway, a.status)
				require.Equal(t, "close", a.header.Get("Connection"))
				d.ends()
				for _, r := range pod.take() {
					require.Equal(t, "/first", r.Target)
				}
			}
			for _, pipelined := range []bool{true, false} {
				for what, head := range http1test.Malformed {
					t.Run(fmt.Sprintf("%s, pipelined: %v", what, pipelined), func(t *testing.T) {
						refused(t, strings.ReplaceAll(head, "Host: a\r", "Host: a.test\r"), pipelined)
					})
				}
			}
			for _, body := range http1test.Chunks {
				for _, more := range []string{"", "Trailer: X-Sum\r\n"} {
					t.Run(fmt.Sprintf("%q %s", body, more), func(t *testing.T) {
						refused(t, "POST /second HTTP/1.1\r\nHost: a.test\r\n"+more+"Transfer-Encoding: chunked\r\n\r\n"+body, false)
					})
				}
			}
		})
	}
}

func TestConnectionsForHTTP2AreUsedAgain(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "kubernetes.io/h2c", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // an answer before the end of a body is the last of its connection
		hello(rw, r)
	})))
	d := w.dial(t)
	for range 3 {
		d.say(get)
		require.Equal(t, "hello", d.hear(http.MethodGet).body)
		d.say("POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + get)
		require.Equal(t, "hello", d.hear(http.MethodPost).body)
		require.Equal(t, "hello", d.hear(http.MethodGet).body)
		for _, c := range get { // byte by byte, while the pod answers
			d.say(string(c))
		}
		require.Equal(t, "hello", d.hear(http.MethodGet).body)
	}
}

// What is said before the answer, behind a request for another protocol, is of that protocol.
func TestAnotherProtocolIsNotJudged(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", bytePod(t, func(c net.Conn) {
		b := make([]byte, 1<<10)
		for read := 0; !strings.Contains(string(b[:read]), "\r\n\r\n"); {
			n, err := c.Read(b[read:])
			if read += n; err != nil {
				return
			}
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n")
		_, _ = io.Copy(c, c)
	}))
	for _, early := range []string{"", "\n", "\nearly \x00\r\n"} {
		d := w.dial(t)
		d.say("GET / HTTP/1.1\r\nHost: shop.test\r\nTrailer: X-Sum\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n" + early)
		res, err := http.ReadResponse(d.in, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
		d.say("\r\nlate\n")
		b := make([]byte, len(early)+7)
		_, err = io.ReadFull(d.in, b)
		require.NoError(t, err)
		require.Equal(t, early+"\r\nlate\n", string(b))
	}
}

// inParts is a connection on which something comes in parts of any length.
type inParts struct {
	net.Conn
	rest []byte
	rand *rand.Rand
}

func (c *inParts) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(len(c.rest), 1+c.rand.IntN(c.rand.IntN(500)+1))])
	c.rest = c.rest[n:]
	return n, nil
}

// given is what net/http gets of what comes, however that is divided.
func given(seed uint64, came string) string {
	r := rand.New(rand.NewPCG(seed, 0))
	j := &judged{Conn: &inParts{rest: []byte(came), rand: r}}
	var all []byte
	for {
		p := make([]byte, 1)
		if r.IntN(3) > 0 {
			p = make([]byte, 1+r.IntN(5000))
		}
		n, err := j.Read(p)
		if all = append(all, p[:n]...); err != nil {
			return string(all)
		}
	}
}

func TestWhatIsNotRefusedIsGivenAsItCame(t *testing.T) {
	for what, request := range accepted {
		for seed := range uint64(20) {
			require.Equal(t, request+sentinel, given(seed, request+sentinel), "%s, divided by %d", what, seed)
		}
	}
	for what, head := range http1test.Malformed {
		for seed := range uint64(20) {
			got, ok := strings.CutPrefix(given(seed, sentinel+head+sentinel), sentinel)
			require.True(t, ok, what)
			require.True(t, got == unreadable || got == head[:1]+unreadable, "%s, divided by %d: %q", what, seed, got)
		}
	}
}
