package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/kedahttp/kedahttp/test/bench/report"
)

// What the subjects are called in the figures.
const (
	direct       = "the backend alone"
	nginx        = "nginx"
	haproxy      = "haproxy"
	reverseProxy = "httputil.ReverseProxy"
	ours         = "kedahttp"
	goal         = "the goal"
)

type bench struct {
	interceptor string
	rounds      int
	seconds     int
	profile     string
	// connections are the numbers of them that throughput is measured at.
	connections []int

	report  *report.Report
	dir     string
	cluster *cluster
	backend *process
	// grpcBackend is the only one that speaks HTTP/2.
	grpcBackend *process
	// subjects are all ways to the backend; ours is the last.
	subjects []*process
}

// references are what ours is compared with.
func (b *bench) references() []*process { return b.subjects[:len(b.subjects)-1] }

func (b *bench) subject(name string) *process {
	return b.subjects[slices.IndexFunc(b.subjects, func(p *process) bool { return p.name == name })]
}

// prepare starts the backend and everything that forwards to it.
func (b *bench) prepare(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "bench-proxy-"); err != nil {
		return err
	}
	if b.backend, err = startRole(ctx, direct, "backend"); err != nil {
		return err
	}
	b.subjects = append(b.subjects, b.backend)
	if b.grpcBackend, err = startRole(ctx, "the backend of gRPC", "grpcbackend"); err != nil {
		return err
	}
	b.cluster, err = newCluster()
	if err != nil {
		return err
	}
	if err := b.cluster.setApps(1, b.backend.address); err != nil {
		return err
	}
	if err := b.secureApp(); err != nil {
		return err
	}
	for _, start := range []func(context.Context) (*process, error){b.startNginx, b.startHAProxy, b.startReverseProxy, b.startOurs} {
		p, err := start(ctx)
		if err != nil {
			return err
		}
		b.subjects = append(b.subjects, p)
	}
	return nil
}

func (b *bench) startReverseProxy(ctx context.Context) (*process, error) {
	p, err := startRole(ctx, reverseProxy, "reverseproxy", b.backend.address)
	if err == nil {
		p.http2 = p.address
	}
	return p, err
}

func (b *bench) startOurs(ctx context.Context) (*process, error) {
	return startInterceptor(ctx, b.interceptor, b.dir, b.cluster)
}

// end stops everything.
func (b *bench) end() {
	for _, p := range append(b.subjects, b.grpcBackend) {
		p.stop()
	}
	if b.cluster != nil {
		b.cluster.close()
	}
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// alternate measures each subject so many times, in turns, so that what else goes on on the machine hits all alike.
func alternate[T any](ctx context.Context, rounds int, subjects []*process, measure func(context.Context, *process) (T, error)) (map[string][]T, error) {
	all := map[string][]T{}
	for range rounds {
		for _, s := range subjects {
			v, err := measure(ctx, s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			all[s.name] = append(all[s.name], v)
		}
	}
	return all, nil
}

// median is that of a quantity of what was measured.
func median[T any, N cmp.Ordered](all []T, of func(T) N) N {
	values := make([]N, 0, len(all))
	for _, v := range all {
		values = append(values, of(v))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
