package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/test/bench/report"
)

const (
	// writers is how many clients write at the same time where throughput is measured.
	writers = 8
	// asTable is what kubectl get asks for.
	asTable = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
)

// create makes the apps of both kinds in slices that take turns, so that both find the same cluster. The last of them is
// measured at every size that lists are measured at.
func (b *bench) create(ctx context.Context) error {
	made := 0
	spent := map[kind]time.Duration{}
	for _, size := range []int{100, 1000, b.apps} {
		if size > b.apps {
			continue
		}
		for made < size {
			until := min(made+250, size)
			err := b.spend(ctx, spent, made, until, func(k kind, n int) error {
				return b.raw.Post().AbsPath(k.path("")).Body(app(k, n)).Do(ctx).Error()
			})
			if err != nil {
				return err
			}
			made = until
		}
		if err := b.list(ctx, size); err != nil {
			return err
		}
	}
	return b.throughput("create, 8 clients", spent, made)
}

// spend does something for each number from first to last with both kinds, and takes the way to ours as often, and adds up the time.
func (b *bench) spend(ctx context.Context, spent map[kind]time.Duration, first, last int, do func(k kind, n int) error) error {
	for _, k := range slices.Concat(both, []kind{hop}) {
		took, err := timed(func() error {
			return concurrently(ctx, first, last, func(n int) error {
				if k == hop {
					return b.hop(ctx)
				}
				return do(k, n)
			})
		})
		if err != nil {
			return err
		}
		spent[k] += took
	}
	return nil
}

// throughput reports the time that each of n took, and the least that it could have taken.
func (b *bench) throughput(name string, spent map[kind]time.Duration, n int) error {
	each := func(k kind) float64 { return float64(spent[k]) / float64(time.Millisecond) / float64(n) }
	if err := b.report.AtMost(2, name, "ms each", each(ours), crd, each(plain)); err != nil {
		return err
	}
	return b.leastReported(name, "ms each", each(hop), each(plain))
}

// concurrently does something for each number from first to last, by some clients at a time.
func concurrently(ctx context.Context, first, last int, do func(n int) error) error {
	var next atomic.Int64
	next.Store(int64(first))
	var wg sync.WaitGroup
	var failure atomic.Pointer[error]
	for range writers {
		wg.Go(func() {
			for failure.Load() == nil && ctx.Err() == nil {
				n := int(next.Add(1) - 1)
				if n >= last {
					return
				}
				if err := do(n); err != nil {
					failure.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failure.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// list measures lists of all apps there are, as JSON and as the table that kubectl prints.
func (b *bench) list(ctx context.Context, size int) error {
	rounds := max(5, min(40, 20_000/size))
	for _, form := range []struct{ name, accept string }{{"JSON", "application/json"}, {"table", asTable}} {
		times, err := b.alternate(ctx, rounds, func(k kind) error { return b.get(ctx, k.path(""), form.accept) })
		if err != nil {
			return err
		}
		goal := 0.0
		if size == b.apps {
			goal = 1.5
		}
		name := fmt.Sprintf("LIST of %d, %s, median", size, form.name)
		if err := b.report.AtMost(goal, name, "ms", times[ours].Quantile(.5), crd, times[plain].Quantile(.5)); err != nil {
			return err
		}
	}
	return nil
}

// alternate does something with both kinds, and others, in turn.
func (b *bench) alternate(ctx context.Context, rounds int, do func(kind) error, others ...kind) (map[kind]report.Times, error) {
	times := map[kind]report.Times{}
	for round := range rounds + 2 {
		for _, k := range slices.Concat(both, others) {
			took, err := timed(func() error { return do(k) })
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.plural, err)
			}
			if round >= 2 { // the first ones warm up
				times[k] = append(times[k], took)
			}
		}
	}
	return times, ctx.Err()
}

// both50and99 reports the median and the 99th percentile.
func (b *bench) both50and99(goal float64, name string, times map[kind]report.Times) error {
	if err := b.report.AtMost(goal, name+", median", "ms", times[ours].Quantile(.5), crd, times[plain].Quantile(.5)); err != nil {
		return err
	}
	return b.report.AtMost(0, name+", p99", "ms", times[ours].Quantile(.99), crd, times[plain].Quantile(.99))
}

// leastReported says what a request takes at the very least, whatever our server is like: the way to it through the aggregator,
// and the same request to the host, in which everything is kept.
func (b *bench) leastReported(name, unit string, way, host float64) error {
	if err := b.report.AtMost(0, name+": the way through the aggregator alone", unit, way, crd, host); err != nil {
		return err
	}
	return b.report.AtMost(0, name+": that way and the same of the host", unit, way+host, crd, host)
}

func (b *bench) read(ctx context.Context) error {
	n := 0
	times, err := b.alternate(ctx, 2000, func(k kind) error {
		if k == hop {
			return b.hop(ctx)
		}
		n++
		return b.get(ctx, k.path(appName(n*7919%b.apps)), "application/json")
	}, hop)
	if err != nil {
		return err
	}
	if err := b.both50and99(2, "GET", times); err != nil {
		return err
	}
	if err := b.leastReported("GET, median", "ms", times[hop].Quantile(.5), times[plain].Quantile(.5)); err != nil {
		return err
	}
	times, err = b.alternate(ctx, 100, func(k kind) error {
		return b.get(ctx, k.path(""), "application/json", "limit", "500")
	})
	if err != nil {
		return err
	}
	return b.both50and99(0, "LIST of a page of 500", times)
}

func (b *bench) update(ctx context.Context) error {
	n := 0
	times, err := b.alternate(ctx, 500, func(k kind) error {
		if k == hop {
			return b.hop(ctx)
		}
		n++
		return b.touch(ctx, k, n%b.apps, n)
	}, hop)
	if err != nil {
		return err
	}
	if err := b.both50and99(2, "update", times); err != nil {
		return err
	}
	if err := b.leastReported("update, median", "ms", times[hop].Quantile(.5), times[plain].Quantile(.5)); err != nil {
		return err
	}
	spent := map[kind]time.Duration{}
	const each, slices = 250, 8
	for slice := range slices {
		err := b.spend(ctx, spent, slice*each, (slice+1)*each, func(k kind, n int) error { return b.touch(ctx, k, n%b.apps, slice) })
		if err != nil {
			return err
		}
	}
	return b.throughput("update, 8 clients", spent, each*slices)
}

// hop reads something that our server has at hand, which takes the way to it through the aggregator and nothing else.
func (b *bench) hop(ctx context.Context) error {
	return b.get(ctx, "/apis/"+ours.version.String(), "application/json")
}

// touch changes a label.
func (b *bench) touch(ctx context.Context, k kind, n, value int) error {
	patch := fmt.Sprintf(`{"metadata":{"labels":{"touched":"%d"}}}`, value)
	return b.raw.Patch(types.MergePatchType).AbsPath(k.path(appName(n))).Body([]byte(patch)).Do(ctx).Error()
}
