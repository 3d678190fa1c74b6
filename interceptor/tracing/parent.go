package tracing

import (
	"encoding/hex"

	"go.opentelemetry.io/otel/trace"
)

// Parent is the span that a request is a part of.
type Parent struct {
	Trace   trace.TraceID
	Span    trace.SpanID
	Sampled bool
}

// length is that of a traceparent of version 00.
const length = 2 + 1 + 32 + 1 + 16 + 1 + 2

// ParseParent reads a traceparent (W3C Trace Context section 3.2). Versions to come begin as this one does.
func ParseParent(s string) (p Parent, ok bool) {
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' || len(s) > length && (s[:2] == "00" || s[length] != '-') {
		return p, false
	}
	var version, flags [1]byte
	if !unhex(version[:], s[:2]) || version[0] == 0xff || !unhex(p.Trace[:], s[3:35]) || !unhex(p.Span[:], s[36:52]) || !unhex(flags[:], s[53:55]) {
		return Parent{}, false
	}
	p.Sampled = flags[0]&1 != 0
	return p, p.Trace.IsValid() && p.Span.IsValid()
}

// unhex reads digits, which are in lower case.
func unhex(to []byte, digits string) bool {
	for i := range to {
		high, low := digit(digits[2*i]), digit(digits[2*i+1])
		if high > 0xf || low > 0xf {
			return false
		}
		to[i] = high<<4 | low
	}
	return true
}

func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// appendTo appends a traceparent.
func (p Parent) appendTo(b []byte) []byte {
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, p.Trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, p.Span[:])
	if p.Sampled {
		return append(b, "-01"...)
	}
	return append(b, "-00"...)
}
