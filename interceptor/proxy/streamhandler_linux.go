package proxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kedahttp/kedahttp/interceptor/http1"
	"github.com/kedahttp/kedahttp/interceptor/http2"
)

// serveHTTP gives the request to the Handler, as net/http's server would. Nothing of it is used again: bodies may be read for a while
// after their requests.
func (x *asking) serveHTTP(before *passed) {
	x.kept = true
	r, expects, err := x.httpRequest()
	if err != nil {
		before.drop()
		x.unrouted(malformed(err))
		return
	}
	base := context.Background()
	if of := x.server.others.BaseContext; of != nil {
		base = of(x.server.handed)
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(base, http.ServerContextKey, x.server.others))
	defer cancel(nil)
	x.activate()
	defer x.deactivate()
	x.waiting(cancel)
	w := &streamWriter{stream: x.stream, header: http.Header{}, ofHead: r.Method == http.MethodHead, date: x.server.date.at(x.now)}
	if before != nil {
		ctx = context.WithValue(ctx, passedKey{}, before)
	}
	r = r.WithContext(ctx)
	if r.ContentLength != 0 {
		body := &streamBody{stream: x.stream, trailer: r.Trailer}
		if expects {
			body.begin = w.goOn
		}
		r.Body = body
		defer x.stream.StopTaking(http.ErrBodyReadAfterClose)
	}
	x.server.handler.ServeHTTP(w, r)
	w.end()
}

// httpRequest is the request as net/http has it. It may expect to be told to go on.
func (x *asking) httpRequest() (r *http.Request, expects bool, bad *http1.Malformed) {
	in := &x.stream.Head
	r = &http.Request{
		Method: in.Method, Proto: "HTTP/2.0", ProtoMajor: 2, Header: make(http.Header, len(in.Fields)), Host: string(x.request.Host),
		RemoteAddr: x.client.remote, RequestURI: in.Path, TLS: x.client.state, Body: http.NoBody, ContentLength: in.Length,
	}
	for _, f := range in.Fields {
		switch name, value := http.CanonicalHeaderKey(string(f.Name)), string(f.Value); {
		case name == "Host":
		case name == "Trailer":
			for announced := range strings.SplitSeq(value, ",") {
				switch key := http.CanonicalHeaderKey(strings.TrimSpace(announced)); key {
				case "", "Transfer-Encoding", "Trailer", "Content-Length":
				default:
					if r.Trailer == nil {
						r.Trailer = http.Header{}
					}
					r.Trailer[key] = nil
				}
			}
		case name == "Expect" && strings.EqualFold(value, "100-continue"):
			expects = true
		default:
			r.Header[name] = append(r.Header[name], value)
		}
	}
	if x.whole && len(x.body) == 0 && r.Trailer == nil {
		r.ContentLength = 0
	}
	if in.Method == http.MethodConnect {
		r.URL, r.RequestURI = &url.URL{Host: in.Authority}, in.Authority
		return r, false, nil
	}
	u, err := url.ParseRequestURI(in.Path)
	if err != nil {
		return nil, false, errBadPath
	}
	r.URL = u
	return r, expects, nil
}

// streamBody is the body of a request.
type streamBody struct {
	stream *http2.Stream
	// begin is called before the first read.
	begin   func()
	trailer http.Header
	// taken is what was taken of the stream, and rest what is left of it.
	taken, rest []byte
}

// Read implements io.Reader.
func (b *streamBody) Read(p []byte) (int, error) {
	if b.begin != nil {
		b.begin()
		b.begin = nil
	}
	if len(b.rest) == 0 {
		var err error
		if b.taken, err = b.stream.Take(b.taken); err != nil {
			if errors.Is(err, io.EOF) {
				b.end()
			}
			return 0, err
		}
		b.rest = b.taken
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Charge implements unread.
func (b *streamBody) Charge(m memory, full func()) { b.stream.Charge(m, full) }

// Discharge implements unread.
func (b *streamBody) Discharge() { b.stream.Discharge() }

// end fills in the trailers that were announced.
func (b *streamBody) end() {
	for _, f := range b.stream.Trailer() {
		if key := http.CanonicalHeaderKey(string(f.Name)); b.trailer != nil {
			if values, announced := b.trailer[key]; announced {
				b.trailer[key] = append(values, string(f.Value))
			}
		}
	}
}

// Close implements io.Closer. What has not been read is not wanted, which the client is told when the request is over.
func (b *streamBody) Close() error { return nil }

// streamWriter is the response on a stream.
type streamWriter struct {
	stream *http2.Stream
	// header is the handler's, and final what it was when the response began.
	header, final http.Header
	date          []byte
	ofHead        bool
	// status is 0 until the handler has said it; sent says that the header was sent.
	status int
	sent   bool

	// heading is held by whoever sends a header that is not the final one, or says which that is: the client is told to go on by whoever
	// reads the body, and nothing of that kind may come behind.
	heading sync.Mutex
	begun   bool
}

// Header implements http.ResponseWriter.
func (w *streamWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *streamWriter) WriteHeader(status int) {
	w.heading.Lock()
	defer w.heading.Unlock()
	switch {
	case w.status != 0:
	case status < 200:
		block := http2.NewBlock()
		defer block.Free()
		block.Status(status)
		putHeader(block, w.header)
		_ = w.stream.Send(block.Bytes(), nil, false) // the client may be gone
	default:
		w.status, w.final = status, w.header.Clone()
		w.begun = true
	}
}

// goOn has a client that waits for it send its request's body.
func (w *streamWriter) goOn() {
	w.heading.Lock()
	defer w.heading.Unlock()
	if w.begun {
		return
	}
	block := http2.NewBlock()
	defer block.Free()
	block.Status(http.StatusContinue)
	_ = w.stream.Send(block.Bytes(), nil, false) // the client may be gone
}

// Write implements io.Writer.
func (w *streamWriter) Write(p []byte) (int, error) {
	w.begin()
	switch {
	case w.ofHead:
		return len(p), nil
	case w.status == http.StatusNoContent || w.status == http.StatusNotModified:
		return 0, http.ErrBodyNotAllowed
	case len(p) == 0:
		return 0, nil
	}
	if err := w.send(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *streamWriter) begin() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
}

// send sends the header, if it was not sent, and a part of the body.
func (w *streamWriter) send(p []byte, end bool) error {
	if w.sent {
		return w.stream.Send(nil, p, end)
	}
	w.sent = true
	block := http2.NewBlock()
	defer block.Free()
	block.Status(w.status)
	putHeader(block, w.final)
	if _, dated := w.final["Date"]; !dated {
		block.Field("date", text(w.date))
	}
	return w.stream.Send(block.Bytes(), p, end)
}

// FlushError is what http.ResponseController calls.
func (w *streamWriter) FlushError() error {
	w.begin()
	if w.sent {
		return nil
	}
	return w.send(nil, false)
}

// SetReadDeadline ends reading of the body, if the time is over.
func (w *streamWriter) SetReadDeadline(t time.Time) error {
	if t.IsZero() || time.Now().Before(t) {
		return http.ErrNotSupported
	}
	w.stream.StopTaking(os.ErrDeadlineExceeded)
	return nil
}

// SetWriteDeadline ends the response, if the time is over.
func (w *streamWriter) SetWriteDeadline(t time.Time) error {
	if t.IsZero() || time.Now().Before(t) {
		return http.ErrNotSupported
	}
	w.stream.Fail(os.ErrDeadlineExceeded)
	return nil
}

// end ends the response, with the trailers that were announced or are named so that they are trailers.
func (w *streamWriter) end() {
	w.begin()
	trailer := http.Header{}
	for _, list := range w.final["Trailer"] {
		for announced := range strings.SplitSeq(list, ",") {
			key := http.CanonicalHeaderKey(strings.TrimSpace(announced))
			if values := w.header[key]; len(values) > 0 {
				trailer[key] = values
			}
		}
	}
	for key, values := range w.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			trailer[http.CanonicalHeaderKey(name)] = values
		}
	}
	if len(trailer) == 0 || w.ofHead {
		_ = w.send(nil, true) // the client may be gone
		return
	}
	if !w.sent && w.send(nil, false) != nil {
		return
	}
	block := http2.NewBlock()
	defer block.Free()
	putHeader(block, trailer)
	_ = w.stream.Send(block.Bytes(), nil, true) // the client may be gone
}

// putHeader puts a header into a block, but for what HTTP/2 does not have.
func putHeader(block *http2.Block, header http.Header) {
	for _, key := range slices.Sorted(maps.Keys(header)) {
		if strings.HasPrefix(key, http.TrailerPrefix) {
			continue
		}
		for _, value := range header[key] {
			if f, ok := http1.NewField(octets(key), octets(value)); ok && !f.OfConnection() {
				block.Fold(f.Name, f.Value)
			}
		}
	}
}
