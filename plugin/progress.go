package plugin

import (
	"fmt"
	"io"
	"time"
)

// progress tells what happens, on change only, with the time since the start.
type progress struct {
	out     io.Writer
	started time.Time
	now     func() time.Time
	last    string
}

func (s *session) newProgress() *progress {
	return &progress{out: s.ErrOut, started: s.now(), now: s.now}
}

func (p *progress) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if line == p.last {
		return
	}
	p.last = line
	fmt.Fprintf(p.out, "%5.1fs  %s\n", p.now().Sub(p.started).Seconds(), line)
}
