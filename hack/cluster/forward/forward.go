// Package forward carries TCP connections from one network namespace into another: it accepts on listeners that were
// opened in the one, and dials in the namespace that the process itself lives in.
package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// buffers are plain memory and not splice(2): a spliced connection holds four descriptors for its pipes, and
// a benchmark opens thousands of connections.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// Serve carries every connection that l accepts to target, until l is closed.
func Serve(l net.Listener, target string) error {
	for {
		client, err := l.Accept()
		switch {
		case err == nil:
			go carry(client.(*net.TCPConn), target)
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			time.Sleep(5 * time.Millisecond) // until connections end; the listener's backlog holds the others
		case errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, net.ErrClosed):
			return nil
		default:
			return err
		}
	}
}

// carry joins a client with the target until both directions have ended. A side that finishes sending is passed on
// as such, and the other direction goes on. A side that is reset is reset on the other side, too.
func carry(client *net.TCPConn, target string) {
	defer client.Close() //nolint:errcheck // nobody to tell
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", target)
	if err != nil {
		client.SetLinger(0) //nolint:errcheck // so that the client sees a reset and not an empty answer
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close() //nolint:errcheck // nobody to tell

	var directions sync.WaitGroup
	directions.Go(func() { pump(server, client) })
	directions.Go(func() { pump(client, server) })
	directions.Wait()
}

func pump(dst, src *net.TCPConn) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	// the wrappers hide ReadFrom and WriteTo, with which io.CopyBuffer would not use the buffer
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, *buffer)
	if err == nil {
		dst.CloseWrite() //nolint:errcheck // a failure means that dst is gone, and the other direction notices
		return
	}
	for _, c := range []*net.TCPConn{dst, src} {
		c.SetLinger(0) //nolint:errcheck // a reset is what the other side shall see
		c.Close()      //nolint:errcheck // ends the other direction as well
	}
}
