//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// kinds are ways of asking an app, each of which does one exchange and says what was wrong with it.
type kinds map[string]func(context.Context) error

// lasting is how the names begin of kinds that take long.
const lasting = "5 s of "

// load is exchanges of all kinds, of each kind one after the other, in a steady rate.
type load struct {
	mu       sync.Mutex
	done     map[string]int
	problems []string
	stop     func()
}

// every is the pause between two exchanges of a kind.
const every = 50 * time.Millisecond

func (u user) traffic(all kinds) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{done: map[string]int{}}
	var wg sync.WaitGroup
	l.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	u.Cleanup(l.stop)
	for what, once := range all {
		wg.Go(func() {
			for ctx.Err() == nil {
				// One that has begun is not given up.
				exchange, end := context.WithTimeout(context.Background(), soon)
				err := once(exchange)
				end()
				l.mu.Lock()
				if err != nil {
					l.problems = append(l.problems, fmt.Sprintf("%s %s: %v", time.Now().Format("15:04:05.000"), what, err))
				}
				l.done[what]++
				l.mu.Unlock()
				select {
				case <-time.After(every):
				case <-ctx.Done():
				}
			}
		})
	}
	return l
}

// check ends the load and fails the test if one exchange failed.
func (l *load) check(u user, all kinds) {
	u.Helper()
	l.stop()
	u.Logf("exchanges: %v", l.done)
	for what := range all {
		if l.done[what] < 10 && !strings.HasPrefix(what, lasting) || l.done[what] == 0 {
			u.Errorf("%s: only %d exchanges", what, l.done[what])
		}
	}
	for i, p := range l.problems {
		if i == 10 {
			u.Errorf("… and %d more", len(l.problems)-i)
			break
		}
		u.Error(p)
	}
}

func (u user) dialInterceptor(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", cmp.Or(u.entrance, environment.interceptor))
}

// scheme is how the interceptors are asked.
func (u user) scheme(of string) string {
	if u.tls != nil {
		of += "s"
	}
	return of + "://"
}

// protocol is a client of the interceptors that speaks it and no other.
func (u user) protocol(set func(*http.Transport)) *http.Client {
	t := &http.Transport{DialContext: u.dialInterceptor, TLSClientConfig: u.tls.Clone(), Protocols: new(http.Protocols), ExpectContinueTimeout: soon}
	t.Protocols.SetHTTP1(true)
	set(t)
	u.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

func h2c(t *http.Transport) {
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
	t.Protocols.SetHTTP2(true)
}

// ask does a request of an app; the body, if any, has to arrive as it is.
func (u user) ask(ctx context.Context, c *http.Client, app, path string, body []byte, change ...func(*http.Request)) error {
	method, reader := http.MethodGet, io.Reader(nil)
	if body != nil {
		method, reader = http.MethodPost, bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, u.scheme("http")+u.host(app)+path, reader)
	if err != nil {
		return err
	}
	r.GetBody = nil // as a client that cannot say it twice
	for _, change := range change {
		change(r)
	}
	res, err := c.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, said)
	}
	var e echo
	if err := json.Unmarshal(said, &e); err != nil {
		return err
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(body)); e.SHA256 != want {
		return fmt.Errorf("the app got %d bytes and not %d, or others", e.Bytes, len(body))
	}
	return nil
}

// plain are the kinds of HTTP/1.1 and HTTP/2.
func (u user) plain(app string) kinds {
	staying := u.protocol(func(*http.Transport) {})
	fresh := u.protocol(func(t *http.Transport) { t.DisableKeepAlives = true })
	two := u.protocol(h2c)
	small, large := []byte("a small body"), bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	asks := func(c *http.Client, path string, body []byte, change ...func(*http.Request)) func(context.Context) error {
		return func(ctx context.Context) error { return u.ask(ctx, c, app, path, body, change...) }
	}
	all := kinds{
		"GET on connections that stay":  asks(staying, "/", nil),
		"POST on connections that stay": asks(u.protocol(func(*http.Transport) {}), "/", small),
		"slow GET":                      asks(staying, "/?delay=200ms", nil),
		"GET on a connection each":      asks(fresh, "/", nil),
		"POST on a connection each":     asks(fresh, "/", small),
		"GET by HTTP/2":                 asks(two, "/", nil),
		"POST by HTTP/2":                asks(two, "/", small),
		"a large body by HTTP/1.1":      asks(staying, "/", large),
		"a large body by HTTP/2":        asks(two, "/", large),
		"100 (Continue)":                asks(fresh, "/", small, func(r *http.Request) { r.Header.Set("Expect", "100-continue") }),
		"103 (Early Hints)": func(ctx context.Context) error {
			hints := 0
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if code == http.StatusEarlyHints && h.Get("Link") != "" {
					hints++
				}
				return nil
			}})
			if err := u.ask(ctx, staying, app, "/hints", nil); err != nil {
				return err
			}
			if hints != 1 {
				return fmt.Errorf("%d early hints", hints)
			}
			return nil
		},
		"a large response": func(ctx context.Context) error { return u.download(ctx, staying, app, 4<<20) },
		"both ways at once": func(ctx context.Context) error {
			return u.mirror(ctx, staying, app, 20)
		},
		"both ways at once by HTTP/2": func(ctx context.Context) error {
			return u.mirror(ctx, two, app, 20)
		},
		"events":                        func(ctx context.Context) error { return u.events(ctx, staying, app, 5) },
		"events of a stream that stays": func(ctx context.Context) error { return u.eventsAtOnce(ctx, fresh, app) },
		"WebSocket":                     func(ctx context.Context) error { return u.chat(ctx, app, 5) },
		"a protocol of their own":       func(ctx context.Context) error { return u.talk(ctx, app, 5, 20*time.Millisecond) },
	}
	for kind, once := range all {
		if strings.HasSuffix(kind, "by HTTP/2") {
			all[kind] = func(ctx context.Context) error {
				err := once(ctx)
				if err != nil && strings.Contains(err.Error(), "graceful shutdown GOAWAY") {
					// The server has not begun with it, and says so (RFC 9113 section 6.8): gRPC sends such a request anew by
					// itself, and so does Go's client when it has the body once more.
					return once(ctx)
				}
				return err
			}
		}
	}
	return all
}

func (u user) stream(ctx context.Context, c *http.Client, app, path string, body io.Reader) (*http.Response, error) {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, u.scheme("http")+u.host(app)+path, body)
	if err != nil {
		return nil, err
	}
	res, err := c.Do(r)
	if err == nil && res.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		return nil, fmt.Errorf("%s: %s", res.Status, said)
	}
	return res, err
}

func (u user) download(ctx context.Context, c *http.Client, app string, size int64) error {
	res, err := u.stream(ctx, c, app, fmt.Sprint("/download?size=", size), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err != nil || n != size {
		return fmt.Errorf("%d of %d bytes: %w", n, size, err)
	}
	return nil
}

// mirror sends a line only when the one before has come back.
func (u user) mirror(ctx context.Context, c *http.Client, app string, lines int) error {
	return u.mirrorWhile(ctx, c, app, func(i int) bool { return i < lines })
}

// mirrorWhile goes on as long as it is told to, before each line.
func (u user) mirrorWhile(ctx context.Context, c *http.Client, app string, more func(i int) bool) error {
	body, out := io.Pipe()
	defer out.Close()
	res, err := u.stream(ctx, c, app, "/mirror", body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	for i := 0; more(i); i++ {
		line := fmt.Sprintf("line %d of %s\n", i, strings.Repeat("x", 4<<10))
		if _, err := io.WriteString(out, line); err != nil {
			return err
		}
		if back, err := in.ReadString('\n'); err != nil || back != line {
			return fmt.Errorf("line %d: %w", i, err)
		}
	}
	_ = out.Close()
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		return fmt.Errorf("after the last line %q: %w", rest, err)
	}
	return nil
}

// events reads events, one each 50 ms, to the end.
func (u user) events(ctx context.Context, c *http.Client, app string, count int) error {
	return u.listen(ctx, c, app, fmt.Sprintf("/events?count=%d&every=50ms", count), count, false)
}

// eventsAtOnce reads events of a stream that does not end: somebody who waited for more than one before passing them on would do so for good.
func (u user) eventsAtOnce(ctx context.Context, c *http.Client, app string) error {
	return u.listen(ctx, c, app, "/events?count=2&every=10ms&stay=true", 2, true)
}

func (u user) listen(ctx context.Context, c *http.Client, app, path string, count int, leave bool) error {
	res, err := u.stream(ctx, c, app, path, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	seen := 0
	for (!leave || seen < count) && lines.Scan() {
		if strings.HasPrefix(lines.Text(), "id: ") {
			seen++
		}
	}
	if err := lines.Err(); err != nil || seen != count {
		return fmt.Errorf("%d of %d events: %w", seen, count, err)
	}
	return nil
}

// dialChat also returns which pod it reached.
func (u user) dialChat(ctx context.Context, app string) (c *websocket.Conn, pod string, err error) {
	c, res, err := (&websocket.Dialer{NetDialContext: u.dialInterceptor, TLSClientConfig: u.tls.Clone()}).DialContext(ctx, u.scheme("ws")+u.host(app)+"/ws", nil)
	if err != nil && res != nil {
		said, _ := io.ReadAll(res.Body)
		err = fmt.Errorf("%w: %s: %s", err, res.Status, said)
	}
	if err == nil {
		pod = res.Header.Get("X-Pod")
	}
	return c, pod, err
}

// chat says something and hears it again.
func (u user) chat(ctx context.Context, app string, messages int) error {
	c, _, err := u.dialChat(ctx, app)
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range messages {
		if err := say(c, fmt.Sprint("message ", i)); err != nil {
			return err
		}
		<-time.After(20 * time.Millisecond) // as people do
	}
	return c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
}

// talk changes to a protocol that nobody else knows, and says lines of which each comes back before the next.
func (u user) talk(ctx context.Context, app string, lines int, pause time.Duration) error {
	conn, err := u.dialInterceptor(ctx, "", "")
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if u.tls != nil {
		config := u.tls.Clone()
		config.ServerName = u.host(app)
		conn = tls.Client(conn, config)
	}
	if _, err := fmt.Fprintf(conn, "GET /talk HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", u.host(app)); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != "foo" {
		return fmt.Errorf("%s to %q", res.Status, res.Header.Get("Upgrade"))
	}
	for i := range lines {
		line := fmt.Sprintf("line %d\n", i)
		if _, err := io.WriteString(conn, line); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		if back, err := in.ReadString('\n'); err != nil || back != line {
			return fmt.Errorf("%q came back as %q: %w", line, back, err)
		}
		<-time.After(pause)
	}
	return nil
}

func say(c *websocket.Conn, message string) error {
	if err := c.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(soon))
	_, back, err := c.ReadMessage()
	if err == nil && string(back) != message {
		err = fmt.Errorf("%q came back as %q", message, back)
	}
	return err
}
