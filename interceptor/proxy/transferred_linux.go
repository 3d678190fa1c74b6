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

func transferredOn(raw syscall.RawConn) (n uint64) {
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Bytes_received + info.Bytes_acked
		}
	})
	return n
}
