package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// dialogue is a client's connection, byte by byte.
type dialogue struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func (w *world) dial(t *testing.T) *dialogue {
	conn, err := net.Dial("tcp", w.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return &dialogue{t, conn, bufio.NewReader(conn)}
}

func (d *dialogue) say(what string) {
	d.t.Helper()
	_, err := io.WriteString(d, what)
	require.NoError(d.t, err)
}

func (d *dialogue) hear(method string) answer {
	d.t.Helper()
	res, err := http.ReadResponse(d.in, &http.Request{Method: method})
	require.NoError(d.t, err)
	body, err := io.ReadAll(res.Body)
	if res.Close {
		res.Header.Set("Connection", "close")
	}
	return answer{res.StatusCode, res.Header, string(body), err}
}

// ends waits for the end of the connection.
func (d *dialogue) ends() {
	d.t.Helper()
	_, err := d.in.ReadByte()
	require.ErrorIs(d.t, err, io.EOF)
}

const get = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"

// connections counts those that a pod gets.
func connections(s *http.Server) *atomic.Int64 {
	n := new(atomic.Int64)
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
	return n
}

func TestConnectionsAreUsedAgainOnBothSides(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	var n *atomic.Int64
	pod := w.podWith(func(s *http.Server) {
		s.Handler = http.HandlerFunc(hello)
		n = connections(s)
	})
	w.ready("shop", "", at(pod))
	d := w.dial(t)
	for range 50 {
		d.say(get)
		require.Equal(t, "hello", d.hear("GET").body)
	}
	require.LessOrEqual(t, n.Load(), int64(1))
	w.is("shop", 0, 0)
	require.Equal(t, int64(50), w.counts("shop").Read().Requests)
}

func TestRequestsThatComeTogetherAreAnsweredInOrder(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, r.URL.Path, len(body)) //nolint:errcheck // the test sees
	})))
	d := w.dial(t)
	var all strings.Builder
	for i := range 20 {
		fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: shop.test\r\n\r\n", i)
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: shop.test\r\nContent-Length: %d\r\n\r\n%s", i, i*3000, strings.Repeat("x", i*3000))
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n", i, strings.Repeat("a\r\n0123456789\r\n", i*1000))
	}
	go d.say(all.String())
	for i := range 20 {
		require.Equal(t, fmt.Sprintf("/%d0", i), d.hear("GET").body)
		require.Equal(t, fmt.Sprintf("/%d%d", i, i*3000), d.hear("POST").body)
		require.Equal(t, fmt.Sprintf("/%d%d", i, i*10000), d.hear("POST").body)
	}
	w.is("shop", 0, 0)
}

func TestARequestMayArriveByteByByte(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })))
	d := w.dial(t)
	for range 2 {
		for _, b := range "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" {
			d.say(string(b))
		}
		require.Equal(t, "hello", d.hear("POST").body)
	}
}

// A pod that ends its idle connections costs no request, also none that must not be repeated.
func TestAConnectionThatThePodHasClosedIsNotUsed(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	closed := make(chan struct{}, 10)
	pod := w.podWith(func(s *http.Server) {
		s.Handler = http.HandlerFunc(hello)
		s.IdleTimeout = 5 * time.Millisecond
		s.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				closed <- struct{}{}
			}
		}
	})
	w.ready("shop", "", at(pod))
	d := w.dial(t)
	for range 5 {
		d.say("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nhi")
		require.Equal(t, 200, d.hear("POST").status)
		await(t, closed)
	}
}

// What a pod says unasked is nobody's answer.
func TestWhatAPodSaysUnaskedIsNotAnAnswer(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	passedOn, said := make(chan struct{}), make(chan struct{})
	w.ready("shop", "", bytePod(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
			<-passedOn
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
			said <- struct{}{}
		}
	}))
	d := w.dial(t)
	for range 5 {
		d.say(get)
		require.Equal(t, "good", d.hear("GET").body)
		give(t, passedOn, struct{}{})
		await(t, said)
		<-time.After(2 * surelySilent)
	}
}

func TestAnUploadIsAnsweredBeforeItsEnd(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 5))
		http.Error(w, "enough", http.StatusRequestEntityTooLarge)
	})))
	d := w.dial(t)
	d.say("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000000\r\n\r\nhello")
	a := d.hear("POST")
	require.Equal(t, http.StatusRequestEntityTooLarge, a.status)
	require.Equal(t, "close", a.header.Get("Connection"))
	d.ends()
	w.is("shop", 0, 0)
}

func TestBothDirectionsMayFlowAtOnce(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(rw)
		_ = c.EnableFullDuplex()
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(rw, "echo ", line) //nolint:errcheck // the test sees
			_ = c.Flush()
		}
	})))
	in, out := io.Pipe()
	answered := make(chan *http.Response, 1)
	go func() {
		res, err := patient.Do(w.request("POST", "shop", "/", in))
		if err == nil {
			answered <- res
		}
	}()
	_, err := io.WriteString(out, "0\n")
	require.NoError(t, err)
	res := await(t, answered)
	defer res.Body.Close() //nolint:errcheck // read to its end
	lines := bufio.NewReader(res.Body)
	for i := range 10 {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("echo %d\n", i), line)
		_, err = fmt.Fprintf(out, "%d\n", i+1)
		require.NoError(t, err)
	}
	require.NoError(t, out.Close())
	_, err = io.ReadAll(lines)
	require.NoError(t, err)
	w.is("shop", 0, 0)
}

func TestTheServerEndsWithoutCuttingAnybodyOff(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	arrived, finish := make(chan struct{}, 2), make(chan struct{})
	w.ready("shop", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-finish
		}
		hello(w, r)
	})))
	silent, idle, slow, old := w.dial(t), w.dial(t), w.dial(t), w.dial(t)
	idle.say(get)
	require.Equal(t, "hello", idle.hear("GET").body)
	slow.say("GET /slow HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	old.say("GET /slow HTTP/1.0\r\nHost: shop.test\r\n\r\n")
	await(t, arrived)
	await(t, arrived)
	ended := make(chan error, 1)
	go func() { ended <- w.server.Shutdown(context.Background()) }()
	idle.ends()
	silent.ends()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", w.address)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, patience, time.Millisecond, "nobody is let in any more")
	require.Empty(t, ended)
	close(finish)
	a := slow.hear("GET")
	require.Equal(t, "hello", a.body)
	require.Equal(t, "close", a.header.Get("Connection"))
	slow.ends()
	require.Equal(t, "hello", old.hear("GET").body)
	require.NoError(t, await(t, ended))
}

// Those who leave let clients go before they close anything.
func TestResponsesEndTheirConnectionsBeforeTheServerDoes(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", at(w.pod(hello)))
	for _, more := range []string{"", "Trailer: X-Sum\r\n"} { // in place, and by net/http
		for _, host := range []string{"shop", "nobody"} {
			w.server.handler.leaving.Store(false)
			request := "GET / HTTP/1.1\r\nHost: " + host + ".test\r\n" + more + "\r\n"
			d := w.dial(t)
			d.say(request)
			require.Empty(t, d.hear("GET").header.Get("Connection"))
			w.server.handler.Leave()
			d.say(request)
			require.Equal(t, "close", d.hear("GET").header.Get("Connection"))
			d.ends()
			d = w.dial(t)
			d.say(request)
			require.Equal(t, "close", d.hear("GET").header.Get("Connection"), "one who comes late is served all the same")
		}
	}
	require.Equal(t, "hello", doWith(h2cClient(t), w.request("GET", "shop", "/", nil)).body)
	w.is("shop", 0, 0)
}

func TestConnectionsThatDoNothingEnd(t *testing.T) {
	w := newWorldWith(t, &http.Server{ReadHeaderTimeout: sweepEvery / 2, IdleTimeout: sweepEvery / 2})
	w.app("shop")
	w.ready("shop", "", at(w.pod(hello)))
	silent, slow, idle := w.dial(t), w.dial(t), w.dial(t)
	slow.say("GET / HTTP/1.1\r\nHost:")
	idle.say(get)
	require.Equal(t, "hello", idle.hear("GET").body)
	for _, d := range []*dialogue{silent, slow, idle} {
		d.ends()
	}
}

// On connections that net/http has, each head has to come in the same time as the first one, and nothing else has.
func TestASlowHeadEndsItsConnectionAlsoWhereNetHTTPHasIt(t *testing.T) {
	const head = 300 * time.Millisecond
	w := newWorldWith(t, &http.Server{ReadHeaderTimeout: head, IdleTimeout: 2 * patience})
	w.app("shop")
	w.ready("shop", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) { _, _ = io.Copy(rw, r.Body) })))
	d := w.dial(t)
	d.say(byNetHTTP)
	require.Equal(t, 200, d.hear("GET").status)
	<-time.After(2 * head) // between two requests
	d.say("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\n")
	<-time.After(2 * head) // in a body
	d.say("hello")
	require.Equal(t, "hello", d.hear("POST").body)
	d.say("GET / HTTP/1.1\r\nHost:")
	d.ends()
}

// A timeout of one request does not hit the next one of its connection.
func TestATimeoutIsOfItsRequestAlone(t *testing.T) {
	const header = 600 * time.Millisecond
	w := newWorld(t)
	w.app("shop", func(a *v1alpha1.HTTPApp) {
		a.Spec.Timeouts.Request = &metav1.Duration{Duration: 900 * time.Millisecond}
		a.Spec.Timeouts.ResponseHeader = &metav1.Duration{Duration: header}
	})
	w.ready("shop", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			<-r.Context().Done()
		}
		hello(w, r)
	})))
	d := w.dial(t)
	for began := time.Now(); time.Since(began) < time.Second; {
		asked := time.Now()
		d.say(get)
		if status := d.hear("GET").status; time.Since(asked) < header { // else it was late itself
			require.Equal(t, 200, status)
		}
	}
	d.say("GET /stuck HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	require.Equal(t, http.StatusGatewayTimeout, d.hear("GET").status)
	d.say(get)
	require.Equal(t, 200, d.hear("GET").status, "the connection goes on")
	w.is("shop", 0, 0)
}

func TestAClientThatLeavesDuringAnUploadIsForgottenAtOnce(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	arrived, left := make(chan struct{}), make(chan error, 1)
	w.ready("shop", "", at(w.pod(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		_, err := io.Copy(io.Discard, r.Body)
		left <- err
	})))
	d := w.dial(t)
	d.say("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 30000))
	await(t, arrived)
	w.is("shop", 0, 1)
	require.NoError(t, d.Close())
	w.is("shop", 0, 0)
	require.Error(t, await(t, left))
}

func TestAPanicEndsItsConnectionAlone(t *testing.T) {
	clk := &panickingClock{}
	w := newWorld(t, func(c *Config) { c.Clock = clk })
	w.app("shop")
	w.ready("shop", "", at(w.pod(hello)))
	bad, good := w.dial(t), w.dial(t)
	good.say(get)
	require.Equal(t, 200, good.hear("GET").status)
	clk.left.Store(2) // when the response arrives
	bad.say(get)
	bad.ends()
	w.is("shop", 0, 0)
	good.say(get)
	require.Equal(t, 200, good.hear("GET").status)
	w.is("shop", 0, 0)
}

// One that had waited has its pod's room only when it goes on: a panic before that must not keep it for ever.
func TestAPanicAfterAWaitGivesThePodsRoomBack(t *testing.T) {
	onBothPaths(t, func(t *testing.T, client *http.Client) {
		clk := &panickingClock{}
		w := newWorld(t, func(c *Config) { c.Clock = clk })
		w.app("shop", limited(1))
		r := w.request("GET", "shop", "/", nil)
		broken := make(chan answer, 1)
		go func() { broken <- doWith(client, r) }()
		w.eventually("it waits", func() bool { return w.backend("shop").Line.Len() == 1 })
		clk.left.Store(1) // when its wait is over
		w.ready("shop", "", at(w.pod(hello)))
		requireBroken(t, await(t, broken))
		w.is("shop", 0, 0)
		require.Equal(t, "hello", do(w.request("GET", "shop", "/", nil)).body)
	})
}

// panickingClock panics once, when it has been asked so often.
type panickingClock struct {
	clock.RealClock
	left atomic.Int64
}

func (c *panickingClock) Now() time.Time {
	if c.left.Add(-1) == 0 {
		panic(errTest)
	}
	return c.RealClock.Now()
}

// What is unusual goes to net/http with its connection, and what comes behind it on the connection too.
func TestAConnectionIsHandedOverWithAllThatWasRead(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, r.URL.Path, " ", string(body)) //nolint:errcheck // the test sees
	})))
	d := w.dial(t)
	d.say("GET /1 HTTP/1.1\r\nHost: shop.test\r\n\r\n" +
		"POST /2 HTTP/1.1\r\nHost: shop.test\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n" +
		"GET /3 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	for _, want := range []string{"/1 ", "/2 hello", "/3 "} {
		require.Equal(t, want, d.hear("GET").body)
	}
	w.is("shop", 0, 0)
	require.Equal(t, int64(3), w.counts("shop").Read().Requests)
}

func TestNobodyTunnelsThroughToAPod(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	seen := make(chan *http.Request, 10)
	w.ready("shop", "", at(w.pod(func(_ http.ResponseWriter, r *http.Request) { seen <- r })))
	for _, more := range []string{"", "Expect: 100-continue\r\n"} { // in place, and by net/http
		d := w.dial(t)
		d.say("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n" + more + "\r\n")
		require.Equal(t, 200, d.hear("GET").status)
		got := await(t, seen)
		require.Empty(t, got.Header.Get("Upgrade")+got.Header.Get("Http2-Settings"))
	}
	r, err := http.NewRequest(http.MethodConnect, "http://"+w.address, nil)
	require.NoError(t, err)
	r.Host = "shop.test:80"
	for _, client := range []*http.Client{http.DefaultClient, h2cClient(t)} {
		require.Equal(t, http.StatusMethodNotAllowed, doWith(client, r).status)
	}
	require.Empty(t, seen)
}

// A pod that closes a connection has not read what comes afterwards, and only that is surely so.
func TestWhatAPodHasNotReceivedIsKnown(t *testing.T) {
	request := []byte("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n")
	for what, c := range map[string]struct {
		before func(pod *net.TCPConn)
		after  func(pod *net.TCPConn)
		want   bool
	}{
		"closed before": {before: func(pod *net.TCPConn) { _ = pod.Close() }, want: true},
		"read, and closed then": {after: func(pod *net.TCPConn) {
			_, _ = io.ReadFull(pod, make([]byte, len(request)))
			_ = pod.Close()
		}},
		"received, and closed then": {after: func(pod *net.TCPConn) { _ = pod.Close() }},
		"read in part": {after: func(pod *net.TCPConn) {
			_, _ = io.ReadFull(pod, make([]byte, 10))
			_ = pod.Close()
		}},
		"reset before": {before: func(pod *net.TCPConn) {
			_ = pod.SetLinger(0)
			_ = pod.Close()
		}},
	} {
		t.Run(what, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer listener.Close() //nolint:errcheck // it is over
			conn, err := net.Dial("tcp", listener.Addr().String())
			require.NoError(t, err)
			accepted, err := listener.Accept()
			require.NoError(t, err)
			pod := accepted.(*net.TCPConn)
			defer pod.Close() //nolint:errcheck // it is over
			l, s := &link{open: new(atomic.Int64), forget: func() {}}, &shared{}
			require.NoError(t, l.socket.open(conn.(*net.TCPConn)))
			defer l.close()
			s.socket = l.socket
			s.before = acknowledged(s.raw)
			if c.before != nil {
				c.before(pod)
			}
			err = l.write(request)
			if c.after != nil {
				c.after(pod)
			}
			if err == nil {
				err = l.fill(&l.in)
			}
			require.Error(t, err)
			require.Equal(t, c.want, l.unheard(err), "%v", err)
			n, certain := s.received(err)
			require.Equal(t, c.want, certain && n == 0, "%v: %d received", err, n)
		})
	}
}

// However long a header is, its client is told that it is too long, and the connection is not used further.
func TestHeadersThatAreTooLongAreRefused(t *testing.T) {
	w := newWorld(t)
	w.app("a")
	pod := &witness{}
	w.ready("a", "", at(w.pod(pod.ServeHTTP)))
	long := strings.Repeat("x", 1<<10)
	for _, first := range []string{"", get[:strings.Index(get, "shop")] + "a.test\r\n\r\n"} {
		d := w.dial(t)
		if first != "" {
			d.say(first)
			require.Equal(t, http.StatusOK, d.hear(http.MethodGet).status)
			pod.take()
		}
		go func() {
			_, _ = io.WriteString(d.Conn, "GET / HTTP/1.1\r\nHost: a.test\r\n") // what is not read of it any more
			for range 1100 {
				_, _ = io.WriteString(d.Conn, "X-Long: "+long+"\r\n")
			}
			_, _ = io.WriteString(d.Conn, "\r\n")
		}()
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, d.hear(http.MethodGet).status)
	}
	var fields []string
	for n := range 1100 {
		fields = append(fields, fmt.Sprint("x-long-", n), long)
	}
	got := ask2(t, w.address, sent2{fields: to("GET", "/", fields...)}.frames2())
	require.Equal(t, "431", got.status)
	require.Empty(t, pod.take())
}
