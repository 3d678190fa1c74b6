package proxy

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// vanishedAfter is how long a pod's system may acknowledge nothing of what it is sent again and again, until the pod is taken to be gone
// without a word, with its node or the way there. TCP waits for a quarter of an hour, and tries ever more seldom. TCP_USER_TIMEOUT would
// end what an app lets wait, too, that does not read just now.
const vanishedAfter = 10 * time.Second

// opened are connections to pods that may have vanished.
type opened struct {
	all sync.Map // of syscall.RawConn to *quiet
	// looking is held by whoever looks at them. With thousands that takes milliseconds, for which nobody waits who adds or forgets one.
	looking sync.Mutex
}

// quiet is that of the other end of a connection, since it was noted, if it was; heard is how much it had acknowledged then.
type quiet struct {
	since time.Time
	heard uint64
	cut   func()
}

// add adds a connection, until it is to be forgotten. It is cut when the other end has vanished.
func (o *opened) add(raw syscall.RawConn, cut func()) (forget func()) {
	o.all.Store(raw, &quiet{cut: cut})
	return func() { o.all.Delete(raw) }
}

// cutVanished is called now and then.
func (o *opened) cutVanished(now time.Time, after time.Duration) {
	o.looking.Lock()
	defer o.looking.Unlock()
	o.all.Range(func(raw, of any) bool {
		s := of.(*quiet)
		silent, heard := unanswered(raw.(syscall.RawConn)) // a connection that was closed meanwhile is not
		switch {
		case !silent:
			s.since = time.Time{}
		case s.since.IsZero() || s.heard != heard:
			s.since, s.heard = now, heard
		case now.Sub(s.since) >= after:
			s.cut()
		}
		return true
	})
}

// unanswered reports whether something was sent again on a connection and is still not acknowledged, and how much was before. Whoever has
// no space for more acknowledges that.
func unanswered(raw syscall.RawConn) (is bool, before uint64) {
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			is, before = info.Unacked > 0 && info.Backoff > 0, info.Bytes_acked
		}
	})
	return is, before
}
