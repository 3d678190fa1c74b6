package http1

import (
	"bytes"
	"net/http"
	"net/url"
)

// Malformed says why a request cannot be taken. Its connection cannot be used further: where the next request begins is not
// certain.
type Malformed struct {
	// Status is the answer's.
	Status  int
	Message string
}

func (m *Malformed) Error() string { return m.Message }

func bad(message string) error { return &Malformed{http.StatusBadRequest, message} }

var (
	errRequestLine = bad("the request line is not METHOD TARGET HTTP/1.1")
	errBareLF      = bad("a line does not end in CR LF")
	errFolded      = bad("a header field goes on in the next line")
	errField       = bad("a header field is not NAME: VALUE")
	errHost        = bad("the request has no Host, or more than one, or not a valid one")
	errLength      = bad("the length of the body is not certain: Content-Length is not one number")
	errCoding      = bad("the length of the body is not certain: Transfer-Encoding is not chunked alone")
	errBoth        = bad("the length of the body is not certain: both Content-Length and Transfer-Encoding")
	errVersion     = &Malformed{http.StatusHTTPVersionNotSupported, "the request's version of HTTP is not 1.0, 1.1 or 2"}
	errConnect     = &Malformed{http.StatusMethodNotAllowed, "CONNECT: this is no forward proxy"}
)

// Request is the head of a request. All of it are parts of the buffer that it was read from.
type Request struct {
	Method, Target []byte
	// Path is the target's path as it came, which may have to be decoded.
	Path   []byte
	Host   []byte
	Fields []Field
	// Length is that of the body; it is 0 when the body is Chunked.
	Length  int64
	Chunked bool
	// Close says that the client sends no other request on the connection.
	Close bool
	// Upgrade is the protocol that the client wants to go on with, if any.
	Upgrade []byte
	// Unusual requests are well-formed as far as they were read, and want more than a request and a response: another version,
	// an upgrade to one of several protocols or with a body, 100 (Continue), trailers that are announced, a target that is not a path or
	// that has to be brought to another form.
	Unusual bool

	// trailers says that the client takes trailers, and old that it speaks HTTP/1.0, which has no chunks.
	trailers, old bool
	// framed is where the fields of a translated request end that its client has sent: behind them is what says where the body ends.
	framed int
}

// Parse reads a head from the beginning of a buffer and returns how long it is; 0 when it is not whole yet. Its error is a
// *Malformed.
func (r *Request) Parse(b []byte) (n int, err error) {
	*r = Request{Fields: r.Fields[:0]}
	n = bytes.IndexByte(b, '\n') + 1
	if n == 0 {
		return 0, nil
	}
	if err := r.line(b[:n]); err != nil {
		return 0, err
	}
	hosts, lengths, codings, upgrades, options := 0, 0, 0, 0, false
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return 0, nil
		}
		line := b[n : n+i]
		n += i + 1
		if len(line) == 0 || line[len(line)-1] != '\r' {
			return 0, errBareLF
		}
		if line = line[:len(line)-1]; len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			return 0, errFolded
		}
		f, ok := field(line)
		if !ok {
			return 0, errField
		}
		switch f.kind {
		case host:
			hosts++
			r.Host = f.Value
		case contentLength:
			lengths++
			if r.Length, ok = length(f.Value); !ok {
				return 0, errLength
			}
		case transferEncoding:
			codings++
			if !is(f.Value, "chunked") {
				return 0, errCoding
			}
			r.Chunked = true
		case connection:
			options = true
		case expect, trailer:
			r.Unusual = true
		case upgrade:
			// To HTTP/2 is for this hop alone (RFC 9113 section 3.1 has done away with it): a pod that took it would speak HTTP/2 to
			// whoever sits behind, past everything here.
			if upgrades++; !is(f.Value, "h2c") {
				r.Upgrade = f.Value
			}
		case te:
			for element, rest := next(f.Value); len(element) > 0 || rest != nil; element, rest = next(rest) {
				r.trailers = r.trailers || is(element, "trailers")
			}
		}
		r.Fields = append(r.Fields, f)
	}
	switch {
	case hosts != 1 && !r.Unusual || hosts > 1 || !all(r.Host, inHost):
		return 0, errHost
	case lengths > 0 && codings > 0:
		return 0, errBoth
	case lengths > 1:
		return 0, errLength
	case codings > 1 || codings > 0 && r.old:
		return 0, errCoding
	}
	if wanted := options && r.options(); !wanted {
		r.Upgrade = nil
	} else if r.Upgrade != nil && (upgrades > 1 || r.Length > 0 || r.Chunked || !all(r.Upgrade, inProtocol) || len(r.Upgrade) == 0) {
		r.Upgrade, r.Unusual = nil, true
	}
	return n, nil
}

// line reads the request line.
func (r *Request) line(line []byte) error {
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return errBareLF
	}
	line = line[:len(line)-2]
	first, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if first < 1 || last <= first+1 {
		return errRequestLine
	}
	var version []byte
	r.Method, r.Target, version = line[:first], line[first+1:last], line[last+1:]
	if !all(r.Method, inToken) {
		return errRequestLine
	}
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		r.Unusual, r.old = true, true
	case "HTTP/2.0":
		if string(r.Method) != "PRI" || string(r.Target) != "*" {
			return errVersion
		}
		r.Unusual = true
		return nil
	default:
		if !bytes.HasPrefix(version, []byte("HTTP/")) {
			return errRequestLine
		}
		return errVersion
	}
	if string(r.Method) == http.MethodConnect {
		return errConnect
	}
	return r.target()
}

// target reads where the request goes to.
func (r *Request) target() error {
	r.Path = r.Target
	if q := bytes.IndexByte(r.Target, '?'); q >= 0 {
		r.Path = r.Target[:q]
		if !all(r.Target[q+1:], inQuery) {
			return r.form()
		}
	}
	if len(r.Path) == 0 || r.Path[0] != '/' || !all(r.Path, inPath) {
		return r.form()
	}
	return nil
}

// form is for targets of other than the usual form.
func (r *Request) form() error {
	for _, c := range r.Target {
		if c <= ' ' || c == 0x7f {
			return errRequestLine
		}
	}
	r.Unusual = true
	return nil
}

// options reads what Connection says, and whether that is to upgrade it.
func (r *Request) options() (upgrades bool) {
	for i := range r.Fields {
		if r.Fields[i].kind != connection {
			continue
		}
		for element, rest := next(r.Fields[i].Value); len(element) > 0 || rest != nil; element, rest = next(rest) {
			switch {
			case is(element, "close"):
				r.Close = true
			case is(element, "keep-alive"), len(element) == 0:
			case is(element, "upgrade"):
				upgrades = true
			default:
				hopByHopToo(r.Fields, element)
			}
		}
	}
	return upgrades
}

// Get returns the value of the first field of a name, which is given in lower case.
func (r *Request) Get(lower string) []byte {
	for i := range r.Fields {
		if is(r.Fields[i].Name, lower) {
			return r.Fields[i].Value
		}
	}
	return nil
}

// Has reports whether any field of a name has a value. The names of fields are the same in any case.
func (r *Request) Has(name, value string) bool {
	for i := range r.Fields {
		f := &r.Fields[i]
		if len(f.Name) == len(name) && string(f.Value) == value && bytes.EqualFold(f.Name, []byte(name)) {
			return true
		}
	}
	return false
}

// DecodedPath is the path as it is compared with others; ok is false when it cannot be decoded.
func (r *Request) DecodedPath() (path []byte, ok bool) {
	if bytes.IndexByte(r.Path, '%') < 0 {
		return r.Path, true
	}
	decoded, err := url.PathUnescape(string(r.Path))
	return []byte(decoded), err == nil
}

// Idempotent reports whether doing a request of a method twice is the same as once (RFC 9110 section 9.2.2).
func Idempotent[T string | []byte](method T) bool {
	switch string(method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// Client is who asked.
type Client struct {
	// Address is without a port.
	Address []byte
	// Proto is http or https.
	Proto string
	// Trusted says that what the request says of those before is true.
	Trusted bool
	// Node is the address for Forwarded, as ForwardedNode has it; nil: there is no Forwarded.
	Node []byte
}

// AppendTo appends the head as it is forwarded: without what is for the client's connection alone, and saying who asked.
func (r *Request) AppendTo(dst []byte, from *Client, own *Own) []byte {
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	dst = append(dst, r.Target...)
	dst = append(dst, " HTTP/1.1\r\n"...)
	var proto, at bool
	for i := range r.Fields {
		if f := &r.Fields[i]; r.passes(f, from, own) {
			at, proto = at || f.kind == forwardedHost, proto || f.kind == forwardedProto
			dst = appendField(dst, f.Name, f.Value)
		}
	}
	dst = appendUpgrade(dst, r.Upgrade)
	if r.trailers {
		dst = append(dst, "Te: trailers\r\n"...)
	}
	dst = append(dst, "X-Forwarded-For: "...)
	dst = r.appendForwardedFor(dst, from)
	dst = append(dst, '\r', '\n')
	if !at {
		dst = append(dst, "X-Forwarded-Host: "...)
		dst = append(dst, r.Host...)
		dst = append(dst, '\r', '\n')
	}
	if !proto {
		dst = append(dst, "X-Forwarded-Proto: "...)
		dst = append(dst, from.Proto...)
		dst = append(dst, '\r', '\n')
	}
	if from.Node != nil {
		dst = append(dst, "Forwarded: "...)
		dst = r.AppendForwarded(dst, from)
		dst = append(dst, '\r', '\n')
	}
	dst = own.appendTo(dst)
	return append(dst, '\r', '\n')
}

// passes reports whether a field is forwarded as it came.
func (r *Request) passes(f *Field, from *Client, own *Own) bool {
	switch f.kind {
	case hopByHop, connection, upgrade, te, forwarded, forwardedFor:
		return false
	case forwardedHost, forwardedProto:
		return from.Trusted
	case requestID, traceParent, traceState:
		return !own.replaces(f.kind)
	}
	return true
}

// appendForwardedFor appends the addresses of who asked, as X-Forwarded-For has them.
func (r *Request) appendForwardedFor(dst []byte, from *Client) []byte {
	if from.Trusted {
		for i := range r.Fields {
			if f := &r.Fields[i]; f.kind == forwardedFor {
				dst = append(dst, f.Value...)
				dst = append(dst, ',', ' ')
			}
		}
	}
	return append(dst, from.Address...)
}
