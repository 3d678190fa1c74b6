package main

import (
	"context"
	"fmt"
)

// bodies measures answers and requests with bodies, over as many connections as keep both processors busy.
func (b *bench) bodies(ctx context.Context) error {
	const connections = 32
	seconds := max(1, b.seconds/2) // of a throughput there is enough to see in half the time
	for _, size := range []struct {
		name  string
		bytes int
	}{{"1 kB", 1 << 10}, {"100 kB", 100 << 10}, {"10 MB", 10 << 20}} {
		for _, way := range []string{"download", "upload"} {
			all, err := alternate(ctx, b.rounds, b.subjects, func(ctx context.Context, p *process) (load, error) {
				if way == "upload" {
					return b.wrk(ctx, p, connections, seconds, small, size.bytes)
				}
				return b.wrk(ctx, p, connections, seconds, fmt.Sprintf("/%d", size.bytes), 0)
			})
			if err != nil {
				return fmt.Errorf("%s of %s: %w", way, size.name, err)
			}
			// Large answers are counted as they come: of some, a measurement sees only a part.
			rate := func(l load) float64 {
				if way == "download" && size.bytes > 1<<10 {
					return l.read / 1e6
				}
				return l.requests * float64(size.bytes) / 1e6
			}
			name := fmt.Sprintf("%s, bodies of %s", way, size.name)
			for _, r := range b.references() {
				if err := b.report.AtLeast(asNginx[r.name], name, "MB/s", median(all[ours], rate), r.name, median(all[r.name], rate)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// asNginx is what ours must reach of the references where nothing else was promised.
var asNginx = map[string]float64{nginx: 1}
