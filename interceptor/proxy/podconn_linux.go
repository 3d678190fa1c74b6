package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// podConn is a connection of net/http's to a pod. It counts as open until it is closed, and it is known afterwards how it ended.
type podConn struct {
	*net.TCPConn
	raw    syscall.RawConn
	open   *atomic.Int64
	forget func()
	// written is how much was, and as much more as the system counts for that the connection was made.
	written atomic.Uint64

	mu sync.Mutex
	// over says that the pod had ended the connection, and reset that it broke in another way.
	over, reset bool
	closed      bool
	// acknowledged is how much of written the pod's system had received when somebody looked last.
	acknowledged uint64
}

// newPodConn makes one of a connection that was made just now.
func newPodConn(conn *net.TCPConn, open *atomic.Int64, all *opened) (*podConn, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &podConn{TCPConn: conn, raw: raw, open: open, forget: all.add(raw, func() { _ = conn.SetDeadline(past) })}
	c.written.Store(acknowledged(raw))
	open.Add(1)
	return c, nil
}

// podConnOf is the connection below others, or nil.
func podConnOf(conn net.Conn) *podConn {
	for {
		switch c := conn.(type) {
		case *podConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// Read implements io.Reader.
func (c *podConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.failed(err)
	return n, err
}

// Write implements io.Writer.
func (c *podConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.written.Add(uint64(n))
	c.failed(err)
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (c *podConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	c.written.Add(uint64(n))
	c.failed(err)
	return n, err
}

func (c *podConn) failed(err error) {
	if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ended(err) {
		c.over = true
	} else {
		c.reset = true
	}
}

// Close implements io.Closer.
func (c *podConn) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.end()
		c.closed = true
		c.open.Add(-1)
		c.forget()
	}
	c.mu.Unlock()
	return c.TCPConn.Close()
}

// look looks how much the pod's system has received, for as long as the connection can be looked at. The lock is held.
func (c *podConn) look() {
	if !c.closed {
		c.acknowledged = acknowledged(c.raw)
	}
}

// end looks at the connection, and how it ended if nobody was told: with TLS the end is told before it comes. The lock is held.
func (c *podConn) end() {
	c.look()
	if c.closed || c.over || c.reset {
		return
	}
	_ = c.raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		c.over = err == nil && n == 0 || err == unix.EPIPE
		c.reset = err != nil && err != unix.EPIPE && err != unix.EAGAIN
	})
}

// received reports whether the pod's system has received any of what was written after so much.
func (c *podConn) received(written uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return c.acknowledged > written
}

// unheard reports whether the pod had closed the connection before anything came of what was written after so much, by the rule of links.
func (c *podConn) unheard(written uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
	return c.over && !c.reset && c.acknowledged <= written
}
