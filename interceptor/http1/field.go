package http1

import "bytes"

// Field is one header field. Name and Value are parts of the buffer that it was read from.
type Field struct {
	Name, Value []byte
	kind        kind
}

// kind says what a field means to whoever forwards a message.
type kind uint8

const (
	// end-to-end fields are passed on.
	endToEnd kind = iota
	// hopByHop fields are between two ends of one connection (RFC 9110 section 7.6.1).
	hopByHop
	connection
	contentLength
	date
	expect
	// forwarded fields say who asked a proxy.
	forwarded
	forwardedFor
	forwardedHost
	forwardedProto
	host
	requestID
	te
	// traceParent and traceState are W3C Trace Context's.
	traceParent
	traceState
	trailer
	transferEncoding
	upgrade
)

// known are the fields that mean something, by the length of their names.
var known = [...][]struct {
	name string
	kind kind
}{
	2:  {{"te", te}},
	4:  {{"host", host}, {"date", date}},
	6:  {{"expect", expect}},
	7:  {{"trailer", trailer}, {"upgrade", upgrade}},
	9:  {{"forwarded", forwarded}},
	10: {{"connection", connection}, {"keep-alive", hopByHop}, {"tracestate", traceState}},
	11: {{"traceparent", traceParent}},
	12: {{"x-request-id", requestID}},
	14: {{"content-length", contentLength}},
	15: {{"x-forwarded-for", forwardedFor}},
	16: {{"x-forwarded-host", forwardedHost}, {"proxy-connection", hopByHop}},
	17: {{"transfer-encoding", transferEncoding}, {"x-forwarded-proto", forwardedProto}},
	18: {{"proxy-authenticate", hopByHop}},
	19: {{"proxy-authorization", hopByHop}},
}

func kindOf(name []byte) kind {
	if len(name) >= len(known) {
		return endToEnd
	}
	for i := range known[len(name)] {
		if k := &known[len(name)][i]; equalFold(name, k.name) {
			return k.kind
		}
	}
	return endToEnd
}

// equalFold compares a name with one in lower case that has the same length.
func equalFold(name []byte, lower string) bool {
	for i := range len(lower) {
		if toLower(name[i]) != lower[i] {
			return false
		}
	}
	return true
}

func is(name []byte, lower string) bool { return len(name) == len(lower) && equalFold(name, lower) }

func toLower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Characters by where they may be.
const (
	inToken    = 1 << iota // RFC 9110 section 5.6.2
	inValue                // RFC 9110 section 5.5, with the obsolete bytes from 0x80 on
	inPath                 // RFC 3986 section 3.3, with % for what has to be decoded
	inQuery                // any visible one
	inHost                 // RFC 3986 section 3.2.2 and 3.2.3
	inProtocol             // RFC 9110 section 7.8, with what is between several
)

var characters = func() (table [256]uint8) {
	set := func(bit uint8, all string) {
		for i := range len(all) {
			table[all[i]] |= bit
		}
	}
	const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	set(inToken, alphanumeric+"!#$%&'*+-.^_`|~")
	set(inPath, alphanumeric+"-._~!$&'()*+,;=:@/%[]")
	set(inHost, alphanumeric+"-._~!$&'()*+,;=:%[]")
	for c := range 256 {
		switch {
		case c >= 0x80:
			table[c] |= inValue
		case c > 0x20 && c != 0x7f:
			table[c] |= inValue | inQuery | inProtocol
		case c == ' ':
			table[c] |= inValue | inProtocol
		case c == '\t':
			table[c] |= inValue
		}
	}
	table['#'] &^= inQuery
	return table
}()

func all(b []byte, where uint8) bool {
	for _, c := range b {
		if characters[c]&where == 0 {
			return false
		}
	}
	return true
}

// fold turns the line break of a value that goes on in the next line into spaces (RFC 9112 section 5.2).
func fold(head []byte, at int) {
	head[at] = ' '
	if at > 0 && head[at-1] == '\r' {
		head[at-1] = ' '
	}
}

// field reads a line without its end.
func field(line []byte) (f Field, ok bool) {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 || !all(line[:colon], inToken) {
		return f, false
	}
	return newField(line[:colon], line[colon+1:])
}

// newField is a field whose name is a token. A length is without leading zeros, which not everybody reads as decimal.
func newField(name, value []byte) (f Field, ok bool) {
	f = Field{name, trim(value), kindOf(name)}
	if f.kind == contentLength {
		for len(f.Value) > 1 && f.Value[0] == '0' {
			f.Value = f.Value[1:]
		}
	}
	return f, all(f.Value, inValue)
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// next takes the first element of a list (RFC 9110 section 5.6.1).
func next(list []byte) (element, rest []byte) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		return trim(list[:i]), list[i+1:]
	}
	return trim(list), nil
}

// length reads a Content-Length.
func length(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// hopByHopToo marks the fields that a Connection field names: they are for this connection alone. Those that say where the
// message ends, or to whom it goes, cannot be taken away like this.
func hopByHopToo(fields []Field, name []byte) {
	for i := range fields {
		f := &fields[i]
		if len(f.Name) != len(name) || !bytes.EqualFold(f.Name, name) {
			continue
		}
		switch f.kind {
		case host, contentLength, transferEncoding, connection, te, trailer, upgrade, expect, date:
		default:
			f.kind = hopByHop
		}
	}
}

func appendField(dst []byte, name, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = append(dst, value...)
	return append(dst, '\r', '\n')
}

// appendUpgrade appends what changes the protocol, if anything does.
func appendUpgrade(dst, protocol []byte) []byte {
	if len(protocol) == 0 {
		return dst
	}
	return appendField(append(dst, "Connection: Upgrade\r\n"...), []byte("Upgrade"), protocol)
}

// Ends reports whether a head ends in what was read, when it did not in what was read before.
func Ends(b []byte, before int) bool {
	for at := max(before-2, 0); ; at++ {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return false
		}
		at += i
		rest := b[at+1:]
		if len(rest) > 0 && rest[0] == '\n' || len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return true
		}
	}
}
