package proxy

import (
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// vanish has the other end of a connection hear and say nothing any more, and nobody told: all that comes is thrown away.
func vanish(t testing.TB, conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	require.NoError(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
	}))
	require.NoError(t, err)
}

// A pod that is gone without a word keeps no request until TCP has tried often enough, and one that only does not read keeps its own.
func TestAPodThatVanishedIsFoundOutByWhatItDoesNotAcknowledge(t *testing.T) {
	for how, request := range map[string]string{"in place": inPlace, "by net/http": byNetHTTP} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			w.app("shop")
			conns := make(chan net.Conn, 10)
			w.ready("shop", "", at(w.podWith(func(s *http.Server) {
				s.Handler = http.HandlerFunc(hello)
				s.ConnState = func(c net.Conn, state http.ConnState) {
					if state == http.StateNew {
						conns <- c
					}
				}
			})))
			d := w.dial(t)
			d.say(request)
			require.Equal(t, "hello", d.hear("GET").body)
			vanish(t, await(t, conns).(*net.TCPConn))
			d.say(request)
			links := w.server.links
			found := func() (n int) {
				links.opened.all.Range(func(raw, _ any) bool {
					if is, _ := unanswered(raw.(syscall.RawConn)); is {
						n++
					}
					return true
				})
				return n
			}
			w.eventually("it is sent again", func() bool { return found() > 0 })
			now := time.Now()
			links.opened.cutVanished(now, time.Minute)
			links.opened.cutVanished(now.Add(59*time.Second), time.Minute)
			require.Equal(t, 1, found())
			links.opened.cutVanished(now.Add(time.Minute), time.Minute)
			require.Equal(t, "hello", d.hear("GET").body, "it goes by another connection")
		})
	}
	w := newWorld(t)
	w.app("shop")
	read := make(chan struct{})
	w.ready("shop", "", at(w.pod(func(rw http.ResponseWriter, r *http.Request) {
		w.awaitInPod(read)
		hello(rw, r)
	})))
	sent := background(w.request("POST", "shop", "/", strings.NewReader(strings.Repeat("x", 32<<20))))
	w.is("shop", 0, 1)
	links, now := w.server.links, time.Now()
	for i := range 20 {
		links.opened.cutVanished(now.Add(time.Duration(i)*time.Minute), time.Minute)
	}
	close(read)
	require.Equal(t, 200, await(t, sent).status)
}
