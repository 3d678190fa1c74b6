package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// protocolH2C is the appProtocol of pods that speak HTTP/2 in plain text.
const protocolH2C = "kubernetes.io/h2c"

func TestAPodThatTakesFewStreamsGetsMoreConnections(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	const n = 20
	var all sync.WaitGroup
	all.Add(n)
	w.ready("shop", protocolH2C, at(w.podWith(func(s *http.Server) {
		s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 2}
		s.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			all.Done()
			all.Wait() // until all are there
			hello(rw, r)
		})
	})))
	client := h2cClient(t)
	var answers []<-chan answer
	for range n {
		c := make(chan answer, 1)
		go func() { c <- doWith(client, w.request("GET", "shop", "/", nil)) }()
		answers = append(answers, c)
	}
	for _, c := range answers {
		a := await(t, c)
		require.NoError(t, a.err)
		require.Equal(t, "hello", a.body)
	}
	w.is("shop", 0, 0)
}

// A pod that ends tells so, and what it has not begun goes to another one.
func TestPodsThatSayGoodbyeLoseNoRequest(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	serve := func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, _ = rw.Write(body)
		}
	}
	first, second := w.pod(serve), w.pod(serve)
	w.ready("shop", protocolH2C, at(first))
	client := h2cClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	var failed sync.Map
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for ctx.Err() == nil {
				if a := doWith(client, w.request("POST", "shop", "/", strings.NewReader("hello"))); a.err != nil || a.body != "hello" {
					failed.Store(a, true)
				}
			}
		})
	}
	w.eventually("requests are answered", func() bool { return w.counts("shop").Read().Requests > 50 })
	w.ready("shop", protocolH2C, at(first), at(second))
	w.eventually("there are two", func() bool { return w.backend("shop").Pods.Ready() == 2 })
	require.NoError(t, first.Config.Shutdown(t.Context()))
	before := w.counts("shop").Read().Requests
	w.eventually("requests are answered", func() bool { return w.counts("shop").Read().Requests > before+50 })
	cancel()
	all.Wait()
	failed.Range(func(a, _ any) bool {
		t.Errorf("a request failed: %+v", a)
		return true
	})
	w.is("shop", 0, 0)
}

// A pod that ends refuses requests whose bodies have not come to their ends yet: they go to another one with what was sent of them. Of
// more than is kept, the client is told that it can ask again.
func TestABodyOnItsWayIsSentAgainToAnotherPod(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	got, goodbye := make(chan int, 1), make(chan bool)
	refusing := bytePod(t, func(conn net.Conn) {
		if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		f := http2.NewFramer(conn, conn)
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
		n := 0
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if data, ok := frame.(*http2.DataFrame); ok {
				n += len(data.Data())
			}
			if n == 3 || n > mostResent {
				got <- n
				<-goodbye
				_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
				break
			}
		}
		_, _ = io.Copy(io.Discard, conn)
	})
	echo := w.pod(func(rw http.ResponseWriter, r *http.Request) { _, _ = io.Copy(rw, r.Body) })
	client := h2cClient(t)
	for _, sized := range []bool{false, true} {
		w.ready("shop", protocolH2C, refusing)
		w.eventually("there is one pod", func() bool { return w.backend("shop").Pods.Ready() == 1 })
		body, more := io.Pipe()
		r := w.request("POST", "shop", "/", body)
		if sized {
			r.ContentLength = 5
		}
		c := make(chan answer, 1)
		go func() { c <- doWith(client, r) }()
		_, _ = io.WriteString(more, "hel")
		require.Equal(t, 3, await(t, got))
		w.ready("shop", protocolH2C, refusing, at(echo))
		w.eventually("there are two", func() bool { return w.backend("shop").Pods.Ready() == 2 })
		give(t, goodbye, true)
		_, _ = io.WriteString(more, "lo")
		_ = more.Close()
		a := await(t, c)
		require.NoError(t, a.err)
		require.Equal(t, "hello", a.body)
	}

	w.ready("shop", protocolH2C, refusing)
	w.eventually("there is one pod", func() bool { return w.backend("shop").Pods.Ready() == 1 })
	body, more := io.Pipe()
	defer more.Close() //nolint:errcheck // nobody reads
	c := make(chan answer, 1)
	go func() { c <- doWith(client, w.request("POST", "shop", "/", body)) }()
	_, _ = io.WriteString(more, strings.Repeat("x", mostResent+1))
	give(t, goodbye, true)
	require.ErrorContains(t, await(t, c).err, "REFUSED_STREAM")
	w.is("shop", 0, 0)
}

// A pod may greet and take nothing, for ever: each request makes one connection more to find that out, and not one after the other.
func TestAPodThatTakesNoStreamsIsLeftOut(t *testing.T) {
	for what, greet := range map[string]func(*http2.Framer){
		"goodbye": func(f *http2.Framer) {
			_ = f.WriteSettings()
			_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
		},
		"none at a time": func(f *http2.Framer) {
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.app("shop", func(a *v1alpha1.HTTPApp) { a.Spec.Queue.MaxWait = &metav1.Duration{Duration: 2 * time.Second} })
			var made atomic.Int64
			w.ready("shop", protocolH2C, bytePod(t, func(c net.Conn) {
				made.Add(1)
				greet(http2.NewFramer(c, nil))
				_, _ = io.Copy(io.Discard, c)
			}))
			w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
			client := h2cClient(t)
			var answers []<-chan answer
			for range 5 {
				c := make(chan answer, 1)
				go func() { c <- doWith(client, w.request("GET", "shop", "/", nil)) }()
				answers = append(answers, c)
			}
			for _, c := range answers {
				a := await(t, c)
				require.NoError(t, a.err)
				require.Equal(t, http.StatusServiceUnavailable, a.status, a.body)
			}
			require.Less(t, made.Load(), int64(100))
		})
	}
}

// A pod may take its time for a long body that is all there already: nobody else waits for that, its answer is passed on, and the request
// ends when its client has had enough.
func TestABodyThatAPodDoesNotTakeKeepsNothingElseWaiting(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	answers := make(chan uint32)
	pod := bytePod(t, func(conn net.Conn) {
		if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		f := http2.NewFramer(conn, conn)
		_ = f.WriteSettings() // the windows are as small as they are if nobody says otherwise
		asked := make(chan uint32, 10)
		go func() {
			defer close(asked)
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				if h, ok := frame.(*http2.HeadersFrame); ok && h.StreamEnded() {
					asked <- h.StreamID
				}
			}
		}()
		for {
			var id uint32
			var ok bool
			select {
			case id = <-answers:
			case id, ok = <-asked:
				if !ok {
					return
				}
			}
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block2([]string{":status", "204"}), EndHeaders: true, EndStream: true})
		}
	})
	conn, err := net.Dial("tcp", w.address)
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // nothing more is wanted of it
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	f := http2.NewFramer(conn, conn)
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	require.NoError(t, f.WriteSettings())
	fields := []string{":method", "POST", ":scheme", "http", ":authority", "shop.test", ":path", "/"}
	for _, id := range []uint32{1, 3} {
		require.NoError(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block2(fields), EndHeaders: true}))
		for part := range 10 {
			require.NoError(t, f.WriteData(id, part == 9, make([]byte, 10<<10)))
		}
	}
	require.NoError(t, f.WritePing(false, [8]byte{1}))
	for {
		frame, err := f.ReadFrame()
		require.NoError(t, err)
		if p, ok := frame.(*http2.PingFrame); ok && p.IsAck() {
			break // both bodies have come
		}
	}
	w.is("shop", 2, 0)
	w.ready("shop", protocolH2C, pod)
	w.is("shop", 0, 2)
	a := doWith(h2cClient(t), w.request("GET", "shop", "/", nil))
	require.NoError(t, a.err)
	require.Equal(t, http.StatusNoContent, a.status)

	answers <- 1 // which the pod has not taken the body of
	var answered uint32
	for answered == 0 {
		frame, err := f.ReadFrame()
		require.NoError(t, err)
		if h, ok := frame.(*http2.HeadersFrame); ok {
			answered = h.StreamID
		}
	}
	w.is("shop", 0, 1)
	require.NoError(t, f.WriteRSTStream(4-answered, http2.ErrCodeCancel))
	w.is("shop", 0, 0)
}
