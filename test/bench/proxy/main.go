// Command proxy measures the interceptor's data path beside nginx, haproxy, a plain httputil.ReverseProxy and the backend
// alone, in one run on loopback: see make bench-proxy. What is measured of ours is the interceptor's binary as it is deployed;
// only the cluster that it reads apps and pods from is of the benchmark's making.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kedahttp/kedahttp/test/bench/report"
)

// roles are what this binary is besides the benchmark: each in a process of its own, so that its CPU time can be told apart.
var roles = map[string]func(args []string) error{"backend": runBackend, "grpcbackend": runGRPCBackend, "socketbackend": runSocketBackend, "reverseproxy": runReverseProxy}

func main() {
	if len(os.Args) > 1 {
		if role := roles[os.Args[1]]; role != nil {
			exit(role(os.Args[2:]))
		}
	}
	b := &bench{connections: []int{8, 32, 128, 512}}
	flag.StringVar(&b.interceptor, "interceptor", "bin/interceptor", "The interceptor's binary.")
	flag.IntVar(&b.rounds, "rounds", 3, "How often each is measured; the median counts.")
	flag.IntVar(&b.seconds, "seconds", 2, "How long each measurement takes.")
	flag.Func("connections", "How many connections throughput is measured at, separated by commas. Default: 8,32,128,512.", func(s string) error {
		b.connections = nil
		for field := range strings.SplitSeq(s, ",") {
			n, err := strconv.Atoi(field)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is not a number of connections", field)
			}
			b.connections = append(b.connections, n)
		}
		return nil
	})
	flag.StringVar(&b.profile, "cpu-profile", "", "Where to write a CPU profile of the interceptor at 32 connections, if anywhere.")
	out := flag.String("out", "bin/bench/proxy.jsonl", "Where the figures go.")
	only := flag.String("only", "", "The steps to do, separated by commas. Default: all.")
	limit := flag.Duration("limit", 10*time.Minute, "How long it may take.")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	exit(run(ctx, b, *out, *only))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type step struct {
	name string
	run  func(context.Context) error
}

func (b *bench) steps() []step {
	return []step{
		{"throughput", b.throughput},
		{"latency", b.latency},
		{"bodies", b.bodies},
		{"http2", b.http2},
		{"streams", b.streams},
		{"tls", b.tls},
		{"apps", b.apps},
		{"memory", b.memory},
	}
}

func run(ctx context.Context, b *bench, out, only string) (err error) {
	steps, err := choose(b.steps(), only)
	if err != nil {
		return err
	}
	b.report, err = report.Create(out)
	if err != nil {
		return err
	}
	defer func() {
		if closed := b.report.Close(); err == nil {
			err = closed
		}
	}()
	defer b.end()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for _, step := range steps {
		fmt.Fprintf(os.Stderr, "%s …\n", step.name)
		started := time.Now()
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s took %v\n", step.name, time.Since(started).Round(time.Second))
	}
	return b.report.Print(os.Stdout)
}

// choose takes the steps that have one of the names, or all.
func choose(all []step, only string) ([]step, error) {
	if only == "" {
		return all, nil
	}
	var chosen []step
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(s step) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("--only: there is no step %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
