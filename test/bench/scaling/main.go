// Command scaling measures how fast apps wake and grow on a real cluster with KEDA: see make bench-scaling. Nothing else should
// happen in the cluster meanwhile.
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
	flag.IntVar(&b.rounds, "rounds", 20, "How many cold starts are measured.")
	only := flag.String("only", "", "Measure only the steps whose names match this regular expression.")
	out := flag.String("out", "bin/bench/scaling.jsonl", "Where the figures go.")
	limit := flag.Duration("limit", 20*time.Minute, "How long it may take.")
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
		report.Step{Name: "cold start", Run: b.coldStarts},
		report.Step{Name: "many cold starts", Run: b.manyColdStarts},
		report.Step{Name: "push", Run: b.push},
		report.Step{Name: "burst", Run: b.bursts},
	)
}
