package http1

import (
	"bytes"
	"errors"
	"net/http"
)

// ErrResponse says that what came is not a response of HTTP/1.
var ErrResponse = errors.New("not a response of HTTP/1")

// Response is the head of a response. All of it are parts of the buffer that it was read from.
type Response struct {
	Status int
	// Reason is the phrase behind the status.
	Reason []byte
	Fields []Field
	// Length is that of the body, -1 when the body ends with the connection; it is 0 when the body is Chunked.
	Length  int64
	Chunked bool
	// Close says that the connection cannot be used again.
	Close bool
	// Upgrade is the protocol that a response with 101 goes on with; empty: it does not say so.
	Upgrade []byte

	// dated and identified say that there are a Date and an X-Request-Id.
	dated, identified bool
}

// Parse reads a head from the beginning of a buffer and returns how long it is; 0 when it is not whole yet. It has to know
// whether the request was a HEAD. It is as lenient with the ends of lines as net/http is.
func (r *Response) Parse(b []byte, head bool) (n int, err error) {
	*r = Response{Fields: r.Fields[:0], Length: -1}
	n = bytes.IndexByte(b, '\n') + 1
	if n == 0 {
		return 0, nil
	}
	old, err := r.line(chomp(b[:n-1]))
	if err != nil {
		return 0, err
	}
	persists, upgrades := false, false
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return 0, nil
		}
		line := chomp(b[n : n+i])
		at := n + i
		if len(line) > 0 {
			if at+1 == len(b) {
				return 0, nil
			}
			if b[at+1] == ' ' || b[at+1] == '\t' {
				fold(b, at)
				continue // the line is longer now
			}
		}
		n = at + 1
		if len(line) == 0 {
			break
		}
		f, ok := field(line)
		if !ok {
			return 0, ErrResponse
		}
		switch f.kind {
		case contentLength:
			l, ok := length(f.Value)
			if !ok || r.Length >= 0 && r.Length != l {
				return 0, ErrResponse
			}
			if r.Length >= 0 {
				f.kind = hopByHop // once is enough
			}
			r.Length = l
		case transferEncoding:
			if !is(f.Value, "chunked") || r.Chunked || old {
				return 0, ErrResponse
			}
			r.Chunked = true
		case connection:
			for element, rest := next(f.Value); len(element) > 0 || rest != nil; element, rest = next(rest) {
				r.Close = r.Close || is(element, "close")
				persists = persists || is(element, "keep-alive")
				upgrades = upgrades || is(element, "upgrade")
			}
		case date:
			r.dated = true
		case requestID:
			r.identified = true
		case upgrade:
			if r.Upgrade == nil {
				r.Upgrade = f.Value
			}
		}
		r.Fields = append(r.Fields, f)
	}
	if !upgrades || r.Status != http.StatusSwitchingProtocols {
		r.Upgrade = nil
	}
	r.Close = r.Close || old && !persists
	r.ends(head)
	for i := range r.Fields {
		if r.Fields[i].kind != connection {
			continue
		}
		for element, rest := next(r.Fields[i].Value); len(element) > 0 || rest != nil; element, rest = next(rest) {
			hopByHopToo(r.Fields, element)
		}
	}
	return n, nil
}

// ends finds out where the body ends (RFC 9112 section 6.3).
func (r *Response) ends(head bool) {
	switch {
	case head || r.Status < 200 || r.Status == http.StatusNoContent || r.Status == http.StatusNotModified:
		r.Length, r.Chunked = 0, false
	case r.Chunked:
		if r.Length >= 0 { // what comes after is not to be trusted
			r.Close = true
			for i := range r.Fields {
				if r.Fields[i].kind == contentLength {
					r.Fields[i].kind = hopByHop
				}
			}
		}
		r.Length = 0
	case r.Length < 0:
		r.Close = true
	}
}

func chomp(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// line reads the status line.
func (r *Response) line(line []byte) (old bool, err error) {
	const version = "HTTP/1.1 "
	if len(line) < len(version)+3 || string(line[:7]) != version[:7] || line[8] != ' ' || line[7] != '0' && line[7] != '1' {
		return false, ErrResponse
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return false, ErrResponse
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Reason = line[12:]; len(r.Reason) > 0 {
		if r.Reason[0] != ' ' {
			return false, ErrResponse
		}
		r.Reason = r.Reason[1:]
	}
	if r.Status < 100 || !all(r.Reason, inValue) {
		return false, ErrResponse
	}
	return line[7] == '0', nil
}

// Unbounded says that only the end of the connection tells where the body ends.
func (r *Response) Unbounded() bool { return r.Length < 0 }

// Way is how a response is passed on.
type Way struct {
	// Close says that the client's connection ends with it.
	Close bool
	// Chunk says that an unbounded body is sent in chunks.
	Chunk bool
	// Date is given to a response that has none (RFC 9110 section 6.6.1).
	Date []byte
	// RequestID is given to a response that has none; empty: none is.
	RequestID []byte
	// Name and Value are a field of the forwarder's own; it replaces any of that name.
	Name, Value string
}

// AppendTo appends the head as it is passed on: without what is for the server's connection alone.
func (r *Response) AppendTo(dst []byte, way Way) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, byte('0'+r.Status/100), byte('0'+r.Status/10%10), byte('0'+r.Status%10), ' ')
	dst = append(dst, r.Reason...)
	dst = append(dst, '\r', '\n')
	for i := range r.Fields {
		if f := &r.Fields[i]; r.passes(f, &way) {
			dst = appendField(dst, f.Name, f.Value)
		}
	}
	if way.Name != "" {
		dst = appendField(dst, []byte(way.Name), []byte(way.Value))
	}
	dst = appendUpgrade(dst, r.Upgrade)
	if !r.dated && r.Status >= 200 {
		dst = append(dst, "Date: "...)
		dst = append(dst, way.Date...)
		dst = append(dst, '\r', '\n')
	}
	if len(way.RequestID) > 0 && !r.identified {
		dst = appendField(dst, []byte("X-Request-Id"), way.RequestID)
	}
	if way.Chunk {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if way.Close {
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(dst, '\r', '\n')
}

// passes reports whether a field is passed on.
func (r *Response) passes(f *Field, way *Way) bool {
	switch f.kind {
	case hopByHop, connection, upgrade, te:
		return false
	case transferEncoding, trailer:
		return r.Chunked
	case contentLength:
		if r.Status < 200 || r.Status == http.StatusNoContent { // RFC 9110 section 8.6
			return false
		}
	}
	return way.Name == "" || len(way.Name) != len(f.Name) || !bytes.EqualFold(f.Name, []byte(way.Name))
}
