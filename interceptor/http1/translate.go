package http1

import (
	"bytes"
	"net/http"
	"strconv"
)

// What follows is for messages that come or go by HTTP/2, which has the same fields but for those of a connection.

// NewField makes a field; ok is false when there can be none.
func NewField(name, value []byte) (f Field, ok bool) {
	f, ok = newField(name, value)
	return f, ok && len(name) > 0 && all(name, inToken)
}

// IsToken reports whether it can be a method, or the name of a field.
func IsToken(s string) bool {
	for i := range len(s) {
		if characters[s[i]]&inToken == 0 {
			return false
		}
	}
	return s != ""
}

// OfConnection reports whether HTTP/2 has no such field (RFC 9113 section 8.2.2).
func (f *Field) OfConnection() bool {
	switch f.kind {
	case connection, transferEncoding, upgrade:
		return true
	case hopByHop:
		return is(f.Name, "keep-alive") || is(f.Name, "proxy-connection")
	}
	return false
}

// What is said in the place of a client, made once.
var (
	hostName = []byte("Host")
	chunked  = Field{[]byte("Transfer-Encoding"), []byte("chunked"), transferEncoding}
)

// Translate makes the head of a request that came by HTTP/2. Length is that of its body, -1 when it is not known. Its error is a
// *Malformed.
func (r *Request) Translate(method, target, authority []byte, fields []Field, length int64) error {
	*r = Request{Method: method, Target: target, Host: authority, Fields: r.Fields[:0], Length: max(length, 0), Chunked: length < 0}
	if len(authority) > 0 {
		r.Fields = append(r.Fields, Field{hostName, authority, host})
	}
	sized := false
	for i := range fields {
		f := &fields[i]
		switch f.kind {
		case host:
			if len(authority) > 0 {
				continue
			}
			r.Host = f.Value
		case expect, trailer:
			r.Unusual = true
		case contentLength:
			sized = true
		case te:
			r.trailers = true
		}
		r.Fields = append(r.Fields, *f)
	}
	r.framed = len(r.Fields)
	switch {
	case r.Chunked:
		r.Fields = append(r.Fields, chunked)
	case !sized && (length > 0 || string(method) == http.MethodPost || string(method) == http.MethodPut || string(method) == http.MethodPatch):
		r.Fields = append(r.Fields, Field{[]byte("Content-Length"), strconv.AppendInt(nil, length, 10), contentLength})
	}
	if len(r.Host) == 0 || !all(r.Host, inHost) {
		return errHost
	}
	if string(method) == http.MethodConnect {
		r.Unusual = true
		return nil
	}
	return r.target()
}

// Each gives the fields of a translated request as they are forwarded by HTTP/2, but for those in front of them, by the rules of
// AppendTo.
func (r *Request) Each(from *Client, own *Own, yield func(name, value []byte)) {
	var proto, at bool
	for i := range r.Fields[:r.framed] {
		f := &r.Fields[i]
		if f.kind == host || f.kind == transferEncoding || !r.passes(f, from, own) {
			continue
		}
		at, proto = at || f.kind == forwardedHost, proto || f.kind == forwardedProto
		yield(f.Name, f.Value)
	}
	if r.trailers {
		yield([]byte("te"), []byte("trailers"))
	}
	if from.Trusted {
		yield([]byte("x-forwarded-for"), r.appendForwardedFor(nil, from))
	} else {
		yield([]byte("x-forwarded-for"), from.Address)
	}
	if !at {
		yield([]byte("x-forwarded-host"), r.Host)
	}
	if !proto {
		yield([]byte("x-forwarded-proto"), []byte(from.Proto))
	}
	if from.Node != nil {
		yield([]byte("forwarded"), r.AppendForwarded(nil, from))
	}
	if len(own.RequestID) > 0 {
		yield([]byte("x-request-id"), own.RequestID)
	}
	if len(own.TraceParent) > 0 {
		yield([]byte("traceparent"), own.TraceParent)
	}
}

// Translate makes the head of a response that came by HTTP/2.
func (r *Response) Translate(status int, fields []Field) {
	*r = Response{Status: status, Fields: append(r.Fields[:0], fields...), Chunked: true} // there may be trailers
	for i := range fields {
		switch fields[i].kind {
		case date:
			r.dated = true
		case requestID:
			r.identified = true
		}
	}
}

// Each gives the fields of the response as they are passed on by HTTP/2.
func (r *Response) Each(way *Way, yield func(name, value []byte)) {
	for i := range r.Fields {
		if f := &r.Fields[i]; f.kind != transferEncoding && r.passes(f, way) {
			yield(f.Name, f.Value)
		}
	}
	if way.Name != "" {
		yield([]byte(way.Name), []byte(way.Value))
	}
	if !r.dated && r.Status >= 200 {
		yield([]byte("date"), way.Date)
	}
	if len(way.RequestID) > 0 && !r.identified {
		yield([]byte("x-request-id"), way.RequestID)
	}
}

// Next looks at the next part of the body as Scan does, and returns the first data in it. It has to be called again for what is
// behind.
func (c *Chunks) Next(p []byte) (data []byte, n int, done bool, err error) {
	for n < len(p) && c.state != chunksDone {
		if c.state == chunkData {
			take := int(min(c.left, uint64(len(p)-n)))
			data, n = p[n:n+take], n+take
			c.Data += int64(take)
			if c.left -= uint64(take); c.left == 0 {
				c.state = chunkDataCR
			}
			return data, n, false, nil
		}
		if !c.step(p[n]) {
			return nil, n, false, ErrChunks
		}
		if c.state == trailerName || c.state == trailerValue || c.state == trailerEnd || len(c.kept) > 0 && p[n] == '\n' {
			c.kept = append(c.kept, p[n])
		}
		n++
	}
	return nil, n, c.state == chunksDone, nil
}

// Trailers gives the trailers that Next has come by, but for those that would say something of the message itself.
func (c *Chunks) Trailers(yield func(name, value []byte)) {
	for line := range bytes.Lines(c.kept) {
		f, ok := field(bytes.TrimRight(line, "\r\n"))
		if !ok {
			continue
		}
		switch f.kind {
		case connection, contentLength, host, hopByHop, te, trailer, transferEncoding, upgrade:
			continue
		}
		yield(f.Name, f.Value)
	}
}
