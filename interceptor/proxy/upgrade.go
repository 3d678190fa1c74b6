package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// upgradable is the response of net/http's to a request that wants another protocol.
type upgradable struct{ http.ResponseWriter }

// Hijack gives the connection to whoever speaks the other protocol, with what came behind the request's head: ReverseProxy looks at
// the connection alone.
func (u upgradable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err == nil && rw.Reader.Buffered() > 0 {
		read, _ := rw.Peek(rw.Reader.Buffered())
		conn = &replay{Conn: conn, read: bytes.Clone(read)}
	}
	return conn, rw, err
}

// Unwrap is for everything else that http.ResponseController does.
func (u upgradable) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// countedConn counts what both sides of a connection say that was upgraded.
type countedConn struct {
	countedBody
	to      io.Writer
	written *atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// CloseWrite says that no more is sent.
func (c *countedConn) CloseWrite() error { return closeWrite(c.to) }

// closeWrite says that no more is written, to whatever can be told.
func closeWrite(to any) error {
	if w, ok := to.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}
