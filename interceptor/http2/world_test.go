package http2

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// patience is far above what anything here takes.
const patience = 30 * time.Second

// peer is the other end of a connection, which says just what a test has it say.
type peer struct {
	*http2.Framer
	t    testing.TB
	conn net.Conn
	head bytes.Buffer
	enc  *hpack.Encoder
	// served is why the end that is tested has ended.
	served <-chan error
}

// serve makes a server whose streams a function deals with, each in a goroutine, and says the first words to it.
func serve(t testing.TB, streams int, answer func(*Stream)) (*peer, *Conn) {
	p, c := serveUngreeted(t, streams, answer)
	_, err := io.WriteString(p.conn, http2.ClientPreface)
	require.NoError(t, err)
	require.NoError(t, p.WriteSettings())
	return p, c
}

func serveUngreeted(t testing.TB, streams int, answer func(*Stream)) (*peer, *Conn) {
	theirs, ours := pair(t)
	c := New(Config{
		Streams: streams,
		Opened: func(s *Stream) {
			go func() {
				defer s.Done(http2.ErrCodeInternal)
				answer(s)
			}()
		},
		Write:  func(p []byte) error { _, err := ours.Write(p); return err },
		Ending: func() { _ = ours.SetWriteDeadline(time.Now().Add(time.Second)) },
		Left:   func() { _ = ours.SetReadDeadline(time.Unix(1, 0)) },
	})
	served := make(chan error, 1)
	go func() {
		err := c.Serve(ours)
		_ = ours.(*net.TCPConn).CloseWrite()
		served <- err
	}()
	t.Cleanup(func() { _ = ours.Close() })
	return newPeer(t, theirs, served), c
}

func newPeer(t testing.TB, conn net.Conn, served <-chan error) *peer {
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	p := &peer{Framer: http2.NewFramer(conn, conn), t: t, conn: conn, served: served}
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.head)
	return p
}

// pair is a connection.
func pair(t testing.TB) (a, b net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // it has done its work
	a, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	b, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, b
}

func (p *peer) block(fields ...string) []byte {
	p.head.Reset()
	for i := 0; i < len(fields); i += 2 {
		require.NoError(p.t, p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return p.head.Bytes()
}

var get = []string{":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", "/"}

// ask sends the head of a request.
func (p *peer) ask(id uint32, end bool, more ...string) {
	p.t.Helper()
	require.NoError(p.t, p.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: p.block(append(get[:len(get):len(get)], more...)...), EndStream: end, EndHeaders: true,
	}))
}

// await reads until there is a frame of a kind.
func await[F http2.Frame](p *peer) F {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		require.NoError(p.t, err)
		if f, ok := f.(F); ok {
			return f
		}
	}
}

// isTold reads until the connection ends, and says why it did.
func (p *peer) isTold() http2.ErrCode {
	p.t.Helper()
	code := http2.ErrCode(1000)
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return code
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			code = g.ErrCode
		}
	}
}

// hello answers with a few bytes.
func hello(s *Stream) {
	b := NewBlock()
	defer b.Free()
	b.Status(200)
	_ = s.Send(b.Bytes(), []byte("hello"), true)
}

// echo gives the body back.
func echo(s *Stream) {
	b := NewBlock()
	defer b.Free()
	b.Status(200)
	if s.Send(b.Bytes(), nil, false) != nil {
		return
	}
	var p []byte
	for {
		var err error
		if p, err = s.Take(p); err != nil {
			if err == io.EOF {
				_ = s.Send(nil, nil, true)
			}
			return
		}
		if s.Send(nil, p, false) != nil {
			return
		}
	}
}
