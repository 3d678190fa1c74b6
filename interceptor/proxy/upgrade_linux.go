package proxy

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// talk is what a connection carries that was upgraded: whatever both sides say, in a protocol of their own.
type talk struct {
	link *link
	// up is what the client says, and down what the pod says.
	up, down voice
}

// upgrade passes on that the pod changes the protocol, in the first n bytes of what was read of the link.
func (c *client) upgrade(l *link, n int, out *block) error {
	if c.request.Upgrade == nil || !bytes.EqualFold(c.response.Upgrade, c.request.Upgrade) {
		return errUpgrade
	}
	if err := c.timeouts.begin(); err != nil {
		return err
	}
	c.keep = false
	head := c.responds(out)
	l.in.drop(n)
	t := &talk{link: l}
	t.up.init(&c.socket, &l.socket)
	t.down.init(&l.socket, &c.socket)
	// What came behind the head belongs to the other protocol. The head is for the access log.
	t.up.in.b = append(t.up.in.b, c.in.b[c.end:]...)
	c.in.b = c.in.b[:c.end]
	t.down.in, l.in = l.in, input{}
	// From here on the client may have said all and still listen, also when it says so as soon as it hears of the change.
	c.mu.Lock()
	c.talk = t
	cause := c.cause
	c.mu.Unlock()
	if cause != nil {
		return cause
	}
	if err := c.write(head); err != nil {
		return errClientGone
	}
	return nil
}

// run passes on what both say until each has said all, or one of them has left. Its error is why it had to end before.
func (t *talk) run(c *client) error {
	// The server does not wait for it any more, but whoever drains does, for as long as it counts.
	defer c.server.upgrade(c)()
	open := &c.server.handler.config.Metrics.connections.upgraded
	open.Add(1)
	defer open.Add(-1)
	c.pod.Succeeded()
	c.settle()
	defer c.resume()
	if forget, err := c.server.departures.add(&t.link.socket, t.down.end); err == nil {
		defer forget()
	} else {
		t.down.patient = true
	}
	down := make(chan struct{})
	go func() {
		defer close(down)
		t.pass(&t.down, c)
	}()
	t.pass(&t.up, c)
	<-down
	c.story.in, c.story.out = t.up.bytes, t.down.bytes
	return c.aborted()
}

// pass passes on what one says. When that breaks there is nobody to talk to for the other.
func (t *talk) pass(v *voice, c *client) {
	if v.run() != nil {
		_ = c.conn.SetDeadline(past)
		t.link.interrupt()
	}
}

// voice is what comes on one connection and goes on the other.
type voice struct {
	from, to *socket
	in       input
	bytes    int64
	// silent says that the other end will say no more.
	silent atomic.Bool
	// patient ones look whether there is more before they wait for it. It costs a call each time, and nobody has to tell them of the end.
	patient bool
	err     error
}

func (v *voice) init(from, to *socket) { v.from, v.to, v.patient = from, to, from.tls != nil }

// end is told that the other end will say no more: what it has said may have come together with its end, and been all that was
// looked at.
func (v *voice) end() {
	if v.from.tls == nil && !v.silent.Swap(true) {
		_ = v.from.conn.SetReadDeadline(past)
	}
}

// run passes on until there is no more to come, and says so then.
func (v *voice) run() error {
	defer v.in.free()
	if err := v.flush(); err != nil {
		return err
	}
	if !v.patient {
		err := errors.Join(v.from.raw.Read(v.onReadable), v.err)
		switch {
		case errors.Is(err, io.EOF):
			return v.to.closeWrite()
		case !errors.Is(err, os.ErrDeadlineExceeded) || !v.silent.Load():
			return err
		case v.from.conn.SetReadDeadline(time.Time{}) != nil:
			return err
		}
		// All that is to come has come.
	}
	for {
		switch err := v.from.fill(&v.in); {
		case errors.Is(err, io.EOF):
			return v.to.closeWrite()
		case err != nil:
			return err
		}
		if err := v.flush(); err != nil {
			return err
		}
	}
}

// onReadable passes on what there is, and waits for more once there was less than could have been read.
func (v *voice) onReadable(fd uintptr) bool {
	for {
		room := v.in.room()
		n, err := call(unix.SYS_READ, fd, room)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			v.in.free()
			return false
		case err != 0:
			v.err = err
			return true
		case n == 0:
			v.err = io.EOF
			return true
		}
		v.in.b = v.in.b[:n]
		if v.err = v.flush(); v.err != nil {
			return true
		}
		if n < len(room) {
			return false
		}
	}
}

// flush passes on what was read.
func (v *voice) flush() error {
	if len(v.in.b) == 0 {
		return nil
	}
	v.bytes += int64(len(v.in.b))
	err := v.to.write(v.in.b)
	v.in.free()
	return err
}
