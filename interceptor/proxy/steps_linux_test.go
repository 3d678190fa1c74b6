package proxy

import (
	"net/http"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// stepped is a moment at which the wall clock has been set otherwise, while the monotonic one goes on. In a time that has both, the
// seconds of the wall are above 30 bits of nanoseconds.
func stepped(t time.Time, by time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(by/time.Second) << 30
	return t
}

func TestTheWallClockMayBeSetWhileTheOtherGoesOn(t *testing.T) {
	now := time.Now()
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		then := stepped(now, by)
		require.Zero(t, then.Sub(now))
		require.Equal(t, by, then.Round(0).Sub(now.Round(0)))
	}
}

func TestAStepOfTheWallClockEndsNoConnectionAndKeepsNone(t *testing.T) {
	const idleFor, headFor = 2 * time.Minute, 30 * time.Second
	w := newWorldWith(t, &http.Server{ReadHeaderTimeout: headFor, IdleTimeout: idleFor})
	w.app("shop")
	w.ready("shop", "", at(w.pod(hello)))
	sweep := func(now time.Time) {
		w.server.mu.Lock()
		defer w.server.mu.Unlock()
		for g := range w.server.guests {
			g.sweep(now, idleFor, headFor)
		}
	}
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		idle, slow := w.dial(t), w.dial(t)
		idle.say(get)
		require.Equal(t, "hello", idle.hear("GET").body)
		slow.say(get + "GET / HTTP/1.1\r\n")
		require.Equal(t, "hello", slow.hear("GET").body)
		sweep(stepped(time.Now(), by))
		idle.say(get)
		require.Equal(t, "hello", idle.hear("GET").body)
		slow.say("Host: shop.test\r\n\r\n")
		require.Equal(t, "hello", slow.hear("GET").body)
		w.shows(2, "kedahttp_interceptor_open_connections", "peer=client", "state=idle") // they are a moment later
		sweep(stepped(time.Now().Add(idleFor+time.Second), by))
		idle.ends()
		slow.ends()
		w.shows(0, "kedahttp_interceptor_open_connections", "peer=client")
	}
}
