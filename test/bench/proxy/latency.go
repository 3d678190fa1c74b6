package main

import (
	"context"
	"fmt"
	"time"

	"github.com/kedahttp/kedahttp/test/bench/report"
)

// finest is what of a difference between two latencies is noise of the generator, in milliseconds: an added latency counts at
// least as much.
const finest = 0.02

// latency measures how long answers take at rates that are far from what anybody's limit is.
func (b *bench) latency(ctx context.Context) error {
	for _, rate := range []int{1000, 5000} {
		all, err := alternate(ctx, b.rounds, b.subjects, func(ctx context.Context, p *process) (report.Times, error) {
			return openLoop(ctx, p.address, host(0), rate, time.Duration(b.seconds)*time.Second)
		})
		if err != nil {
			return fmt.Errorf("%d requests a second: %w", rate, err)
		}
		quantile := func(of string, share float64) float64 {
			return median(all[of], func(t report.Times) float64 { return t.Quantile(share) })
		}
		for _, q := range []struct {
			name  string
			share float64
		}{{"p50", .5}, {"p99", .99}, {"p99.9", .999}} {
			name := fmt.Sprintf("latency at %d/s, %s", rate, q.name)
			for _, r := range b.references() {
				if err := b.report.AtMost(0, name, "ms", quantile(ours, q.share), r.name, quantile(r.name, q.share)); err != nil {
					return err
				}
			}
		}
		added := func(by string) float64 { return max(finest, quantile(by, .99)-quantile(direct, .99)) }
		name := fmt.Sprintf("latency added at %d/s, p99", rate)
		for _, r := range b.references()[1:] {
			if err := b.report.AtMost(mostAdded[r.name], name, "ms", added(ours), r.name, added(r.name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// mostAdded is how much of what the references add to the latency ours may add.
var mostAdded = map[string]float64{nginx: 1.2}
