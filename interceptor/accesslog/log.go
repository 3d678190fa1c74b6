// Package accesslog writes a line of JSON for each request, or for some of them, and keeps no request waiting for it.
package accesslog

import (
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
)

const (
	// most is how many bytes of lines may wait to be written: some thousands.
	most = 1 << 20
	// gather is how long lines are gathered for one write. A write for each would cost as much as a request does.
	gather = 20 * time.Millisecond
	// line is more than nearly all lines have.
	line = 1 << 10
)

// Config is what a Log needs.
type Config struct {
	// To is where lines go. It may be slow: lines for which there is no space are dropped then.
	To io.Writer
	// OneIn is how many requests there is a line for: one in so many, and all that are refused or fail here, or are slow.
	OneIn uint32
	// Slow is from what duration on a request is slow; 0: none is.
	Slow time.Duration
}

// Log is an access log. A nil one wants nothing.
type Log struct {
	config  Config
	dropped atomic.Int64
	wake    chan struct{}

	mu sync.Mutex
	// lines wait to be written, and spare is the memory of those that were.
	lines, spare []byte
}

// New makes a log, which writes while Run runs.
func New(config Config) *Log {
	config.OneIn = max(config.OneIn, 1)
	return &Log{config: config, wake: make(chan struct{}, 1)}
}

// Dropped is how many lines there was no space for.
func (l *Log) Dropped() int64 { return l.dropped.Load() }

// Wants reports whether there is to be a line for a request that was answered with a status, by the interceptor itself for a
// reason if there is one.
func (l *Log) Wants(status int, reason string, took time.Duration) bool {
	switch {
	case l == nil:
		return false
	case l.config.OneIn == 1, reason != "", l.config.Slow > 0 && took >= l.config.Slow:
		return true
	}
	return rand.Uint32N(l.config.OneIn) == 0
}

// Write adds a line, or drops it when there is no space. It does not wait.
func (l *Log) Write(e *Entry) {
	var s [line]byte
	text := e.appendTo(s[:0])
	l.mu.Lock()
	first := len(l.lines) == 0
	fits := len(l.lines)+len(text) <= most
	if fits {
		if l.lines == nil {
			l.lines = make([]byte, 0, most)
		}
		l.lines = append(l.lines, text...)
	}
	l.mu.Unlock()
	switch {
	case !fits:
		l.dropped.Add(1)
	case first:
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Run writes until the context ends, and then what is there.
func (l *Log) Run(ctx context.Context) {
	for failed := false; ; {
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
		select {
		case <-time.After(gather):
		case <-ctx.Done():
		}
		ended := ctx.Err() != nil // lines that come during the write are for another one
		err := l.flush()
		if err != nil && !failed { // requests are answered all the same
			klog.ErrorS(err, "The access log cannot be written")
		}
		failed = err != nil
		if ended {
			return
		}
	}
}

func (l *Log) flush() error {
	l.mu.Lock()
	lines := l.lines
	l.lines, l.spare = l.spare, nil
	l.mu.Unlock()
	var err error
	if len(lines) > 0 {
		_, err = l.config.To.Write(lines)
	}
	l.mu.Lock()
	l.spare = lines[:0]
	l.mu.Unlock()
	return err
}
