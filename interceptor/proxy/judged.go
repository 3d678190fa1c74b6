package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedahttp/kedahttp/interceptor/http1"
)

// judged is a client's connection that net/http has. It is as strict as the connections on which requests are answered in place: each
// head is read here first, and each chunk, and what net/http could understand in another way than whoever reads it next never gets there.
type judged struct {
	net.Conn
	// b is what was read and not given: its first bytes that are ready may be, and one of the head behind them was already.
	b            []byte
	ready, given int
	// tried is how much of b is known to be a part of a head.
	tried int
	// request is the one whose head was read last, left how much there is to come of its body, and inChunks says that it comes in chunks.
	request  http1.Request
	left     int64
	inChunks bool
	chunks   http1.Chunks
	// err is that of reads, once all that is ready was given.
	err error
	// malformed is why the last head was not given, or the rest of a body.
	malformed atomic.Pointer[http1.Malformed]
	// free says that what comes is not HTTP any more.
	free atomic.Bool
	// headFor is how long a head may take from its first bytes on, if there is a limit.
	headFor time.Duration

	// passed is the first request, if somebody else had that before.
	passed atomic.Pointer[passed]

	// forget ends the watch for the client's departure, if there is one.
	forget func()
	mu     sync.Mutex
	// deadline is net/http's for reading, and headBy that of the head that is being read, if one is.
	deadline, headBy time.Time
	// departed says that the client has left, and leaves is told when it does.
	departed bool
	leaves   func()
}

// unreadable is given in place of a head that was not understood: net/http asks for it to be answered when its turn has come. Its
// method may begin with the first byte of the other head, if that was given.
const unreadable = "-unreadable / HTTP/1.1\r\nHost: -\r\nConnection: close\r\n\r\n"

// malformedOn is why a request stands for one that was not understood, if it does.
func malformedOn(ctx context.Context, method string) *http1.Malformed {
	if j, ok := ctx.Value(connKey{}).(*judged); ok && strings.HasSuffix(method, "-unreadable") {
		return j.malformed.Load()
	}
	return nil
}

// badBodyOn reports whether a request ended with a body that was not understood.
func badBodyOn(ctx context.Context) bool {
	j, ok := ctx.Value(connKey{}).(*judged)
	return ok && j.malformed.Load() == errChunks
}

// Read implements io.Reader.
func (j *judged) Read(p []byte) (int, error) {
	for {
		switch {
		case j.free.Load():
			j.limit(time.Time{})
			j.b, j.given = j.b[j.given:], 0
			if j.ready = len(j.b); j.ready == 0 {
				return j.Conn.Read(p)
			}
		case j.ready == 0 && len(j.b) > 0 && j.given == 0 && j.begins() && len(p) == 1:
			j.given = copy(p, j.b)
			return j.given, nil
		case j.ready == 0 && len(j.b) > j.given:
			j.judge()
		}
		switch {
		case j.ready > 0:
			return j.give(p), nil
		case j.err != nil:
			return 0, j.err
		}
		if n, err := j.more(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// begins reports whether what comes next is a head. While a client waits for an answer, net/http reads one byte of the next one to find
// out whether the client is still there: the rest may be long in coming, and be no head if the answer changes the protocol.
func (j *judged) begins() bool { return j.left == 0 && !j.inChunks }

// give gives of what is ready.
func (j *judged) give(p []byte) int {
	n := copy(p, j.b[:j.ready])
	j.ready -= n
	if j.b = j.b[n:]; len(j.b) == 0 {
		j.b = nil
	}
	return n
}

// more reads more. What need not be kept is given at once.
func (j *judged) more(p []byte) (int, error) {
	switch {
	case j.left > 0:
		n, err := j.Conn.Read(p[:min(int64(len(p)), j.left)])
		j.left -= int64(n)
		return n, err
	case len(j.b) == 0 && j.begins() && len(p) == 1:
		n, err := j.Conn.Read(p)
		j.b, j.given = append(j.b, p[:n]...), n
		return n, err
	}
	if j.headFor > 0 && j.begins() && len(j.b) > 0 {
		j.limit(time.Now().Add(j.headFor))
	}
	n, err := j.Conn.Read(p)
	j.b = append(j.b, p[:n]...)
	if n > 0 {
		err = nil // it comes again
	}
	return 0, err
}

// judge finds out how much of what was read may be given.
func (j *judged) judge() {
	switch {
	case j.left > 0:
		j.ready = int(min(int64(len(j.b)), j.left))
		j.left -= int64(j.ready)
	case j.inChunks:
		n, done, err := j.chunks.Scan(j.b)
		j.ready, j.inChunks = n, !done
		if err != nil {
			j.malformed.Store(errChunks)
			j.err = errChunks
		}
	case j.tried == 0 || http1.Ends(j.b, j.tried):
		j.head()
	default:
		j.wait()
	}
}

// head judges the head of a request.
func (j *judged) head() {
	n, err := j.request.Parse(j.b)
	if err == nil && n > 0 && string(j.request.Method) == "PRI" {
		err = errPreface
	}
	var bad *http1.Malformed
	switch {
	case errors.As(err, &bad):
		j.malformed.Store(bad)
		j.b = append(j.b[:j.given], unreadable...)
		j.release(len(j.b))
		j.err = io.EOF
	case n > 0:
		j.left, j.inChunks, j.chunks = j.request.Length, j.request.Chunked, http1.Chunks{}
		j.request.Fields = j.request.Fields[:0]
		j.release(n)
	default:
		j.wait()
	}
}

// release has the first n bytes given, but for what was.
func (j *judged) release(n int) {
	j.b, j.ready = j.b[j.given:], n-j.given
	j.given, j.tried = 0, 0
	j.limit(time.Time{})
}

// wait has more of a head read, unless net/http takes none that is so long.
func (j *judged) wait() {
	if j.tried = len(j.b); j.tried > http.DefaultMaxHeaderBytes+maxSlop {
		j.free.Store(true)
	}
}

// maxSlop is more than net/http reads beyond what it takes.
const maxSlop = 16 << 10

var errPreface = &http1.Malformed{Status: http.StatusBadRequest, Message: "HTTP/2 begins where a connection does"}

// limit has the head that is being read be there at some time, unless that is said already; at none when there is no head.
func (j *judged) limit(by time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.headBy.IsZero() != by.IsZero() {
		j.headBy = by
		_ = j.setReadDeadline() // the next read fails
	}
}

// setReadDeadline sets whichever comes first. The lock is held.
func (j *judged) setReadDeadline() error {
	by := j.deadline
	if !j.headBy.IsZero() && (by.IsZero() || j.headBy.Before(by)) {
		by = j.headBy
	}
	return j.Conn.SetReadDeadline(by)
}

// SetReadDeadline implements net.Conn.
func (j *judged) SetReadDeadline(t time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.deadline = t
	return j.setReadDeadline()
}

// SetDeadline implements net.Conn.
func (j *judged) SetDeadline(t time.Time) error {
	return errors.Join(j.SetReadDeadline(t), j.SetWriteDeadline(t))
}

// hasLeft is told that the client has left.
func (j *judged) hasLeft() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.departed = true
	if j.leaves != nil {
		j.leaves()
	}
}

// watch has leaves called when the client leaves, at once if it has, until the watch is ended. It must not wait.
func (j *judged) watch(leaves func()) (end func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.leaves = leaves; j.departed {
		leaves()
	}
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.leaves = nil
	}
}

// Close implements io.Closer.
func (j *judged) Close() error {
	if j.forget != nil {
		j.forget()
	}
	j.passed.Swap(nil).drop()
	return j.Conn.Close()
}

// NetConn is the connection itself.
func (j *judged) NetConn() net.Conn { return j.Conn }

// ReadFrom lets bytes go from one socket to another without passing through here.
func (j *judged) ReadFrom(r io.Reader) (int64, error) { return io.Copy(j.Conn, r) }

// CloseWrite says that no more is sent.
func (j *judged) CloseWrite() error { return closeWrite(j.Conn) }
