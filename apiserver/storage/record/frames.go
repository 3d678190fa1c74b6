package record

import (
	"bufio"
	"bytes"
	"io"

	"k8s.io/apimachinery/pkg/runtime"
)

// lineFramer finds the ends of events where the host writes them: each is a line. The stock one, which it is around, goes through the
// JSON of an event to find its end.
type lineFramer struct{ runtime.Framer }

// NewFrameReader implements runtime.Framer.
func (f lineFramer) NewFrameReader(r io.ReadCloser) io.ReadCloser {
	return &lineReader{Closer: r, in: bufio.NewReaderSize(r, 16<<10), stock: f.Framer.NewFrameReader}
}

type lineReader struct {
	io.Closer
	in *bufio.Reader
	// rest is what has not been read of a line that is.
	rest []byte
	// long is for lines that in has no room for.
	long  []byte
	stock func(io.ReadCloser) io.ReadCloser
	// odd reads on after what is not a line of one object.
	odd io.Reader
}

// Read reads an event, or as much of it as there is room for, with io.ErrShortBuffer.
func (r *lineReader) Read(data []byte) (int, error) {
	if r.odd == nil && len(r.rest) == 0 {
		line, err := r.line()
		if err == nil && whole(bytes.TrimSuffix(line, []byte("\n"))) {
			r.rest = line
		} else {
			var after io.Reader = r.in
			if err != nil {
				after = failing{err}
			}
			r.odd = r.stock(io.NopCloser(io.MultiReader(bytes.NewReader(bytes.Clone(line)), after)))
		}
	}
	if r.odd != nil {
		return r.odd.Read(data)
	}
	n := copy(data, r.rest)
	if r.rest = r.rest[n:]; len(r.rest) > 0 {
		return n, io.ErrShortBuffer
	}
	return n, nil
}

// line reads a line, which is there until the next one is read, or what there is of it before an error.
func (r *lineReader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return line, err
	}
	r.long = append(r.long[:0], line...)
	for err == bufio.ErrBufferFull {
		line, err = r.in.ReadSlice('\n')
		r.long = append(r.long, line...)
	}
	return r.long, err
}

// failing is a reader of nothing.
type failing struct{ error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) { return 0, f.error }
