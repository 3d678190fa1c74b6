package http1

import (
	"encoding/binary"
	hexadecimal "encoding/hex"
	"math/rand/v2"
	"net/netip"
	"unsafe"
)

// Own is what a forwarder says of a request itself, in the place of what its client may have said. What is empty leaves the client's
// word as it is.
type Own struct {
	// RequestID is X-Request-Id.
	RequestID []byte
	// TraceParent is traceparent, of W3C Trace Context. NewTrace says that the client's tracestate is of another trace.
	TraceParent []byte
	NewTrace    bool
}

func (o *Own) appendTo(dst []byte) []byte {
	if len(o.RequestID) > 0 {
		dst = appendField(dst, []byte("X-Request-Id"), o.RequestID)
	}
	if len(o.TraceParent) > 0 {
		dst = appendField(dst, []byte("Traceparent"), o.TraceParent)
	}
	return dst
}

// replaces reports whether it takes the place of a field.
func (o *Own) replaces(k kind) bool {
	switch k {
	case requestID:
		return len(o.RequestID) > 0
	case traceParent:
		return len(o.TraceParent) > 0
	case traceState:
		return o.NewTrace
	}
	return false
}

// mostRequestID is how long an id may be that a client gives its request.
const mostRequestID = 128

// ValidRequestID reports whether an id can be taken over from a client: it is visible ASCII, and not too long to be written down.
func ValidRequestID[T string | []byte](id T) bool {
	if len(id) == 0 || len(id) > mostRequestID {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return false
		}
	}
	return true
}

// RequestID returns the id that the client gave the request; nil if it gave none, or one that cannot be taken over.
func (r *Request) RequestID() []byte {
	if id := r.only("x-request-id"); ValidRequestID(id) {
		return id
	}
	return nil
}

// TraceParent returns the trace that the client says the request is part of; nil if it says nothing.
func (r *Request) TraceParent() []byte {
	return r.only("traceparent")
}

// ForwardedFor is the last X-Forwarded-For; nil if there is none.
func (r *Request) ForwardedFor() (value []byte) {
	for i := range r.Fields {
		if r.Fields[i].kind == forwardedFor {
			value = r.Fields[i].Value
		}
	}
	return value
}

// only returns the value of a field that is there once.
func (r *Request) only(lower string) (value []byte) {
	n := 0
	for i := range r.Fields {
		if is(r.Fields[i].Name, lower) {
			value = r.Fields[i].Value
			n++
		}
	}
	if n != 1 {
		return nil
	}
	return value
}

// AppendRequestID appends an id that nobody has had: 128 random bits in hexadecimal.
func AppendRequestID(dst []byte) []byte {
	var id [16]byte
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	return hexadecimal.AppendEncode(dst, id[:])
}

// ForwardedNode is an address as RFC 7239 section 6 has it.
func ForwardedNode(a netip.Addr) []byte {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return []byte(a.String())
	}
	return []byte(`"[` + a.String() + `]"`)
}

// AppendForwarded appends the value of Forwarded (RFC 7239): what a trusted client says, and who the client is. What a trusted client
// says by X-Forwarded-For, -Host and -Proto alone is translated: an app that reads Forwarded would take the proxy for the client.
func (r *Request) AppendForwarded(dst []byte, from *Client) []byte {
	host, proto := r.Host, []byte(from.Proto)
	if from.Trusted {
		before := len(dst)
		for i := range r.Fields {
			if f := &r.Fields[i]; f.kind == forwarded && len(f.Value) > 0 {
				dst = append(append(dst, f.Value...), ", "...)
			}
		}
		if len(dst) == before {
			first, by := host, proto
			if v := r.first(forwardedHost); len(v) > 0 {
				first = v
			}
			if v := r.first(forwardedProto); len(v) > 0 && all(v, inToken) {
				by = v
			}
			for i := range r.Fields {
				if r.Fields[i].kind != forwardedFor {
					continue
				}
				for element, rest := next(r.Fields[i].Value); len(element) > 0 || rest != nil; element, rest = next(rest) {
					if len(element) == 0 {
						continue
					}
					one := len(dst) == before
					dst = appendNode(append(dst, "for="...), element)
					if one {
						dst = appendHostProto(dst, first, by)
					}
					dst = append(dst, ", "...)
				}
			}
			if len(dst) == before {
				host, proto = first, by
			}
		}
	}
	dst = append(append(dst, "for="...), from.Node...)
	return appendHostProto(dst, host, proto)
}

func (r *Request) first(k kind) []byte {
	for i := range r.Fields {
		if r.Fields[i].kind == k {
			return r.Fields[i].Value
		}
	}
	return nil
}

func appendHostProto(dst, host, proto []byte) []byte {
	dst = append(dst, ";host="...)
	dst = appendQuoted(dst, host)
	dst = append(dst, ";proto="...)
	return append(dst, proto...)
}

// appendNode appends an element of X-Forwarded-For.
func appendNode(dst, element []byte) []byte {
	s := unsafe.String(unsafe.SliceData(element), len(element))
	if a, err := netip.ParseAddr(s); err == nil {
		return append(dst, ForwardedNode(a)...)
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return append(append(append(dst, '"'), netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()).String()...), '"')
	}
	return append(dst, "unknown"...)
}

// appendQuoted appends a token as it is, and anything else in quotes.
func appendQuoted(dst, value []byte) []byte {
	if len(value) > 0 && all(value, inToken) {
		return append(dst, value...)
	}
	dst = append(dst, '"')
	for _, c := range value {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// ForwardedFields are those that AppendForwarded reads, of a request that was not read here.
func ForwardedFields(values func(name string) []string) (fields []Field) {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		for _, v := range values(name) {
			fields = append(fields, Field{Name: []byte(name), Value: []byte(v), kind: kindOf([]byte(name))})
		}
	}
	return fields
}
