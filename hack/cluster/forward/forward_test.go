package forward

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// through starts a server whose connections are handled by handle, and returns a dialer that goes through a forwarder.
func through(t *testing.T, handle func(*net.TCPConn)) func() *net.TCPConn {
	t.Helper()
	server := listen(t)
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go handle(conn.(*net.TCPConn))
		}
	}()
	front := listen(t)
	go Serve(front, server.Addr().String()) //nolint:errcheck // ends with the test
	return func() *net.TCPConn {
		conn, err := net.Dial("tcp4", front.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second)) //nolint:errcheck // a bound for the test
		t.Cleanup(func() { conn.Close() })
		return conn.(*net.TCPConn)
	}
}

func TestTheAnswerArrivesAfterTheClientHasFinishedSending(t *testing.T) {
	dial := through(t, func(c *net.TCPConn) {
		defer c.Close()
		all, err := io.ReadAll(c) // ends only when the half-close has come through
		fmt.Fprintf(c, "%d bytes, %v", len(all), err)
	})
	c := dial()
	sent := make([]byte, 3<<20)
	rand.Read(sent) //nolint:errcheck // never fails
	if _, err := io.Copy(c, bytes.NewReader(sent)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "3145728 bytes, <nil>" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTheClientMaySendOnAfterTheServerHasFinished(t *testing.T) {
	got := make(chan string, 1)
	dial := through(t, func(c *net.TCPConn) {
		defer c.Close()
		c.CloseWrite() //nolint:errcheck // seen by the client
		all, _ := io.ReadAll(c)
		got <- string(all)
	})
	c := dial()
	if rest, err := io.ReadAll(c); err != nil || len(rest) != 0 {
		t.Fatalf("got %q, %v", rest, err)
	}
	fmt.Fprint(c, "still here")
	c.Close()
	if s := <-got; s != "still here" {
		t.Errorf("server got %q", s)
	}
}

func TestAResetIsPassedOnAsAReset(t *testing.T) {
	dial := through(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1)) //nolint:errcheck // wait for the client
		c.SetLinger(0)                  //nolint:errcheck // makes the close a reset
		c.Close()
	})
	c := dial()
	fmt.Fprint(c, "x")
	if _, err := io.ReadAll(c); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

func TestAClientOfATargetThatIsNotThereIsReset(t *testing.T) {
	closed := listen(t)
	closed.Close()
	front := listen(t)
	go Serve(front, closed.Addr().String()) //nolint:errcheck // ends with the test
	c, err := net.Dial("tcp4", front.Addr().String())
	if err == nil { // the reset may be as quick as the connection
		defer c.Close()
		_, err = io.ReadAll(c)
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

func TestManyConnectionsAtOnceAreCarried(t *testing.T) {
	dial := through(t, func(c *net.TCPConn) {
		defer c.Close()
		io.Copy(c, c) //nolint:errcheck // the client checks
	})
	var all sync.WaitGroup
	for i := range 500 {
		c := dial()
		all.Go(func() {
			want := fmt.Sprintf("hello %d", i)
			fmt.Fprint(c, want)
			c.CloseWrite() //nolint:errcheck // the echo ends then
			if got, err := io.ReadAll(c); err != nil || string(got) != want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	all.Wait()
}
