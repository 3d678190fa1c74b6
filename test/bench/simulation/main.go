// Command simulation takes two hours of requests through our scaling, by a clock that it sets itself, and through what others publish of
// theirs: see make bench-simulation.
package main

import (
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/kedahttp/kedahttp/test/bench/report"
)

// contender is an autoscaler and what it made of the trace.
type contender struct {
	name string
	result
}

// compare takes one trace through all of them.
func compare(seed uint64) (ours, plain, knatives contender) {
	requests := trace(seed)
	return contender{"kedahttp", run(requests, newOurs(), 0)},
		contender{"plain HPA", run(requests, newPlain(), 1)},
		contender{"Knative", run(requests, &knative{}, 0)}
}

func main() {
	seed := flag.Uint64("seed", 1, "The trace.")
	out := flag.String("out", "bin/bench/simulation.jsonl", "Where the figures go; the replicas over time go beside it, as .csv and .png.")
	flag.Parse()
	if err := measure(*seed, *out); err != nil {
		fmt.Fprintln(os.Stderr, "simulation:", err)
		os.Exit(1)
	}
}

func measure(seed uint64, out string) (err error) {
	r, err := report.Create(out)
	if err != nil {
		return err
	}
	defer func() {
		if closed := r.Close(); err == nil {
			err = closed
		}
	}()
	ours, plain, knatives := compare(seed)
	for _, other := range []contender{plain, knatives} {
		if err := r.AtMost(0, "simulation, requests waited", "request·s", ours.unserved, other.name, other.unserved); err != nil {
			return err
		}
		if err := r.AtMost(0, "simulation, the longest wait", "s", ours.worst.Seconds(), other.name, other.worst.Seconds()); err != nil {
			return err
		}
		if err := r.AtMost(0, "simulation, pods ran", "pod·s", ours.podSeconds, other.name, other.podSeconds); err != nil {
			return err
		}
	}
	if err := r.Print(os.Stdout); err != nil {
		return err
	}
	name := out[:len(out)-len(filepath.Ext(out))]
	if err := table(name+".csv", ours, plain, knatives); err != nil {
		return err
	}
	return picture(name+".png", ours, plain, knatives)
}

// table writes what there was in each second.
func table(path string, all ...contender) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // what was written is flushed, below
	w := csv.NewWriter(file)
	row := []string{"second"}
	for _, c := range all {
		row = append(row, c.name+" requests", c.name+" waiting", c.name+" replicas", c.name+" ready")
	}
	_ = w.Write(row)
	for second := range all[0].replicas {
		row := []string{strconv.Itoa(second + 1)}
		for _, c := range all {
			row = append(row, strconv.FormatFloat(c.demand[second], 'f', 2, 64), strconv.Itoa(c.waits[second]), strconv.Itoa(c.replicas[second]), strconv.Itoa(c.ready[second]))
		}
		_ = w.Write(row)
	}
	w.Flush()
	return w.Error()
}
