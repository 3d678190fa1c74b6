package main

import (
	"bufio"
	"fmt"
	"net"
	"time"
)

// client is a connection that stays, for one request at a time.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

// patience is far above what any answer here takes.
const patience = 20 * time.Second

func dial(address string) (*client, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	return &client{conn, bufio.NewReaderSize(conn, 1<<10)}, nil
}

// request is one for a small answer of the app of a host.
func request(host string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", small, host)
}

func (c *client) send(request []byte) error {
	_, err := c.conn.Write(request)
	return err
}

// receive reads the answer to its end and returns its status.
func (c *client) receive() (status string, err error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	h, err := readHead(c.r)
	if err != nil {
		return "", err
	}
	return h.target, skipBody(c.r, h)
}

// ask sends a request for a small answer and returns the answer's status.
func (c *client) ask(host string) (status string, err error) {
	if err := c.send(request(host)); err != nil {
		return "", err
	}
	return c.receive()
}

// get asks and expects to be answered.
func (c *client) get(host string) error {
	status, err := c.ask(host)
	if err == nil && status != "200" {
		return fmt.Errorf("%s answers %s", host, status)
	}
	return err
}
