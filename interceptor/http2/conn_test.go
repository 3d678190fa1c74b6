package http2

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
)

func TestARequestIsAnswered(t *testing.T) {
	p, _ := serve(t, 10, func(s *Stream) {
		require.Equal(t, "a.test", s.Head.Authority)
		require.Equal(t, "a=1; b=2", string(s.Head.Fields[0].Value))
		hello(s)
	})
	p.ask(1, true, "cookie", "a=1", "x", "y", "cookie", "b=2")
	head := await[*http2.MetaHeadersFrame](p)
	require.Equal(t, "200", head.PseudoValue("status"))
	data := await[*http2.DataFrame](p)
	require.Equal(t, "hello", string(data.Data()))
	require.True(t, data.StreamEnded())
}

// A peer that opens no window gets no more than fits, and the rest when it does.
func TestNothingIsSentBeyondThePeersWindows(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 30000)
	p, _ := serve(t, 10, func(s *Stream) {
		b := NewBlock()
		defer b.Free()
		b.Status(200)
		_ = s.Send(b.Bytes(), body, true)
	})
	var got []byte
	read := func(until int) {
		for len(got) < until {
			got = append(got, await[*http2.DataFrame](p).Data()...)
		}
	}
	p.ask(1, true)
	read(65535)
	require.Len(t, got, 65535)
	require.NoError(t, p.WriteWindowUpdate(0, 1<<20))
	require.NoError(t, p.WritePing(false, [8]byte{1}))
	require.True(t, await[*http2.PingFrame](p).IsAck(), "the stream's window is still closed, and it is not data that comes")
	require.NoError(t, p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535 + 1000}))
	read(66535)
	require.Len(t, got, 66535)
	require.NoError(t, p.WriteWindowUpdate(1, 1<<20))
	read(len(body))
	require.Equal(t, body, got)
}

// Streams that share a window that is too small for them all get their share of it.
func TestManyStreamsShareTheConnection(t *testing.T) {
	const streams, size = 50, 100_000
	p, _ := serve(t, streams, func(s *Stream) {
		b := NewBlock()
		defer b.Free()
		b.Status(200)
		_ = s.Send(b.Bytes(), make([]byte, size), true)
	})
	for i := range uint32(streams) {
		p.ask(2*i+1, true)
	}
	got, ended := map[uint32]int{}, 0
	for ended < streams {
		f := await[*http2.DataFrame](p)
		if got[f.StreamID] += len(f.Data()); f.StreamEnded() {
			require.Equal(t, size, got[f.StreamID])
			ended++
		}
		if n := uint32(len(f.Data())); n > 0 {
			require.NoError(t, p.WriteWindowUpdate(0, n))
			if !f.StreamEnded() {
				require.NoError(t, p.WriteWindowUpdate(f.StreamID, n))
			}
		}
	}
}

// What nobody takes is bounded: the peer is given no more window.
func TestABodyThatNobodyTakesIsBounded(t *testing.T) {
	hold := make(chan struct{})
	taken := make(chan int, 1)
	p, _ := serve(t, 10, func(s *Stream) {
		<-hold
		n := 0
		for {
			b, err := s.Take(nil)
			if n += len(b); err != nil {
				taken <- n
				return
			}
		}
	})
	p.ask(1, false)
	for range streamWindow / frameSize {
		require.NoError(t, p.WriteData(1, false, make([]byte, frameSize)))
	}
	require.NoError(t, p.WritePing(false, [8]byte{1}))
	for {
		f, err := p.ReadFrame()
		require.NoError(t, err)
		require.NotEqual(t, uint32(1), f.Header().StreamID, "%v", f)
		if _, ok := f.(*http2.PingFrame); ok {
			break
		}
	}
	require.NoError(t, p.WriteData(1, false, []byte{1}))
	require.Equal(t, http2.ErrCodeFlowControl, await[*http2.RSTStreamFrame](p).ErrCode)
	close(hold)
	require.LessOrEqual(t, <-taken, streamWindow)
	// The connection's window is not lost with the stream.
	p.ask(3, true)
	require.Equal(t, uint32(3), await[*http2.RSTStreamFrame](p).StreamID, "it has no answer")
}

func TestBodiesGoBothWays(t *testing.T) {
	p, _ := serve(t, 10, echo)
	p.ask(1, false)
	var sent, got []byte
	for len(sent) < 3<<20 {
		part := make([]byte, rand.IntN(frameSize))
		for i := range part {
			part[i] = byte(rand.Int())
		}
		sent = append(sent, part...)
		require.NoError(t, p.WriteDataPadded(1, false, part[:min(len(part), frameSize-300)], make([]byte, 5)))
		sent = sent[:len(sent)-len(part)+min(len(part), frameSize-300)]
		for len(got) < len(sent) {
			f := await[*http2.DataFrame](p)
			got = append(got, f.Data()...)
			require.NoError(t, p.WriteWindowUpdate(0, uint32(max(len(f.Data()), 1))))
			require.NoError(t, p.WriteWindowUpdate(1, uint32(max(len(f.Data()), 1))))
		}
	}
	require.NoError(t, p.WriteData(1, true, nil))
	require.True(t, await[*http2.DataFrame](p).StreamEnded())
	require.True(t, bytes.Equal(sent, got))
}

func TestALongHeaderComesInSeveralFrames(t *testing.T) {
	long := strings.Repeat("x y z ", 10000)
	p, _ := serve(t, 10, func(s *Stream) {
		b := NewBlock()
		defer b.Free()
		b.Status(200)
		for _, f := range s.Head.Fields {
			b.Fold(f.Name, f.Value)
		}
		_ = s.Send(b.Bytes(), nil, true)
	})
	block := bytes.Clone(p.block(append(get[:len(get):len(get)], "x-long", long)...))
	require.NoError(t, p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:100], EndStream: true}))
	for block = block[100:]; len(block) > 1000; block = block[1000:] {
		require.NoError(t, p.WriteContinuation(1, false, block[:1000]))
	}
	require.NoError(t, p.WriteContinuation(1, true, block))
	head := await[*http2.MetaHeadersFrame](p)
	require.Equal(t, strings.TrimSpace(long), head.Fields[1].Value)
	require.True(t, head.StreamEnded())
}

func TestWhoAsksTooMuchOfAConnectionLosesIt(t *testing.T) {
	for what, c := range map[string]struct {
		code http2.ErrCode
		send func(p *peer) error
	}{
		"pings":          {http2.ErrCodeEnhanceYourCalm, func(p *peer) error { return p.WritePing(false, [8]byte{}) }},
		"settings":       {http2.ErrCodeEnhanceYourCalm, func(p *peer) error { return p.WriteSettings() }},
		"priorities":     {http2.ErrCodeEnhanceYourCalm, func(p *peer) error { return p.WritePriority(1, http2.PriorityParam{StreamDep: 3}) }},
		"empty data":     {http2.ErrCodeEnhanceYourCalm, func(p *peer) error { return p.WriteData(1, false, nil) }},
		"windows":        {http2.ErrCodeEnhanceYourCalm, func(p *peer) error { return p.WriteWindowUpdate(0, 1) }},
		"unknown frames": {http2.ErrCodeEnhanceYourCalm, func(p *peer) error { return p.WriteRawFrame(0xee, 0, 0, nil) }},
		"resets":         {http2.ErrCodeEnhanceYourCalm, func(p *peer) error { return p.WriteRSTStream(1, http2.ErrCodeCancel) }},
		"empty continuations": {http2.ErrCodeEnhanceYourCalm, func() func(p *peer) error {
			begun := false
			return func(p *peer) error {
				if !begun {
					begun = true
					return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: p.block(get...)})
				}
				return p.WriteContinuation(3, false, nil)
			}
		}()},
		"a header without an end": {http2.ErrCodeEnhanceYourCalm, func() func(p *peer) error {
			begun := false
			return func(p *peer) error {
				if !begun {
					begun = true
					return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: p.block(get...)})
				}
				return p.WriteContinuation(3, false, bytes.Repeat(p.block("x", "y"), 1000))
			}
		}()},
		"streams that are reset at once": {http2.ErrCodeEnhanceYourCalm, func() func(p *peer) error {
			id := uint32(1)
			return func(p *peer) error {
				id += 2
				if err := p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(get...), EndHeaders: true}); err != nil {
					return err
				}
				return p.WriteRSTStream(id, http2.ErrCodeCancel)
			}
		}()},
	} {
		t.Run(what, func(t *testing.T) {
			hold := make(chan struct{})
			defer close(hold)
			p, _ := serve(t, 100, func(*Stream) { <-hold })
			p.ask(1, false)
			go func() {
				for c.send(p) == nil {
				}
			}()
			require.Equal(t, c.code, p.isTold())
		})
	}
}

// Each needs less than a peer gets in the time in which it would be too much; and what is of use is never too much.
func TestWhoAsksForMuchThatIsOfUseKeepsTheConnection(t *testing.T) {
	p, _ := serve(t, 10, hello)
	for i := range uint32(3 * mostUseless / 100) {
		require.NoError(t, p.conn.SetDeadline(time.Now().Add(patience)))
		for range 100 {
			require.NoError(t, p.WritePing(false, [8]byte{}))
			require.True(t, await[*http2.PingFrame](p).IsAck())
		}
		p.ask(2*i+1, true)
		require.Equal(t, 2*i+1, await[*http2.DataFrame](p).StreamID)
	}
}

func TestStreamsBeyondTheAllowedOnesAreRefused(t *testing.T) {
	hold := make(chan struct{})
	p, _ := serve(t, 2, func(s *Stream) { <-hold; hello(s) })
	p.ask(1, true)
	p.ask(3, true)
	p.ask(5, true)
	r := await[*http2.RSTStreamFrame](p)
	require.Equal(t, uint32(5), r.StreamID)
	require.Equal(t, http2.ErrCodeRefusedStream, r.ErrCode)
	close(hold)
	await[*http2.DataFrame](p)
	await[*http2.DataFrame](p)
	p.ask(7, true)
	require.Equal(t, uint32(7), await[*http2.DataFrame](p).StreamID)
}

// A request that was sent before the client knew that the connection ends is answered.
func TestNoRequestIsLostWhenTheConnectionEnds(t *testing.T) {
	hold := make(chan struct{})
	p, c := serve(t, 10, func(s *Stream) { <-hold; hello(s) })
	p.ask(1, true)
	require.Eventually(t, func() bool { return !c.Idle() }, patience, time.Millisecond)
	c.Leave()
	g := await[*http2.GoAwayFrame](p)
	require.Equal(t, http2.ErrCodeNo, g.ErrCode)
	require.Equal(t, uint32(1<<31-1), g.LastStreamID)
	ping := await[*http2.PingFrame](p)
	require.False(t, ping.IsAck())
	p.ask(3, true) // it was on its way
	require.NoError(t, p.WritePing(true, ping.Data))
	require.Equal(t, uint32(3), await[*http2.GoAwayFrame](p).LastStreamID)
	p.ask(5, true) // this one is not answered: the client knows
	close(hold)
	answered := map[uint32]bool{}
	for {
		f, err := p.ReadFrame()
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		if d, ok := f.(*http2.DataFrame); ok {
			answered[d.StreamID] = d.StreamEnded()
		}
	}
	require.Equal(t, map[uint32]bool{1: true, 3: true}, answered)
	require.ErrorIs(t, <-p.served, ErrLeft)
}

func TestAnIdleConnectionEndsAlsoWhenThePeerSaysNothing(t *testing.T) {
	p, c := serve(t, 10, hello)
	c.Leave()
	require.Equal(t, http2.ErrCodeNo, p.isTold())
	require.ErrorIs(t, <-p.served, ErrLeft)
}

// Whoever deals with a stream is told, once, that it is over, and what it does then has no effect.
func TestAStreamThatThePeerResetsIsLost(t *testing.T) {
	lost, over := make(chan error, 2), make(chan error, 1)
	p, c := serve(t, 10, func(s *Stream) {
		s.Watch(func(err error) { lost <- err })
		_, err := s.Take(nil)
		over <- err
	})
	p.ask(1, false)
	require.NoError(t, p.WriteRSTStream(1, http2.ErrCodeCancel))
	var r *Reset
	require.ErrorAs(t, <-lost, &r)
	require.Equal(t, http2.ErrCodeCancel, r.Code)
	require.ErrorAs(t, <-over, &r)
	require.Eventually(t, c.Idle, patience, time.Millisecond)
	require.Empty(t, lost)
	require.NoError(t, p.conn.Close())
	require.Error(t, <-p.served)
}

func TestWhatCannotBeARequestResetsItsStreamAlone(t *testing.T) {
	p, _ := serve(t, 10, hello)
	id := uint32(1)
	for what, fields := range map[string][]string{
		"no method":              {":scheme", "http", ":authority", "a.test", ":path", "/"},
		"no path":                {":method", "GET", ":scheme", "http", ":authority", "a.test"},
		"an empty path":          {":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", ""},
		"no scheme":              {":method", "GET", ":authority", "a.test", ":path", "/"},
		"another scheme":         {":method", "GET", ":scheme", "ftp", ":authority", "a.test", ":path", "/"},
		"two methods":            append(get[:8:8], ":method", "GET"),
		"a status":               append(get[:8:8], ":status", "200"),
		"a protocol":             {":method", "CONNECT", ":scheme", "http", ":authority", "a.test", ":path", "/", ":protocol", "websocket"},
		"a field before":         append([]string{"x", "y"}, get...),
		"a name in capitals":     append(get[:8:8], "X", "y"),
		"no name":                append(get[:8:8], "", "y"),
		"a name with a space":    append(get[:8:8], "x y", "z"),
		"a line break":           append(get[:8:8], "x", "y\r\nz: 1"),
		"Connection":             append(get[:8:8], "connection", "close"),
		"Transfer-Encoding":      append(get[:8:8], "transfer-encoding", "chunked"),
		"Keep-Alive":             append(get[:8:8], "keep-alive", "5"),
		"Proxy-Connection":       append(get[:8:8], "proxy-connection", "close"),
		"Upgrade":                append(get[:8:8], "upgrade", "h2c"),
		"TE":                     append(get[:8:8], "te", "gzip"),
		"another Host":           append(get[:8:8], "host", "b.test"),
		"two Hosts":              append(get[:8:8], "host", "a.test", "host", "a.test"),
		"two lengths":            append(get[:8:8], "content-length", "5", "content-length", "6"),
		"a signed length":        append(get[:8:8], "content-length", "+5"),
		"a body that is missing": append(get[:8:8], "content-length", "5"),
		"a method with a space":  {":method", "GET /x", ":scheme", "http", ":authority", "a.test", ":path", "/"},
	} {
		require.NoError(t, p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(fields...), EndStream: true, EndHeaders: true}))
		r := await[*http2.RSTStreamFrame](p)
		require.Equal(t, id, r.StreamID, what)
		require.Equal(t, http2.ErrCodeProtocol, r.ErrCode, what)
		id += 2
	}
	p.ask(id, true)
	require.Equal(t, id, await[*http2.DataFrame](p).StreamID)
}

// FuzzFrames sends anything behind the first words. Nothing may panic, hang or be left.
func FuzzFrames(f *testing.F) {
	frames := func(write func(p *peer)) []byte {
		a, b := net.Pipe()
		defer a.Close() //nolint:errcheck // the frames are there
		var all []byte
		done := make(chan struct{})
		go func() {
			defer close(done)
			all, _ = io.ReadAll(b)
		}()
		write(newPeer(f, a, nil))
		_ = a.Close()
		<-done
		return all
	}
	f.Add(frames(func(p *peer) { p.ask(1, true) }))
	f.Add(frames(func(p *peer) { p.ask(1, false); _ = p.WriteData(1, true, []byte("hello")) }))
	f.Add(frames(func(p *peer) { p.ask(1, false); _ = p.WriteRSTStream(1, 8); p.ask(3, true) }))
	f.Add(frames(func(p *peer) {
		_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		p.ask(1, true)
		_ = p.WriteWindowUpdate(1, 100)
		_ = p.WriteGoAway(1, 0, nil)
	}))
	f.Add(frames(func(p *peer) {
		p.ask(1, false)
		_ = p.WritePriority(1, http2.PriorityParam{})
		_ = p.WriteDataPadded(1, false, []byte("hello"), make([]byte, 5))
		_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block("x-sum", "1"), EndStream: true, EndHeaders: true})
		_ = p.WritePing(false, [8]byte{})
	}))
	f.Fuzz(func(t *testing.T, sent []byte) {
		p, c := serve(t, 10, echo)
		_, _ = p.conn.Write(sent)
		require.NoError(t, p.conn.(*net.TCPConn).CloseWrite())
		_, _ = io.Copy(io.Discard, p.conn)
		require.Error(t, <-p.served)
		require.Eventually(t, c.Idle, patience, time.Millisecond, fmt.Sprintf("%x", sent))
		require.Empty(t, c.streams)
	})
}

// plenty is memory without a bound.
type plenty struct{}

func (plenty) Buffer(int) bool { return true }
func (plenty) Unbuffer(int)    {}

// Bodies that wait are charged to somebody else's memory, and leave the connection to others.
func TestBodiesThatWaitDoNotStopOthersOnTheConnection(t *testing.T) {
	const waiting = 2 * connWindow / streamWindow
	charged, release := make(chan struct{}, waiting), make(chan struct{})
	took := make(chan int, waiting+1)
	p, c := serve(t, 20, func(s *Stream) {
		if s.id < 2*waiting {
			s.Charge(plenty{}, func() {})
			charged <- struct{}{}
			<-release
			s.Discharge()
		}
		n := 0
		for {
			b, err := s.Take(nil)
			if n += len(b); err != nil {
				took <- n
				return
			}
		}
	})
	window := firstWindow
	var settled bool
	// send sends a body as far as the windows allow, which are made wider by what is read.
	send := func(id uint32, n int) {
		for n > 0 {
			part := min(n, frameSize)
			for window < part || !settled {
				f, err := p.ReadFrame()
				require.NoError(t, err, "the connection stands still")
				switch f := f.(type) {
				case *http2.WindowUpdateFrame:
					if f.StreamID == 0 {
						window += int(f.Increment)
					}
				case *http2.SettingsFrame:
					settled = true
				}
			}
			require.NoError(t, p.WriteData(id, n == part, make([]byte, part)))
			n, window = n-part, window-part
		}
	}
	id := uint32(1)
	for range waiting {
		p.ask(id, false)
		<-charged
		send(id, streamWindow)
		id += 2
	}
	p.ask(id, false)
	send(id, streamWindow)
	require.Equal(t, streamWindow, <-took)
	close(release)
	for range waiting {
		require.Equal(t, streamWindow, <-took)
	}
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.received+c.given == connWindow
	}, patience, time.Millisecond, "nothing of the window is lost, and nothing won")
}
