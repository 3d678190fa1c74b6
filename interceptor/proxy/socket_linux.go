package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a connection that has no memory while nothing arrives, and costs none to use. One goroutine may read and one may
// write.
type socket struct {
	conn *net.TCPConn
	raw  syscall.RawConn
	// tls is what is spoken on the connection, if anything is besides HTTP.
	tls *tls.Conn
	// written is how many bytes were.
	written int64

	// What follows are the arguments and results of the functions below, which are made once.
	to       *input
	readErr  error
	from     []byte
	writeErr error
	quiet    bool

	readable, answered, writable, tried func(fd uintptr) bool
	peeked                              func(fd uintptr)
}

func (s *socket) open(conn *net.TCPConn) (err error) {
	s.conn = conn
	s.raw, err = conn.SyscallConn()
	s.readable, s.answered, s.writable, s.tried, s.peeked = s.onReadable, s.onAnswered, s.onWritable, s.onTry, s.onPeek
	return err
}

// fill waits until there is something to read, and adds it to what is there. Its error is io.EOF at the end.
func (s *socket) fill(to *input) error {
	if s.tls != nil {
		return s.fillSecure(to)
	}
	s.to, s.readErr = to, nil
	if err := s.raw.Read(s.readable); err != nil {
		return err
	}
	return s.readErr
}

func (s *socket) fillSecure(to *input) error {
	n, err := s.tls.Read(to.room())
	to.b = to.b[:len(to.b)+n]
	switch {
	case n > 0:
		return nil // an error comes again
	case len(to.b) == 0:
		to.free()
	}
	return err
}

// ask writes all of p and waits for what comes back. To a socket on which nothing can have arrived before it is one call less
// than write and fill: there is no use in trying to read at once.
func (s *socket) ask(p []byte, to *input) error {
	s.from, s.writeErr = p, nil
	s.to, s.readErr = to, nil
	err := s.raw.Read(s.answered)
	s.from = nil
	switch {
	case s.writeErr != nil:
		return s.writeErr
	case err != nil:
		return err
	}
	return s.readErr
}

// onAnswered is called before the wait, when everything that arrives from now on ends it, and after.
func (s *socket) onAnswered(fd uintptr) bool {
	if len(s.from) == 0 {
		return s.onReadable(fd)
	}
	if !s.onWritable(fd) {
		s.writeErr = errors.Join(s.raw.Write(s.writable), s.writeErr)
	}
	return s.writeErr != nil
}

func (s *socket) onReadable(fd uintptr) bool {
	room := s.to.room()
	for {
		n, err := call(unix.SYS_READ, fd, room)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			if len(s.to.b) == 0 {
				s.to.free()
			}
			return false
		case err != 0:
			s.readErr = err
		case n == 0:
			s.readErr = io.EOF
		default:
			s.to.b = s.to.b[:len(s.to.b)+n]
		}
		return true
	}
}

// write writes all of it.
func (s *socket) write(p []byte) error {
	if s.tls != nil {
		_, err := s.tls.Write(p)
		return err
	}
	s.from, s.writeErr = p, nil
	err := s.raw.Write(s.writable)
	s.from = nil
	return errors.Join(err, s.writeErr)
}

// try writes what the connection takes at once. It must not have TLS.
func (s *socket) try(p []byte) (n int, err error) {
	s.from, s.writeErr = p, nil
	err = s.raw.Write(s.tried)
	n, s.from = len(p)-len(s.from), nil
	return n, errors.Join(err, s.writeErr)
}

func (s *socket) onTry(fd uintptr) bool {
	s.onWritable(fd)
	return true
}

func (s *socket) onWritable(fd uintptr) bool {
	for len(s.from) > 0 {
		n, err := call(unix.SYS_WRITE, fd, s.from)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false
		case err != 0:
			s.writeErr = err
			return true
		default:
			s.from = s.from[n:]
			s.written += int64(n)
		}
	}
	return true
}

// closeWrite says that no more is sent.
func (s *socket) closeWrite() error {
	if s.tls != nil {
		if err := s.tls.CloseWrite(); err != nil {
			return err
		}
	}
	return s.conn.CloseWrite()
}

// close ends the connection.
func (s *socket) close() error { return s.outer().Close() }

// outer is the connection as everybody else knows it.
func (s *socket) outer() net.Conn {
	if s.tls != nil {
		return s.tls
	}
	return s.conn
}

// silent reports whether the connection is open and nothing has arrived on it.
func (s *socket) silent() bool {
	s.quiet = false
	return s.raw.Control(s.peeked) == nil && s.quiet
}

// received reports whether the other end's system has received any of the bytes that were written behind the first ones.
func (s *socket) received(first int64) bool {
	return s.written-unacknowledged(s.raw) > first
}

func (s *socket) onPeek(fd uintptr) {
	var b [1]byte
	_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	s.quiet = err == unix.EAGAIN
}

// call reads from or writes to a socket. As sockets here never block, the scheduler is not told of the call: it would look for
// others to run meanwhile.
func call(trap, fd uintptr, p []byte) (n int, err syscall.Errno) {
	r, _, err := unix.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(r), err
}
