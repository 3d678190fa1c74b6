package main

import (
	"context"
	"fmt"
	"time"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/test/bench/report"
)

const manyApps = 10_000

// manyRoutes starts an interceptor that routes to many apps.
func (b *bench) manyRoutes(ctx context.Context) (*process, *cluster, error) {
	c, err := newCluster()
	if err != nil {
		return nil, nil, err
	}
	if err := c.setApps(manyApps, b.backend.address); err != nil {
		c.close()
		return nil, nil, err
	}
	p, err := startInterceptor(ctx, b.interceptor, b.dir, c)
	if err != nil {
		c.close()
		return nil, nil, err
	}
	p.name = manyName
	return p, c, nil
}

const manyName = "kedahttp with 10,000 apps"

// apps measures what it costs to route to many, and how soon a change of one of them counts.
func (b *bench) apps(ctx context.Context) error {
	many, c, err := b.manyRoutes(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	defer many.stop()
	one := b.subject(ours)
	all, err := alternate(ctx, b.rounds, []*process{one, many}, func(ctx context.Context, p *process) (load, error) {
		return b.wrk(ctx, p, 32, b.seconds, small, 0)
	})
	if err != nil {
		return err
	}
	rate := func(l load) float64 { return l.requests }
	if err := b.report.AtLeast(.95, "requests, 10,000 apps", "1/s", median(all[manyName], rate), "one app", median(all[ours], rate)); err != nil {
		return err
	}
	return b.routeChanges(ctx, many, c)
}

// routeChanges gives one app another host, again and again, and measures how long it takes from the event of the watch until
// a request for the new host reaches the app, and what that does to the requests of another app meanwhile.
func (b *bench) routeChanges(ctx context.Context, p *process, c *cluster) error {
	const rate, changes, longest = 1000, 100, 15 * time.Second
	calm, err := openLoop(ctx, p.address, host(0), rate, 5*time.Second)
	if err != nil {
		return err
	}
	asker, err := dial(p.address)
	if err != nil {
		return err
	}
	defer asker.conn.Close() //nolint:errcheck // read to its end

	type result struct {
		times report.Times
		err   error
	}
	loaded, cancel := context.WithCancel(ctx)
	defer cancel()
	others := make(chan result, 1)
	go func() {
		times, err := openLoop(loaded, p.address, host(0), rate, 5*time.Second)
		others <- result{times, err}
	}()
	var routed report.Times
	started := time.Now()
	for n := 0; n < changes && time.Since(started) < longest; n++ {
		name := fmt.Sprintf("moved-%d.example.com", n)
		changed := time.Now()
		if err := c.setApp(appName(manyApps/2), name, v1alpha1.ProtocolHTTP1); err != nil {
			return err
		}
		for {
			status, err := asker.ask(name)
			if err != nil {
				return err
			}
			if status == "200" {
				break
			}
			if time.Since(changed) > patience {
				return fmt.Errorf("an app's new host is not routed to it after %v", patience)
			}
		}
		routed = append(routed, time.Since(changed))
		// As changes come: not as fast as they are taken.
		select {
		case <-time.After(40 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	other := <-others
	if other.err != nil {
		return other.err
	}
	for _, q := range []struct {
		name  string
		share float64
	}{{"p50", .5}, {"p99", .99}} {
		if err := b.report.AtMost(1, "change of a route among 10,000 until a request follows it, "+q.name, "ms", routed.Quantile(q.share), goal, 1); err != nil {
			return err
		}
	}
	for _, q := range []struct {
		name  string
		share float64
	}{{"p99", .99}, {"longest", 1}} {
		if err := b.report.AtMost(0, "latency at 1000/s while routes change, "+q.name, "ms", other.times.Quantile(q.share), "no changes", calm.Quantile(q.share)); err != nil {
			return err
		}
	}
	return nil
}
