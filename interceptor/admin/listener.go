package admin

import (
	"container/list"
	"errors"
	"net"
	"net/http"
	"sync"
)

// mostConnections is far more than those have who run a part, and watch it.
const mostConnections = 256

// Listener ends the oldest connection when there are more than a part needs for its administration: nobody keeps out by many of them who
// comes to see whether it is alive.
func Listener(l net.Listener) net.Listener { return &bounded{Listener: l} }

// Closed is the error of a server that has ended, and nil if it was closed: that is how a part ends.
func Closed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

type bounded struct {
	net.Listener
	mu sync.Mutex
	// all is in the order in which they came.
	all list.List
}

func (b *bounded) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &one{Conn: conn, of: b}
	b.mu.Lock()
	c.place = b.all.PushBack(c)
	var oldest *one
	if b.all.Len() > mostConnections {
		oldest = b.all.Front().Value.(*one)
	}
	b.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close()
	}
	return c, nil
}

type one struct {
	net.Conn
	of    *bounded
	place *list.Element
}

func (c *one) Close() error {
	c.of.mu.Lock()
	if c.place != nil {
		c.of.all.Remove(c.place)
		c.place = nil
	}
	c.of.mu.Unlock()
	return c.Conn.Close()
}
