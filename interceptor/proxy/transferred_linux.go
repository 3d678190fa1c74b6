package proxy

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// transferred is how many bytes have come on a connection and how many were taken of it by the other end, in all.
func transferred(conn net.Conn) uint64 {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			raw, err := c.SyscallConn()
			if err != nil {
				return 0
			}
			return transferredOn(raw)
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return 0
		}
	}
}

// unacknowledged is how many bytes were written to a connection of which the other end's system has not said that it has received them.
func unacknowledged(raw syscall.RawConn) (n int64) {
	_ = raw.Control(func(fd uintptr) {
		if queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			n = int64(queued)
		}
	})
	return n
}

// acknowledged is how many bytes the other end's system has said that it has received, and some more that are the same for each connection.
func acknowledged(raw syscall.RawConn) (n uint64) {
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Bytes_acked
		}
	})
	return n
}

func transferredOn(raw syscall.RawConn) (n uint64) {
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Bytes_received + info.Bytes_acked
		}
	})
	return n
}
