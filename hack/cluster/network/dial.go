package network

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Dial connects to an address in the namespace.
func (n Namespace) Dial(ctx context.Context, address string) (conn net.Conn, err error) {
	// a socket belongs to the namespace it was made in, wherever it is used afterwards
	err = n.Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp4", address)
		return err
	})
	return conn, err
}

// Get asks an HTTP server in the namespace for a path, and fails unless the answer is 200.
func (n Namespace) Get(address, path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := n.Dial(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close()                                //nolint:errcheck // only read
	conn.SetDeadline(time.Now().Add(2 * time.Second)) //nolint:errcheck // a failure shows in the write
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, address); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("http://%s%s: %s", address, path, response.Status)
	}
	return nil
}
