package http2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// streamWindow is how much of a body may be on its way to somebody who does not take it, and connWindow that of all of a client's
	// connection. The streams of a connection that this end has made are of many clients, none of whom is to wait for another one:
	// there it is manyWindow, which is no limit of its own.
	streamWindow = 256 << 10
	connWindow   = 1 << 20
	manyWindow   = 1 << 30
	// firstWindow is that of everybody who has said nothing else (RFC 9113 section 6.9.2).
	firstWindow = 65535
	// frameSize is how long frames are: what has to be understood by everybody, and is long enough.
	frameSize = 16 << 10
	mostID    = 1<<31 - 1
	// goodbye is how long a peer has for opening the streams that were on their way when it was told to open no more.
	goodbye = time.Second
)

// Config is what an end of a connection is like.
type Config struct {
	// Client says that this end opens the streams.
	Client bool
	// Streams is how many a client may have open at a time.
	Streams int
	// Opened gets each stream that a client opens, in the goroutine that reads. It must not wait.
	Opened func(*Stream)
	// Write writes all of it to the connection, and Try, which may be nil, what the connection takes at once.
	Write func([]byte) error
	Try   func([]byte) (n int, err error)
	// Ending is called when nothing is to be written any more but what is on its way. It must not wait.
	Ending func()
	// Left is called when nothing is to come any more after a goodbye, or after an error that only the writer has seen: reading is to
	// end. It must not wait.
	Left func()
	// Received, which may be nil, is how many of all bytes that were written the peer has received, if it is certain that it processes none
	// that come later: it has ended the connection, of which this error tells. It must not wait.
	Received func(error) (n int64, certain bool)
}

// Conn is an end of a connection.
type Conn struct {
	config Config
	// greeted says that the peer's first settings have come.
	greeted atomic.Bool
	// met is closed when they have, or never will.
	met chan struct{}
	// heard says that something came since somebody wanted to know.
	heard atomic.Bool

	// What follows belongs to the goroutine that reads.
	framer  *http2.Framer
	decoder *hpack.Decoder
	block   block
	flood   flood

	mu sync.Mutex
	// err is why the connection is over, if it is.
	err     error
	streams map[uint32]*Stream
	// running counts the streams that somebody still deals with, whether they are open or not. There have been none since then, if
	// there are none.
	running int
	since   time.Time
	// last is the last stream that was opened, next the one that is opened next at this end, and refused how many were since one could
	// be taken.
	last, next uint32
	refused    int
	// forgotten are streams that were reset here not long ago: what comes on them was sent before the peer knew.
	forgotten []uint32

	// settled says that met was closed.
	settled bool
	// silent is since when nothing has come though streams wait, and probed says that the peer was asked whether it is there.
	silent time.Time
	probed bool
	// leaving says that the peer was told to open no more streams, and left that the last one was named, which is lastTaken.
	leaving, left bool
	lastTaken     uint32
	timer         *time.Timer
	// mostStreams is how many the peer allows.
	mostStreams uint32

	// received and given are of the peer's window for the whole connection: what it may send, and what was taken of it since it
	// was told.
	received, given int32
	// Of our own: what we may send.
	window      int32
	firstWindow int32
	frameSize   int
	// out is what is to be written, by whoever has said that it is flushing. broken says that nothing can be written any more.
	out              []byte
	flushing, broken bool
	// put is how much was put out in all that is not in out any more.
	put int64
	// answered says that the peer has answered a stream.
	answered bool
	// headed says that the peer knows that header blocks refer to nothing that came before.
	headed bool
	// controls counts what was put out for the peer's sake since something was written.
	controls int
	// crowded are the streams that wait until less is to be written, and starved those that wait for the window.
	crowded, starved []*Stream
	// moved says that data was sent since the last look.
	moved bool
	// quiet is signalled when everything is written.
	quiet sync.Cond
}

// New makes an end of a connection that is new.
func New(config Config) *Conn {
	c := &Conn{
		config: config, streams: map[uint32]*Stream{}, received: connWindow, window: firstWindow, firstWindow: firstWindow, next: 1, met: make(chan struct{}),
		frameSize: frameSize, mostStreams: 100, since: time.Now(),
	}
	c.greeting()
	c.quiet.L = &c.mu
	c.decoder = hpack.NewDecoder(4096, c.onField)
	c.decoder.SetMaxStringLength(mostHead)
	return c
}

// Serve greets the peer and reads until there is nothing to be read any more. Its error says why; there are no streams afterwards, and
// nothing is written any more.
func (c *Conn) Serve(r io.Reader) error {
	err := c.greet(r)
	if err == nil {
		err = c.read(r)
	}
	return c.end(err)
}

const preface = http2.ClientPreface

func (c *Conn) greet(r io.Reader) error {
	c.mu.Lock()
	c.flush()
	c.mu.Unlock()
	if c.config.Client {
		return nil
	}
	var said [len(preface)]byte
	if _, err := io.ReadFull(r, said[:]); err != nil {
		return err
	}
	if string(said[:]) != preface {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

// greeting puts the first words out, before which there are no others.
func (c *Conn) greeting() {
	first := http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.config.Streams)}
	if c.config.Client {
		c.received = manyWindow
		c.out = append(c.buffer(), preface...)
		first = http2.Setting{ID: http2.SettingEnablePush, Val: 0}
	}
	c.out = appendSettings(c.buffer(), first,
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: mostHead})
	c.out = appendWindowUpdate(c.out, 0, c.received-firstWindow)
}

func (c *Conn) read(r io.Reader) error {
	for {
		if c.framer == nil {
			c.framer = http2.NewFramer(nil, r)
			c.framer.SetReuseFrames()
			c.framer.SetMaxReadFrameSize(frameSize)
		}
		h, err := c.framer.ReadFrameHeader()
		c.heard.Store(true)
		if err == nil {
			err = c.readFrame(h)
		}
		if err != nil {
			return connectionError(err)
		}
		if h.Length > 4<<10 && !c.block.open && c.Idle() {
			c.framer = nil // with the memory for long frames
		}
	}
}

func (c *Conn) readFrame(h http2.FrameHeader) error {
	f, err := c.framer.ReadFrameForHeader(h)
	if err == nil {
		err = c.take(f)
	}
	var ofStream http2.StreamError
	if !errors.As(err, &ofStream) {
		return err
	}
	if h.Type == http2.FrameHeaders && !c.block.read {
		return http2.ConnectionError(ofStream.Code) // what comes cannot be understood without it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isIdle(ofStream.StreamID) {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.reset(ofStream.StreamID, ofStream.Code)
	return c.floods(1)
}

func connectionError(err error) error {
	if errors.Is(err, http2.ErrFrameTooLarge) {
		return http2.ConnectionError(http2.ErrCodeFrameSize)
	}
	return err
}

func ofStream(id uint32, code http2.ErrCode) error {
	return http2.StreamError{StreamID: id, Code: code}
}

func (c *Conn) take(f http2.Frame) error {
	c.block.read = false
	if !c.greeted.Load() {
		if s, ok := f.(*http2.SettingsFrame); !ok || s.IsAck() {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		c.greeted.Store(true)
	}
	switch f := f.(type) {
	case *http2.HeadersFrame:
		return c.onHeaders(f)
	case *http2.ContinuationFrame:
		return c.onContinuation(f)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f := f.(type) {
	case *http2.DataFrame:
		return c.onData(f)
	case *http2.WindowUpdateFrame:
		return errors.Join(c.onWindowUpdate(f), c.floods(1))
	case *http2.RSTStreamFrame:
		return c.onReset(f)
	case *http2.SettingsFrame:
		return c.onSettings(f)
	case *http2.PingFrame:
		return c.onPing(f)
	case *http2.GoAwayFrame:
		c.onGoAway(f)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return ofStream(f.StreamID, http2.ErrCodeProtocol)
		}
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return c.floods(1)
}

// isIdle reports whether a stream was never opened. Servers open none: nothing is pushed. The lock is held.
func (c *Conn) isIdle(id uint32) bool { return id > c.last || id%2 == 0 }

// reset ends a stream of which nobody wants to hear more. The lock is held.
func (c *Conn) reset(id uint32, code http2.ErrCode) {
	c.out = appendReset(c.buffer(), id, code)
	c.controls++
	most := max(128, 2*c.config.Streams) // all that may be open, and as many again
	if len(c.forgotten) >= most {
		copy(c.forgotten, c.forgotten[most/2:])
		c.forgotten = c.forgotten[:most/2]
	}
	c.forgotten = append(c.forgotten, id)
	c.flush()
	if s := c.streams[id]; s != nil {
		c.lose(s, &Reset{Code: code, Here: true})
	}
}

// lose ends a stream before its end. The lock is held.
func (c *Conn) lose(s *Stream, err error) {
	delete(c.streams, s.id)
	s.fail(err)
}

// Reset is the error of a stream that was reset.
type Reset struct {
	Code http2.ErrCode
	// Here says that it was reset at this end.
	Here bool
}

func (r *Reset) Error() string {
	if r.Here {
		return fmt.Sprintf("the stream was reset: %v", r.Code)
	}
	return fmt.Sprintf("the peer reset the stream: %v", r.Code)
}

var (
	// ErrUnprocessed is the error of a stream of which the peer has done nothing.
	ErrUnprocessed = errors.New("the peer has not processed the stream")
	// ErrUnavailable says that no stream can be opened on a connection.
	ErrUnavailable = errors.New("the connection takes no more streams")
	// ErrLeft says that the connection has ended with a goodbye.
	ErrLeft   = errors.New("the connection has ended with a goodbye")
	errSilent = errors.New("the peer does not answer")
	errOver   = errors.New("the connection is over")
)

// end ends all streams, and says why if the peer is to blame. It returns why the connection is over.
func (c *Conn) end(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.meet()
	if c.config.Received != nil {
		// Whoever writes may know better why the connection is over.
		c.config.Ending()
		for c.flushing {
			c.quiet.Wait()
		}
	}
	first := c.err == nil
	c.fail(err)
	var code http2.ConnectionError
	if first && errors.As(err, &code) {
		last := c.last
		if c.left {
			last = c.lastTaken // whoever was told of the others may have sent them again (RFC 9113 section 6.8)
		}
		c.out = appendGoAway(c.buffer(), last, http2.ErrCode(code))
		if !c.flushing {
			c.flushing = true
			go c.flushSoon()
		}
	}
	c.config.Ending()
	for c.flushing {
		c.quiet.Wait()
	}
	return c.err
}

// fail ends all streams with an error. The lock is held.
func (c *Conn) fail(err error) {
	if err == nil {
		err = errOver
	}
	certain, received := false, int64(0)
	if c.err == nil && c.config.Received != nil {
		received, certain = c.config.Received(err)
	}
	if c.err == nil {
		c.err = err
	}
	for _, s := range c.streams {
		switch {
		case c.config.Client && s.ended:
			s.stop()
		case certain && s.begins >= received:
			c.lose(s, ErrUnprocessed)
		default:
			c.lose(s, err)
		}
	}
}

// Leave tells the peer to open no more streams, and ends the connection after the last one. Those that are on their way are answered:
// the last stream is named only when the peer must have heard of it.
func (c *Conn) Leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave()
}

var lastPing = [8]byte{'g', 'o', 'o', 'd', 'b', 'y', 'e', '.'}

func (c *Conn) leave() {
	if c.leaving || c.err != nil {
		return
	}
	c.leaving = true
	c.out = appendGoAway(c.buffer(), mostID, http2.ErrCodeNo)
	c.out = appendPing(c.out, false, lastPing)
	c.timer = time.AfterFunc(goodbye, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.leaveNow()
	})
	c.flush()
}

// leaveNow names the last stream. The lock is held.
func (c *Conn) leaveNow() {
	if c.left || c.err != nil {
		return
	}
	c.left, c.lastTaken = true, c.last
	c.out = appendGoAway(c.buffer(), c.last, http2.ErrCodeNo)
	c.flush()
	c.ended()
}

// ended is called when a stream may have been the last one. The lock is held.
func (c *Conn) ended() {
	if c.running > 0 {
		return
	}
	c.since = time.Now()
	if c.left && c.err == nil {
		c.err = ErrLeft
		c.config.Left()
	}
}

// Greeted reports whether the peer has said its first words.
func (c *Conn) Greeted() bool { return c.greeted.Load() }

// meet is called when the peer's first settings are in force, or never will be. The lock is held.
func (c *Conn) meet() {
	if !c.settled {
		c.settled = true
		close(c.met)
	}
}

// Meet waits until the peer has said its first words, and is false if it never will.
func (c *Conn) Meet(ctx context.Context) bool {
	select {
	case <-c.met:
		return c.Greeted()
	case <-ctx.Done():
		return false
	}
}

// Idle reports whether there is no stream.
func (c *Conn) Idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running == 0
}

// IdleSince returns since when there is no stream; ok is false when there is one.
func (c *Conn) IdleSince() (since time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since, c.running == 0
}

// Probe has the connection end if its peer is not there any more: it is asked when nothing came for a while, though streams wait, and
// gets some time to answer.
func (c *Conn) Probe(now time.Time, after, most time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
	case c.heard.Swap(false) || c.running == 0 || c.silent.IsZero():
		c.silent, c.probed = now, false
	case now.Sub(c.silent) > after+most:
		c.fail(errSilent)
		c.config.Left()
	case now.Sub(c.silent) > after && !c.probed:
		c.probed = true
		c.out = appendPing(c.buffer(), false, [8]byte{'?'})
		c.flush()
	}
}

// CloseIdle ends the connection if it has had no stream since a moment.
func (c *Conn) CloseIdle(since time.Time) (closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && (c.running > 0 || c.since.After(since)) {
		return false
	}
	c.fail(ErrLeft)
	c.config.Left()
	return true
}
