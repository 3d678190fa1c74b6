package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// small is what most requests ask for: an answer of 64 bytes.
const small = "/64"

// throughput measures requests with small answers over connections that stay, as many as one at a time on each allows, and what
// each costs.
func (b *bench) throughput(ctx context.Context) error {
	for _, connections := range b.connections {
		all, err := alternate(ctx, b.rounds, b.subjects, func(ctx context.Context, p *process) (load, error) {
			return b.wrk(ctx, p, connections, b.seconds, small, 0)
		})
		if err != nil {
			return fmt.Errorf("%d connections: %w", connections, err)
		}
		rate := func(l load) float64 { return l.requests }
		name := fmt.Sprintf("requests, %d connections", connections)
		for _, r := range b.references() {
			if err := b.report.AtLeast(leastRate[r.name], name, "1/s", median(all[ours], rate), r.name, median(all[r.name], rate)); err != nil {
				return err
			}
		}
		if b.profile != "" && connections == 32 {
			if err := b.writeProfile(ctx, connections); err != nil {
				return err
			}
		}
		cpu := func(l load) float64 { return float64(l.cpu) / float64(time.Microsecond) }
		name = fmt.Sprintf("CPU time of a request, %d connections", connections)
		for _, r := range b.references()[1:] {
			if err := b.report.AtMost(0, name, "µs", median(all[ours], cpu), r.name, median(all[r.name], cpu)); err != nil {
				return err
			}
		}
	}
	return nil
}

// leastRate is what ours must reach of the references' requests per second.
var leastRate = map[string]float64{nginx: 1, reverseProxy: 2.5}

// writeProfile writes where the interceptor's CPU time goes while it has as much to do as it can. It is no part of any figure.
func (b *bench) writeProfile(ctx context.Context, connections int) error {
	p := b.subject(ours)
	profile := make(chan error, 1)
	go func() {
		profile <- func() error {
			res, err := http.Get(fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", p.admin, b.seconds))
			if err != nil {
				return err
			}
			defer res.Body.Close() //nolint:errcheck // only read
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("the interceptor gives no profile: %s", res.Status)
			}
			out, err := os.Create(b.profile)
			if err != nil {
				return err
			}
			_, err = io.Copy(out, res.Body)
			if closed := out.Close(); err == nil {
				err = closed
			}
			return err
		}()
	}()
	if _, err := b.wrk(ctx, p, connections, b.seconds, small, 0); err != nil {
		return err
	}
	return <-profile
}
