package proxy

import (
	"errors"
	"io"

	"github.com/kedahttp/kedahttp/interceptor/http1"
	"github.com/kedahttp/kedahttp/interceptor/http2"
)

// delivery is a response on its way from a link to a stream.
type delivery struct {
	*asking
	link *link
	// way is how its header is sent, nil when that was done.
	way *http1.Way
	// skip is how much of what was read of the link is done with.
	skip int
}

// part passes a part of the body on.
func (d *delivery) part(p []byte, end bool) (err error) {
	if d.way != nil {
		way := d.way
		d.way = nil
		err = d.sendHead(way, p, end)
	} else if len(p) > 0 || end {
		err = d.stream.Send(nil, p, end)
	}
	d.story.out += int64(len(p))
	if err != nil {
		return errClientGone
	}
	return nil
}

// more waits for more of the body.
func (d *delivery) more() error {
	d.link.in.drop(d.skip)
	d.skip = 0
	return d.link.fill(&d.link.in)
}

// sized passes on as much as was announced.
func (d *delivery) sized() error {
	left := d.response.Length
	for {
		p := d.link.in.b[d.skip:]
		p = p[:min(int64(len(p)), left)]
		left -= int64(len(p))
		d.skip += len(p)
		if d.way != nil || len(p) > 0 {
			if err := d.part(p, left == 0); err != nil {
				return err
			}
		}
		if left == 0 {
			d.link.in.drop(d.skip)
			return nil
		}
		if d.more() != nil {
			return errBroken
		}
	}
}

// rest passes on what comes until the connection ends.
func (d *delivery) rest() error {
	for {
		if err := d.part(d.link.in.b[d.skip:], false); err != nil {
			return err
		}
		d.skip = len(d.link.in.b)
		switch err := d.more(); {
		case errors.Is(err, io.EOF):
			return d.part(nil, true)
		case err != nil:
			return errBroken
		}
	}
}

// chunks passes on what is in the chunks, and the trailers behind.
func (d *delivery) chunks() error {
	chunks := http1.Chunks{Lenient: true}
	var ready []byte // data that is not sent yet: with the last of it goes the end
	for {
		data, n, done, err := chunks.Next(d.link.in.b[d.skip:])
		if err != nil {
			return err
		}
		if len(data) > 0 && len(ready) > 0 {
			if err := d.part(ready, false); err != nil {
				return err
			}
			ready = nil
		}
		if d.skip += n; len(data) > 0 {
			ready = data
		}
		switch {
		case done:
			err = d.trailers(&chunks, ready)
			d.link.in.drop(d.skip)
			return err
		case d.skip < len(d.link.in.b):
			continue
		}
		if d.way != nil || len(ready) > 0 {
			if err := d.part(ready, false); err != nil {
				return err
			}
			ready = nil
		}
		if d.more() != nil {
			return errBroken
		}
	}
}

func (d *delivery) trailers(chunks *http1.Chunks, ready []byte) error {
	block := http2.NewBlock()
	defer block.Free()
	chunks.Trailers(block.Fold)
	if len(block.Bytes()) == 0 {
		return d.part(ready, true)
	}
	if err := d.part(ready, false); err != nil {
		return err
	}
	if d.stream.Send(block.Bytes(), nil, true) != nil {
		return errClientGone
	}
	return nil
}
