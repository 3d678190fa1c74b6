package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strconv"
)

// head is what is needed of the beginning of an HTTP/1.1 message, request or response, to answer it and to find its end. The
// benchmark's own ends of a connection read no more than that, so that what they cost is small beside what is measured.
type head struct {
	// target is the request's, and status the response's code: the second word of the first line.
	target string
	// length is that of the body; -1 is chunked.
	length int64
}

var errLineTooLong = errors.New("a header line is longer than the buffer")

// readHead reads up to the end of the header.
func readHead(r *bufio.Reader) (head, error) {
	h := head{}
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return h, errLineTooLong
		}
		if err != nil {
			return h, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first {
			_, rest, _ := bytes.Cut(line, []byte(" "))
			word, _, _ := bytes.Cut(rest, []byte(" "))
			h.target = string(word)
			continue
		}
		if len(line) == 0 {
			return h, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if h.length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return h, fmt.Errorf("Content-Length %q: %w", value, err)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			h.length = -1
		}
	}
}

// skipBody reads a message's body to its end.
func skipBody(r *bufio.Reader, h head) error {
	if h.length >= 0 {
		_, err := io.CopyN(io.Discard, r, h.length)
		return err
	}
	if _, err := io.Copy(io.Discard, httputil.NewChunkedReader(r)); err != nil {
		return err
	}
	// The trailer, which has at least the empty line.
	for {
		line, err := r.ReadSlice('\n')
		if err != nil || len(bytes.TrimRight(line, "\r\n")) == 0 {
			return err
		}
	}
}
