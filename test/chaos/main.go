// Command chaos breaks one part of a running system after the other, and tells what its users noticed: see make chaos.
//
// A steady load, of whose requests each is accounted for, goes to an app that is awake; another app sleeps and is woken in the middle
// of each fault. The same load goes past kedahttp to a plain Deployment behind a Service: what that loses is the platform's, and the
// rest is ours. The order of the faults and their victims are chosen by a seed, which is printed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/klog/v2"
)

func main() {
	var (
		c     = &cluster{}
		seed  = flag.Uint64("seed", uint64(time.Now().UnixNano())%1_000_000, "What the order of the faults and their victims come from.")
		only  = flag.String("only", "", "Only the faults whose names match this regular expression.")
		out   = flag.String("out", "bin/chaos.jsonl", "Where the outcomes go, as lines of JSON.")
		limit = flag.Duration("limit", 20*time.Minute, "How long it may take.")
	)
	flag.StringVar(&c.program, "cluster", "bin/cluster", "The program of hack/cluster.")
	flag.StringVar(&c.name, "name", os.Getenv("KEDAHTTP_CLUSTER"), "The cluster's name.")
	flag.StringVar(&c.server, "server", "https://172.31.255.1:6443", "The kube-apiserver, as it is reached from the cluster's network namespace.")
	flag.StringVar(&c.node, "node", "172.31.255.1", "The node's address there.")
	flag.StringVar(&c.home, "home", "/proc/1/ns/net", "The machine's own network namespace.")
	flag.Parse()
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	fine, err := run(ctx, c, *seed, *only, *out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	if !fine {
		os.Exit(1)
	}
}

// outcome is what was noticed of a fault.
type outcome struct {
	Fault string `json:"fault"`
	Seed  uint64 `json:"seed"`
	// Requests is how many there were to each; Lost those that were answered with anything but what was asked for.
	Requests int `json:"requests"`
	Lost     int `json:"lost"`
	// PlatformLost is what the same load lost past kedahttp.
	PlatformLost int `json:"platformLost"`
	// Stall and PlatformStall are the longest that one took, in seconds.
	Stall         float64 `json:"stall"`
	PlatformStall float64 `json:"platformStall"`
	// Wake is how long the first request of an app at zero took that was sent during the fault, in seconds.
	Wake float64 `json:"wake"`
	// Wrong are decisions about replicas that no load called for.
	Wrong []string `json:"wrong,omitempty"`
	// Errors are some of what was lost.
	Errors []string `json:"errors,omitempty"`
	Fine   bool     `json:"fine"`
}

func run(ctx context.Context, c *cluster, seed uint64, only, out string) (fine bool, err error) {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return false, fmt.Errorf("--only: %w", err)
	}
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // to be repeated, not to be secret
	var all []fault
	for _, f := range faults(c, random) {
		if wanted.MatchString(f.name) {
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		return false, fmt.Errorf("--only: no fault matches %q", only)
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return false, err
	}
	lines, err := os.Create(out)
	if err != nil {
		return false, err
	}
	defer func() {
		if closed := lines.Close(); err == nil {
			err = closed
		}
	}()

	fmt.Fprintf(os.Stderr, "seed %d, %d faults\n", seed, len(all))
	if err := c.prepare(ctx, len(all)); err != nil {
		return false, err
	}
	defer c.end()
	var outcomes []outcome
	fine = true
	for i, f := range all {
		fmt.Fprintf(os.Stderr, "%s …", f.name)
		o, err := c.suffer(ctx, f, i)
		if err != nil {
			fmt.Fprintln(os.Stderr)
			return false, fmt.Errorf("%s: %w", f.name, err)
		}
		o.Seed = seed
		fine = fine && o.Fine
		fmt.Fprintf(os.Stderr, " %d of %d lost, woke in %.1fs\n", o.Lost, o.Requests, o.Wake)
		for _, e := range append(o.Wrong, o.Errors...) {
			fmt.Fprintf(os.Stderr, "    %s\n", e)
		}
		line, err := json.Marshal(o)
		if err != nil {
			return false, err
		}
		if _, err := lines.Write(append(line, '\n')); err != nil {
			return false, err
		}
		outcomes = append(outcomes, o)
	}
	return fine, table(outcomes)
}

func table(outcomes []outcome) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tREQUESTS\tLOST\tPLATFORM LOST\tLONGEST STALL\tPLATFORM'S\tWAKE FROM ZERO\tWRONG DECISIONS\t")
	for _, o := range outcomes {
		wrong := "none"
		if len(o.Wrong) > 0 {
			wrong = strings.Join(o.Wrong, "; ")
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.2fs\t%.2fs\t%.2fs\t%s\t\n", o.Fault, o.Requests, o.Lost, o.PlatformLost, o.Stall, o.PlatformStall, o.Wake, wrong)
	}
	return w.Flush()
}
