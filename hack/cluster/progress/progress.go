// Package progress tells whoever waits at a terminal what is going on.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Interval is how often a step that is still running says so.
const Interval = 10 * time.Second

// Reporter writes one line per step, and one more every Interval while the step takes its time.
type Reporter struct {
	mu  sync.Mutex
	out io.Writer
}

// To returns a Reporter that writes to out.
func To(out io.Writer) *Reporter { return &Reporter{out: out} }

// Printf writes one line.
func (r *Reporter) Printf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, format+"\n", args...)
}

// Step runs f and reports its end; a step that outlives Interval is also reported while it runs.
func (r *Reporter) Step(name string, f func() error) error {
	begin := time.Now()
	done := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		tick := time.NewTicker(Interval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				r.Printf("  %s … %s", name, time.Since(begin).Round(time.Second))
			}
		}
	})
	err := f()
	close(done)
	ticking.Wait()
	if err != nil {
		r.Printf("✗ %s (%s)", name, Elapsed(begin))
		return err
	}
	r.Printf("✓ %s (%s)", name, Elapsed(begin))
	return nil
}

// Elapsed is the time since begin as a person would say it.
func Elapsed(begin time.Time) time.Duration {
	d := time.Since(begin)
	if d < time.Minute {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
