package admin

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is far above what anything here takes.
const patience = 30 * time.Second

func TestManyConnectionsKeepNobodyOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })}
	go server.Serve(Listener(l)) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { _ = server.Close() })
	var all []net.Conn
	for range mostConnections + 20 {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		all = append(all, conn)
	}
	res, err := (&http.Client{Timeout: patience}).Get("http://" + l.Addr().String())
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // only read
	require.Equal(t, http.StatusOK, res.StatusCode)
	// Those that came first have gone for the others, and those that came last have not.
	for _, conn := range all[:21] {
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	}
	last := all[len(all)-1]
	_, err = io.WriteString(last, "GET / HTTP/1.1\r\nHost: here\r\n\r\n")
	require.NoError(t, err)
	_, err = io.ReadFull(last, make([]byte, 15))
	require.NoError(t, err)
}
