package http1

import "errors"

// ErrChunks says that a body is not chunked as it has to be.
var ErrChunks = errors.New("the body's chunks are not as they have to be")

// Chunks follows a chunked body through the parts that it arrives in (RFC 9112 section 7.1). The zero value is at its beginning.
type Chunks struct {
	// Lenient allows extensions of chunks and any trailers. Requests do not need them: nobody sends them in earnest, and different
	// readers understand them differently.
	Lenient bool
	// Data is how many bytes of the body itself were scanned.
	Data int64

	state chunkState
	left  uint64
	// read counts what was read of a line.
	read int
	// name is the beginning of a trailer's name in lower case.
	name [18]byte
	// kept are the trailers as they came, for those who want them.
	kept []byte
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkSizeEnd
	chunkData
	chunkDataCR
	chunkDataLF
	trailerBegins
	trailerName
	trailerValue
	trailerEnd
	lastEnd
	chunksDone
)

const (
	mostExtension = 256
	mostTrailer   = 16 << 10
)

// Scan looks at the next part of the body. It returns how much of it belongs to the body, and whether the body ends there.
func (c *Chunks) Scan(p []byte) (n int, done bool, err error) {
	for n < len(p) && c.state != chunksDone {
		if c.state == chunkData {
			take := int(min(c.left, uint64(len(p)-n)))
			n += take
			c.Data += int64(take)
			if c.left -= uint64(take); c.left == 0 {
				c.state = chunkDataCR
			}
			continue
		}
		if !c.step(p[n]) {
			return n, false, ErrChunks
		}
		n++
	}
	return n, c.state == chunksDone, nil
}

// step takes one byte of what is around the data.
func (c *Chunks) step(b byte) (ok bool) {
	to := func(s chunkState) bool {
		c.state = s
		return true
	}
	switch c.state {
	case chunkSize:
		switch digit, is := hex(b); {
		case is:
			c.left = c.left<<4 | uint64(digit)
			c.read++
			return c.read <= 15
		case c.read == 0:
			return false
		case b == '\r':
			return to(chunkSizeEnd)
		case b == ';' && c.Lenient:
			c.read = 0
			return to(chunkExtension)
		}
		return false
	case chunkExtension:
		if b == '\r' {
			return to(chunkSizeEnd)
		}
		c.read++
		return characters[b]&inValue != 0 && c.read <= mostExtension
	case chunkSizeEnd:
		c.read = 0
		if c.left == 0 {
			return b == '\n' && to(trailerBegins)
		}
		return b == '\n' && to(chunkData)
	case chunkDataCR:
		return b == '\r' && to(chunkDataLF)
	case chunkDataLF:
		return b == '\n' && to(chunkSize)
	}
	return c.stepTrailer(b, to)
}

func (c *Chunks) stepTrailer(b byte, to func(chunkState) bool) (ok bool) {
	if c.read++; c.read > mostTrailer {
		return false
	}
	switch c.state {
	case trailerBegins:
		c.name, c.left = [18]byte{}, 0
		if b == '\r' {
			return to(lastEnd)
		}
		c.state = trailerName
		fallthrough
	case trailerName:
		if b == ':' {
			return c.left > 0 && (c.Lenient || !c.forbidden()) && to(trailerValue)
		}
		if int(c.left) < len(c.name) {
			c.name[c.left] = toLower(b)
		}
		c.left++
		return characters[b]&inToken != 0
	case trailerValue:
		if b == '\r' {
			return to(trailerEnd)
		}
		return characters[b]&inValue != 0
	case trailerEnd:
		return b == '\n' && to(trailerBegins)
	case lastEnd:
		return b == '\n' && to(chunksDone)
	}
	return false
}

// forbidden reports whether the trailer is a field that a message must have before its body (RFC 9110 section 6.5.1): somebody
// who puts trailers and header together would see another message.
func (c *Chunks) forbidden() bool {
	if int(c.left) > len(c.name) {
		return false
	}
	switch string(c.name[:c.left]) {
	case "content-length", "transfer-encoding", "host", "connection", "te", "upgrade", "trailer", "authorization", "cookie",
		"set-cookie", "content-encoding", "content-type", "content-range", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto":
		return true
	}
	return false
}

func hex(b byte) (digit byte, ok bool) {
	switch {
	case '0' <= b && b <= '9':
		return b - '0', true
	case 'a' <= b && b <= 'f':
		return b - 'a' + 10, true
	case 'A' <= b && b <= 'F':
		return b - 'A' + 10, true
	}
	return 0, false
}
