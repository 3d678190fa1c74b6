package accesslog

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// Entry is what a line tells of a request. What is empty is left out. There is nothing in it that could be a secret: no query, and
// no header but the ids.
type Entry struct {
	// Time is when the request came.
	Time time.Time
	// Namespace and App are empty when no route led anywhere.
	Namespace, App                               string
	Client, Method, Scheme, Host, Path, Protocol string
	Status                                       int
	// Reason is why the interceptor answered itself, if it did.
	Reason string
	// BytesIn and BytesOut are those of the bodies.
	BytesIn, BytesOut int64
	// Duration is the time to the end of the response, and Held how much of it the request waited for a pod.
	Duration, Held time.Duration
	// Pod is the address that the request was sent to last.
	Pod string
	// Retries is how often it was sent again.
	Retries   int
	RequestID string
	// TraceID is that of a request that is traced.
	TraceID string
	// ColdStart says that the request waited for the app to start: waited, or who answered meanwhile: fallback or placeholder.
	ColdStart string
}

func (e *Entry) appendTo(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = append(b, '"')
	if e.App != "" {
		b = append(b, `,"app":"`...)
		b = appendEscaped(b, e.Namespace)
		b = append(b, '/')
		b = appendEscaped(b, e.App)
		b = append(b, '"')
	}
	b = appendString(b, "client", e.Client)
	b = appendString(b, "method", e.Method)
	b = appendString(b, "scheme", e.Scheme)
	b = appendString(b, "host", e.Host)
	b = appendString(b, "path", e.Path)
	b = appendString(b, "protocol", e.Protocol)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = appendString(b, "reason", e.Reason)
	b = append(b, `,"bytesIn":`...)
	b = strconv.AppendInt(b, e.BytesIn, 10)
	b = append(b, `,"bytesOut":`...)
	b = strconv.AppendInt(b, e.BytesOut, 10)
	b = append(b, `,"duration":`...)
	b = appendSeconds(b, e.Duration)
	if e.Held > 0 {
		b = append(b, `,"held":`...)
		b = appendSeconds(b, e.Held)
	}
	b = appendString(b, "pod", e.Pod)
	if e.Retries > 0 {
		b = append(b, `,"retries":`...)
		b = strconv.AppendInt(b, int64(e.Retries), 10)
	}
	b = appendString(b, "requestId", e.RequestID)
	b = appendString(b, "traceId", e.TraceID)
	b = appendString(b, "coldStart", e.ColdStart)
	return append(b, '}', '\n')
}

// appendSeconds appends a time in seconds, to the microsecond.
func appendSeconds(b []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = strconv.AppendInt(b, us/1e6, 10)
	b = append(b, '.')
	for unit := int64(1e5); unit > 0; unit /= 10 {
		b = append(b, byte('0'+us/unit%10))
	}
	return b
}

func appendString(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':', '"')
	b = appendEscaped(b, value)
	return append(b, '"')
}

// mostValue is how much of a value is written: clients choose some of them.
const mostValue = 2048

// appendEscaped appends what stands between the quotes of a string of JSON.
func appendEscaped(b []byte, s string) []byte {
	cut := false
	if len(s) > mostValue {
		s, cut = s[:mostValue], true
	}
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, n := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			b = append(append(b, s[from:i]...), `\ufffd`...)
		} else {
			const digits = "0123456789abcdef"
			b = append(append(b, s[from:i]...), '\\', 'u', '0', '0', digits[c>>4], digits[c&0xf])
		}
		i++
		from = i
	}
	b = append(b, s[from:]...)
	if cut {
		b = append(b, "…"...)
	}
	return b
}
