package proxy

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// departures tells of connections whose other end has left, also while nobody reads from them and whatever they have sent
// before: that is known only to the kernel, and it says so for nothing more than one call a connection.
type departures struct {
	epoll *os.File
	raw   syscall.RawConn

	mu       sync.Mutex
	watched  map[int32]watch
	sequence int32
}

type watch struct {
	// sequence tells connections apart that had the same descriptor one after the other.
	sequence int32
	left     func()
}

func newDepartures() (*departures, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watching for clients that leave: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("watching for clients that leave: %w", err)
	}
	d := &departures{epoll: os.NewFile(uintptr(fd), "epoll"), watched: map[int32]watch{}}
	if d.raw, err = d.epoll.SyscallConn(); err != nil {
		return nil, fmt.Errorf("watching for clients that leave: %w", err)
	}
	return d, nil
}

// add has left called, once, when the other end of a socket has left. forget must be called before the socket is closed.
func (d *departures) add(s *socket, left func()) (forget func(), err error) {
	controlled := s.raw.Control(func(fd uintptr) {
		d.mu.Lock()
		d.sequence++
		w := watch{d.sequence, left}
		d.watched[int32(fd)] = w
		d.mu.Unlock()
		forget = func() {
			d.mu.Lock()
			if d.watched[int32(fd)].sequence == w.sequence {
				delete(d.watched, int32(fd))
			}
			d.mu.Unlock()
		}
		event := unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd), Pad: w.sequence}
		if controlled := d.raw.Control(func(epoll uintptr) {
			err = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, int(fd), &event)
		}); controlled != nil {
			err = controlled
		}
	})
	if err == nil {
		err = controlled
	}
	return forget, err
}

// stop ends the watch of a socket that goes on living elsewhere.
func (d *departures) stop(s *socket) {
	_ = s.raw.Control(func(fd uintptr) {
		_ = d.raw.Control(func(epoll uintptr) {
			_ = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_DEL, int(fd), nil)
		})
	})
}

// run tells until it is closed.
func (d *departures) run() {
	events := make([]unix.EpollEvent, 128)
	for {
		n := 0
		err := d.raw.Read(func(fd uintptr) bool {
			var err error
			n, err = unix.EpollWait(int(fd), events, 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
		if err != nil || n < 0 {
			return
		}
		for _, e := range events[:n] {
			d.mu.Lock()
			w := d.watched[e.Fd]
			d.mu.Unlock()
			if w.left != nil && w.sequence == e.Pad {
				w.left()
			}
		}
	}
}

func (d *departures) close() { _ = d.epoll.Close() }
