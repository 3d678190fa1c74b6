// Command apiserver measures the API of HTTPApps against the same objects as a plain CRD on the same kube-apiserver, in one
// run. It takes the cluster for itself: see make bench-apiserver.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/test/bench/report"
)

func main() {
	b := &bench{}
	flag.StringVar(&b.server, "server", "https://172.31.255.1:6443", "The kube-apiserver, as it is reached from the cluster's network namespace.")
	flag.StringVar(&b.interceptor, "interceptor", "172.31.255.1:30080", "The interceptors, as they are reached from there.")
	flag.IntVar(&b.apps, "apps", 10_000, "How many apps there are in the end.")
	flag.IntVar(&b.watchers, "watchers", 1000, "How many watch them.")
	out := flag.String("out", "bin/bench/apiserver.jsonl", "Where the figures go.")
	only := flag.String("only", "", "Measure only the steps whose names match this regular expression; the apps are made all the same.")
	limit := flag.Duration("limit", 25*time.Minute, "How long it may take.")
	flag.Parse()
	klog.SetOutput(os.Stderr)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	if err := run(ctx, b, *out, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, b *bench, out, only string) (err error) {
	b.report, err = report.Create(out)
	if err != nil {
		return err
	}
	defer func() {
		if closed := b.report.Close(); err == nil {
			err = closed
		}
	}()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer b.end()
	return b.report.Measure(ctx, only,
		report.Step{Name: "create", Run: b.create, Always: true},
		report.Step{Name: "read", Run: b.read},
		report.Step{Name: "counts in GET", Run: b.countToGet},
		report.Step{Name: "update", Run: b.update},
		report.Step{Name: "watch", Run: b.watch},
		report.Step{Name: "counts in watches", Run: b.countToLine},
		report.Step{Name: "memory", Run: b.memory},
		report.Step{Name: "restart", Run: b.restart},
	)
}
