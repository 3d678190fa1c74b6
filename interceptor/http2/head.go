package http2

import (
	"bytes"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/kedahttp/kedahttp/interceptor/http1"
)

// mostHead is how long the header of a message may be, by the measure of RFC 9113 section 6.5.2: what net/http takes.
const mostHead = 1<<20 + 320

// Head is what a header block says.
type Head struct {
	Method, Scheme, Authority, Path string
	Status                          int
	// Fields have names in lower case, and one Cookie at most (RFC 9113 section 8.2.3). They are parts of strings: not to be changed.
	Fields []http1.Field
	// TooLong says that not all fields were kept.
	TooLong bool
	// Length is what Content-Length says, -1 when it is not there.
	Length int64

	size, cookies   int
	seen            pseudo
	malformed, last bool
}

type pseudo uint8

const (
	method pseudo = 1 << iota
	scheme
	authority
	path
	status
)

func (h *Head) clear() {
	clear(h.Fields)
	*h = Head{Fields: h.Fields[:0], Length: -1}
	if cap(h.Fields) > 64 {
		h.Fields = nil
	}
}

// block is the header block that is being read.
type block struct {
	head Head
	id   uint32
	end  bool
	// open says that there is more to come, and read that all of it was read.
	open, read bool
	// raw is how long it is as it comes, and parts in how many frames.
	raw, parts int
	// selfish says that the stream is to depend on itself.
	selfish bool
}

func (c *Conn) onHeaders(f *http2.HeadersFrame) error {
	if f.StreamID%2 == 0 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.block.head.clear()
	c.block.id, c.block.end, c.block.raw, c.block.parts = f.StreamID, f.StreamEnded(), 0, 0
	c.block.selfish = f.HasPriority() && f.Priority.StreamDep == f.StreamID
	c.decoder.SetEmitEnabled(true)
	return c.decode(f.HeaderBlockFragment(), f.HeadersEnded())
}

func (c *Conn) onContinuation(f *http2.ContinuationFrame) error {
	c.mu.Lock()
	err := c.floods(1)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.decode(f.HeaderBlockFragment(), f.HeadersEnded())
}

func (c *Conn) decode(fragment []byte, last bool) error {
	c.block.raw += len(fragment)
	c.block.parts++
	// A long field in small parts is looked at from its beginning with each of them.
	if c.block.raw > 2*mostHead || c.block.parts > 64+c.block.raw/(1<<10) {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	c.block.open = !last
	if _, err := c.decoder.Write(fragment); err != nil {
		return http2.ConnectionError(http2.ErrCodeCompression)
	}
	if !last {
		return nil
	}
	if err := c.decoder.Close(); err != nil {
		return http2.ConnectionError(http2.ErrCodeCompression)
	}
	c.block.read = true
	c.block.head.joinCookies()
	if c.config.Client {
		return c.respond()
	}
	return c.ask()
}

// onField takes a field of the header block.
func (c *Conn) onField(f hpack.HeaderField) {
	h := &c.block.head
	if h.size += int(f.Size()); h.size > mostHead {
		h.TooLong = true
		c.decoder.SetEmitEnabled(false)
		return
	}
	if strings.HasPrefix(f.Name, ":") {
		h.pseudo(f)
		return
	}
	h.last = true
	field, ok := http1.NewField(bytesOf(f.Name), bytesOf(f.Value))
	if !ok || !lower(f.Name) || field.OfConnection() {
		h.malformed = true
		return
	}
	switch f.Name {
	case "content-length":
		n, err := strconv.ParseInt(f.Value, 10, 63)
		if err != nil || f.Value[0] == '+' || f.Value[0] == '-' || h.Length >= 0 && h.Length != n {
			h.malformed = true
			return
		}
		if h.Length >= 0 {
			return // once is enough
		}
		h.Length = n
	case "cookie":
		h.cookies++
	case "te":
		if !strings.EqualFold(strings.TrimSpace(f.Value), "trailers") {
			h.malformed = true
		}
	}
	h.Fields = append(h.Fields, field)
}

func (h *Head) pseudo(f hpack.HeaderField) {
	var which pseudo
	switch f.Name {
	case ":method":
		which, h.Method = method, f.Value
	case ":scheme":
		which, h.Scheme = scheme, f.Value
	case ":authority":
		which, h.Authority = authority, f.Value
	case ":path":
		which, h.Path = path, f.Value
	case ":status":
		which = status
		if n, err := strconv.ParseUint(f.Value, 10, 16); err == nil && len(f.Value) == 3 {
			h.Status = int(n)
		}
	}
	if which == 0 || h.seen&which != 0 || h.last {
		h.malformed = true
	}
	h.seen |= which
}

// request reports whether it can be the head of a request (RFC 9113 section 8.3.1).
func (h *Head) request() bool {
	if h.malformed || h.seen&status != 0 {
		return false
	}
	if h.TooLong {
		return true // it is refused, and nothing more can be said of it
	}
	if h.Method == "CONNECT" {
		return h.seen&(scheme|path) == 0 && h.Authority != ""
	}
	host, hosts := "", 0
	for i := range h.Fields {
		if string(h.Fields[i].Name) != "host" {
			continue
		}
		if hosts++; hosts > 1 {
			return false
		}
		host = text(h.Fields[i].Value)
	}
	if h.seen&authority != 0 && host != "" && !strings.EqualFold(host, h.Authority) {
		return false
	}
	return http1.IsToken(h.Method) && h.Path != "" && (h.Scheme == "http" || h.Scheme == "https")
}

// trailer reports whether it can be what comes behind a body.
func (h *Head) trailer() bool { return !h.malformed && h.seen == 0 && !h.TooLong }

// response reports whether it can be the head of a response.
func (h *Head) response() bool {
	return !h.malformed && h.seen == status && h.Status >= 100 && h.Status != 101 && !h.TooLong
}

// joinCookies makes one field of what a client may split to compress it better.
func (h *Head) joinCookies() {
	if h.cookies < 2 {
		return
	}
	var all [][]byte
	first, kept := -1, h.Fields[:0]
	for _, f := range h.Fields {
		if string(f.Name) != "cookie" {
			kept = append(kept, f)
			continue
		}
		if all = append(all, f.Value); first < 0 {
			first = len(kept)
			kept = append(kept, f)
		}
	}
	kept[first].Value = bytes.Join(all, []byte("; "))
	h.Fields = kept
}

func lower(name string) bool {
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

// bytesOf are those of a string, which must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// text is bytes as a string, for as long as they do not change.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// ask is called when a server has got a header block.
func (c *Conn) ask() error {
	c.mu.Lock()
	s, err := c.open()
	c.mu.Unlock()
	if s != nil && err == nil {
		c.config.Opened(s)
	}
	return err
}

// open opens a stream, or ends the body of one. The lock is held.
func (c *Conn) open() (*Stream, error) {
	b := &c.block
	if s := c.streams[b.id]; s != nil {
		return nil, s.onTrailer(b)
	}
	if b.id <= c.last {
		if c.isForgotten(b.id) {
			return nil, c.floods(1)
		}
		return nil, http2.ConnectionError(http2.ErrCodeStreamClosed)
	}
	c.last = b.id
	if c.left {
		return nil, c.floods(1) // it was told that this stream does not count
	}
	if b.selfish || !b.head.request() || b.end && b.head.Length > 0 {
		return nil, ofStream(b.id, http2.ErrCodeProtocol)
	}
	if len(c.streams) >= c.config.Streams || c.running >= 2*c.config.Streams {
		// Also if those before were reset, as long as somebody still deals with them.
		if c.refused++; c.refused > 4*c.config.Streams {
			return nil, http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
		}
		return nil, ofStream(b.id, http2.ErrCodeRefusedStream)
	}
	c.refused, c.flood.frames = 0, 0
	s := newStream(c, b.id)
	s.Head, b.head = b.head, s.Head
	s.ended, s.declared = b.end, s.Head.Length
	c.streams[b.id] = s
	c.running++
	return s, nil
}

func (c *Conn) isForgotten(id uint32) bool {
	for _, f := range c.forgotten {
		if f == id {
			return true
		}
	}
	return false
}
