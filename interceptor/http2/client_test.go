package http2

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
)

// dial makes a client's end, and its peer, which has said its first words.
func dial(t testing.TB, settings ...http2.Setting) (*peer, *Conn) {
	return dialWith(t, nil, settings...)
}

func dialWith(t testing.TB, received func(error) (int64, bool), settings ...http2.Setting) (*peer, *Conn) {
	theirs, ours := pair(t)
	c := New(Config{
		Client: true,
		Write:  func(p []byte) error { _, err := ours.Write(p); return err },
		Ending: func() { _ = ours.SetWriteDeadline(time.Now().Add(time.Second)) },
		Left:   func() { _ = ours.SetReadDeadline(time.Unix(1, 0)) },

		Received: received,
	})
	served := make(chan error, 1)
	go func() {
		err := c.Serve(ours)
		_ = ours.(*net.TCPConn).CloseWrite()
		served <- err
	}()
	p := newPeer(t, theirs, served)
	var said [len(preface)]byte
	_, err := io.ReadFull(theirs, said[:])
	require.NoError(t, err)
	require.Equal(t, preface, string(said[:]))
	require.NoError(t, p.WriteSettings(settings...))
	require.Eventually(t, c.Greeted, patience, time.Millisecond)
	require.NoError(t, p.WritePing(false, [8]byte{1})) // when it is answered, the settings are in force
	require.True(t, await[*http2.PingFrame](p).IsAck())
	return p, c
}

func open(t testing.TB, c *Conn, body string, end bool) *Stream {
	b := NewBlock()
	defer b.Free()
	for i := 0; i < len(get); i += 2 {
		b.Field(get[i], get[i+1])
	}
	s, rest, err := c.Open(b.Bytes(), []byte(body), end, false)
	require.NoError(t, err)
	require.Empty(t, rest)
	return s
}

// Streams of which nothing was received when the peer had ended the connection can be sent again, and no others.
func TestStreamsThatCameAfterTheEndAreUnprocessed(t *testing.T) {
	for _, certain := range []bool{false, true} {
		received, told := make(chan int64, 1), make(chan error, 1)
		p, c := dialWith(t, func(err error) (int64, bool) {
			told <- err
			return <-received, certain
		})
		before, after := open(t, c, "hello", true), open(t, c, "hello", true)
		received <- after.begins
		require.NoError(t, p.conn.(*net.TCPConn).CloseWrite())
		_, err := before.Response()
		require.ErrorIs(t, err, io.EOF)
		_, err = after.Response()
		if certain {
			require.ErrorIs(t, err, ErrUnprocessed)
		} else {
			require.ErrorIs(t, err, io.EOF)
		}
		require.ErrorIs(t, <-told, io.EOF)
		before.Done(http2.ErrCodeCancel)
		after.Done(http2.ErrCodeCancel)
	}
}

func (p *peer) answer(id uint32, end bool, fields ...string) {
	p.t.Helper()
	require.NoError(p.t, p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(fields...), EndStream: end, EndHeaders: true}))
}

func TestAResponseComesWithAllThatBelongsToIt(t *testing.T) {
	p, c := dial(t)
	s := open(t, c, "hello", true)
	require.Equal(t, "/", await[*http2.MetaHeadersFrame](p).PseudoValue("path"))
	require.True(t, await[*http2.DataFrame](p).StreamEnded())
	p.answer(1, false, ":status", "103", "link", "</a>")
	p.answer(1, false, ":status", "200", "x", "y")
	require.NoError(t, p.WriteData(1, false, []byte("hel")))
	require.NoError(t, p.WriteData(1, false, []byte("lo")))
	p.answer(1, true, "x-sum", "1")
	for _, want := range []int{103, 200} {
		head, err := s.Response()
		require.NoError(t, err)
		require.Equal(t, want, head.Status)
	}
	var body []byte
	for {
		b, err := s.Take(nil)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		body = append(body, b...)
	}
	require.Equal(t, "hello", string(body))
	require.Equal(t, "x-sum", string(s.Trailer()[0].Name))
	s.Done(http2.ErrCodeCancel)
	require.True(t, c.Idle())
}

// A response that does not want the rest of its request is whole all the same, also when its peer ends the connection behind it.
func TestAResponseThatEndsItsRequestIsWhole(t *testing.T) {
	reset := func(code http2.ErrCode) func(*peer) {
		return func(p *peer) {
			require.NoError(t, p.WriteRSTStream(1, code))
			require.NoError(t, p.WritePing(false, [8]byte{2}))
			require.True(t, await[*http2.PingFrame](p).IsAck())
		}
	}
	for what, end := range map[string]func(*peer){
		"reset":     reset(http2.ErrCodeNo),
		"cancelled": reset(http2.ErrCodeCancel),
		"goodbye": func(p *peer) {
			require.NoError(t, p.WriteGoAway(1, http2.ErrCodeNo, nil))
			require.NoError(t, p.conn.(*net.TCPConn).CloseWrite())
			require.ErrorIs(t, <-p.served, io.EOF)
		},
	} {
		t.Run(what, func(t *testing.T) {
			p, c := dial(t)
			s := open(t, c, "hel", false)
			p.answer(1, false, ":status", "413")
			require.NoError(t, p.WriteData(1, true, []byte("too long")))
			end(p)
			head, err := s.Response()
			require.NoError(t, err)
			require.Equal(t, 413, head.Status)
			body, err := s.Take(nil)
			require.NoError(t, err)
			require.Equal(t, "too long", string(body))
			_, err = s.Take(nil)
			require.ErrorIs(t, err, io.EOF)
			// Its end is not sent: nothing would be left then for the peer to refuse.
			require.Error(t, s.Send(nil, []byte("l"), false))
			s.Done(http2.ErrCodeCancel)
		})
	}
}

// What the peer does not take at once of a body is for whoever has opened the stream, who may have to hear the response first.
func TestToOpenAStreamDoesNotWaitForThePeerToTakeTheBody(t *testing.T) {
	p, c := dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3})
	s, rest, err := c.Open(nil, []byte("hello"), true, false)
	require.NoError(t, err)
	require.Equal(t, "lo", string(rest))
	d := await[*http2.DataFrame](p)
	require.Equal(t, "hel", string(d.Data()))
	require.False(t, d.StreamEnded())
	sent := make(chan error, 1)
	go func() { sent <- s.Send(nil, rest, true) }()
	require.NoError(t, p.WriteWindowUpdate(1, 2))
	d = await[*http2.DataFrame](p)
	require.Equal(t, "lo", string(d.Data()))
	require.True(t, d.StreamEnded())
	require.NoError(t, <-sent)
}

func TestWhatThePeerHasNotProcessedIsTold(t *testing.T) {
	p, c := dial(t)
	refused, first, second := open(t, c, "", true), open(t, c, "", true), open(t, c, "", true)
	require.NoError(t, p.WriteRSTStream(1, http2.ErrCodeRefusedStream))
	_, err := refused.Response()
	require.ErrorIs(t, err, ErrUnprocessed)
	require.NoError(t, p.WriteGoAway(3, http2.ErrCodeNo, nil))
	_, err = second.Response()
	require.ErrorIs(t, err, ErrUnprocessed)
	p.answer(3, true, ":status", "200")
	head, err := first.Response()
	require.NoError(t, err)
	require.Equal(t, 200, head.Status)
	_, _, err = c.Open(nil, nil, true, false)
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestNoMoreStreamsAreOpenedThanThePeerAllows(t *testing.T) {
	p, c := dial(t, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
	s := open(t, c, "", true)
	_, _, err := c.Open(nil, nil, true, false)
	require.ErrorIs(t, err, ErrUnavailable)
	p.answer(1, true, ":status", "200")
	_, err = s.Response()
	require.NoError(t, err)
	s.Done(http2.ErrCodeCancel)
	open(t, c, "", true)
}

func TestAPeerThatIsNotThereAnyMoreIsFoundOut(t *testing.T) {
	p, c := dial(t)
	s := open(t, c, "", true)
	now := time.Now()
	c.heard.Store(false)
	c.Probe(now, 15*time.Second, 5*time.Second)
	now = now.Add(16 * time.Second)
	c.Probe(now, 15*time.Second, 5*time.Second)
	require.False(t, await[*http2.PingFrame](p).IsAck())
	require.NoError(t, s.Err())
	c.Probe(now.Add(3*time.Second), 15*time.Second, 5*time.Second)
	require.NoError(t, s.Err())
	c.Probe(now.Add(6*time.Second), 15*time.Second, 5*time.Second)
	require.ErrorIs(t, s.Err(), errSilent)
	require.ErrorIs(t, <-p.served, errSilent)
}

func TestWhatCannotBeAResponseResetsItsStreamAlone(t *testing.T) {
	p, c := dial(t)
	id := uint32(1)
	for what, answer := range map[string]func(){
		"no status":         func() { p.answer(id, true, "x", "y") },
		"a status of words": func() { p.answer(id, true, ":status", "two") },
		"a method":          func() { p.answer(id, true, ":status", "200", ":method", "GET") },
		"101":               func() { p.answer(id, false, ":status", "101") },
		"Connection":        func() { p.answer(id, true, ":status", "200", "connection", "close") },
		"a body first":      func() { require.NoError(t, p.WriteData(id, false, []byte("hello"))) },
		"an interim end":    func() { p.answer(id, true, ":status", "103") },
		"a short body": func() {
			p.answer(id, false, ":status", "200", "content-length", "5")
			require.NoError(t, p.WriteData(id, true, []byte("hell")))
		},
	} {
		s := open(t, c, "", true)
		answer()
		r := await[*http2.RSTStreamFrame](p)
		require.Equal(t, id, r.StreamID, what)
		require.Equal(t, http2.ErrCodeProtocol, r.ErrCode, what)
		require.Error(t, s.Err(), what)
		s.Done(http2.ErrCodeCancel)
		id += 2
	}
}
