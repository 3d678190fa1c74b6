package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const manyConnections = 10_000

// memory measures what an interceptor has in memory when nothing goes on, and what connections and held requests add to it.
// Each is of a process of its own, as what was in memory once is given back late.
func (b *bench) memory(ctx context.Context) error {
	idle, err := b.fresh(ctx, b.startOurs, func(p *process) (float64, error) { return p.rss() })
	if err != nil {
		return err
	}
	if err := b.report.AtMost(1, "memory of an idle interceptor", "MB", idle/1e6, goal, 30); err != nil {
		return err
	}
	connection := map[string]float64{}
	for _, s := range []struct {
		name  string
		start func(context.Context) (*process, error)
	}{{ours, b.startOurs}, {nginx, b.startNginx}, {haproxy, b.startHAProxy}, {reverseProxy, b.startReverseProxy}} {
		if connection[s.name], err = b.fresh(ctx, s.start, func(p *process) (float64, error) { return perConnection(ctx, p) }); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for _, r := range b.references()[1:] {
		if err := b.report.AtMost(0, "memory of an idle connection, 10,000", "kB", connection[ours]/1e3, r.name, connection[r.name]/1e3); err != nil {
			return err
		}
	}
	held, err := b.fresh(ctx, b.startOurs, func(p *process) (float64, error) { return b.perHeld(ctx, p) })
	if err != nil {
		return err
	}
	return b.report.AtMost(1, "memory of a held request, 10,000", "kB", held/1e3, goal, 10)
}

// fresh measures a process that has only just been started and has settled.
func (b *bench) fresh(ctx context.Context, start func(context.Context) (*process, error), measure func(*process) (float64, error)) (float64, error) {
	p, err := start(ctx)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if err := settled(ctx, p); err != nil {
		return 0, err
	}
	return measure(p)
}

// settled waits until a process has as much in memory as a second ago.
func settled(ctx context.Context, p *process) error {
	before := 0.0
	for {
		now, err := p.rss()
		if err != nil {
			return err
		}
		if now == before {
			return nil
		}
		before = now
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// grown is how much more a process has in memory for each of so many connections, on which something was done.
func grown(ctx context.Context, p *process, connections int, use func(*client) error, used func() error) (float64, error) {
	before, err := p.rss()
	if err != nil {
		return 0, err
	}
	all := make([]*client, 0, connections)
	defer func() {
		for _, c := range all {
			_ = c.conn.Close()
		}
	}()
	for range connections {
		c, err := dial(p.address)
		if err != nil {
			return 0, err
		}
		all = append(all, c)
		if err := use(c); err != nil {
			return 0, err
		}
	}
	if err := used(); err != nil {
		return 0, err
	}
	after, err := p.rss()
	return (after - before) / float64(connections), err
}

// perConnection is for connections that were used once.
func perConnection(ctx context.Context, p *process) (float64, error) {
	return grown(ctx, p, manyConnections, func(c *client) error { return c.get(host(0)) }, func() error { return nil })
}

// perHeld is for requests that wait for a pod, their connections included.
func (b *bench) perHeld(ctx context.Context, p *process) (float64, error) {
	const app, name = "asleep", "asleep.example.com"
	if err := b.cluster.setApp(app, name, v1alpha1.ProtocolHTTP1); err != nil {
		return 0, err
	}
	if err := eventually(ctx, func() error {
		_, err := pending(p, app)
		return err
	}); err != nil {
		return 0, err
	}
	what := request(name)
	return grown(ctx, p, manyConnections, func(c *client) error { return c.send(what) }, func() error {
		return eventually(ctx, func() error {
			n, err := pending(p, app)
			if err == nil && n != manyConnections {
				err = fmt.Errorf("%d requests are held", n)
			}
			return err
		})
	})
}

// pending is how many requests of an app an interceptor's metrics say that it holds.
func pending(p *process, app string) (int, error) {
	res, err := http.Get(p.admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), "} ")
		if strings.HasPrefix(series, "kedahttp_interceptor_pending_requests{") && strings.Contains(series, fmt.Sprintf("app=%q", app)) {
			return strconv.Atoi(value)
		}
	}
	return 0, errors.Join(lines.Err(), fmt.Errorf("the metrics do not tell of app %s", app))
}
