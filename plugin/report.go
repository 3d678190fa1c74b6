package plugin

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// report is what a load has found out so far.
type report struct {
	Took time.Duration

	mu         sync.Mutex
	warm, cold *hdrhistogram.Histogram
	stages     map[string]*hdrhistogram.Histogram
	order      []string // of the stages
	statuses   map[int]int64
	errors     map[string]int64
}

// newHistogram is one of times in microseconds, to three digits, up to an hour.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Hour.Microseconds(), 3)
}

func newReport() *report {
	return &report{
		warm: newHistogram(), cold: newHistogram(), stages: map[string]*hdrhistogram.Histogram{},
		statuses: map[int]int64{}, errors: map[string]int64{},
	}
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d.Microseconds(), 1), time.Hour.Microseconds())) // always within its bounds
}

func (r *report) add(a answer, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.err != nil {
		r.errors[cause(a.err)]++
		return
	}
	r.statuses[a.status]++
	if a.cold == "" {
		record(r.warm, took)
		return
	}
	record(r.cold, took)
	for _, s := range parseStages(a.cold) {
		if r.stages[s.name] == nil {
			r.stages[s.name] = newHistogram()
			r.order = append(r.order, s.name)
		}
		record(r.stages[s.name], s.after)
	}
}

// cause is an error without what differs from request to request.
func cause(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, "\": "); i >= 0 {
		text = text[i+3:]
	}
	return text
}

type stage struct {
	name  string
	after time.Duration
}

// parseStages reads the header of a cold start's response: total=0.612, created=0.000, address=0.401.
func parseStages(header string) []stage {
	var all []stage
	for part := range strings.SplitSeq(header, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		seconds, err := strconv.ParseFloat(value, 64)
		if ok && err == nil {
			all = append(all, stage{name, time.Duration(seconds * float64(time.Second))})
		}
	}
	return all
}

// bad says whether a request was not answered, or with a failure.
func (r *report) bad() bool {
	if len(r.errors) > 0 {
		return true
	}
	for status := range r.statuses {
		if status >= 500 {
			return true
		}
	}
	return false
}

// distribution is how long some requests took, in seconds.
type distribution struct {
	Count int64   `json:"count"`
	Min   float64 `json:"min"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	Max   float64 `json:"max"`
}

func distributionOf(h *hdrhistogram.Histogram) *distribution {
	if h.TotalCount() == 0 {
		return nil
	}
	at := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1e6 }
	return &distribution{h.TotalCount(), float64(h.Min()) / 1e6, h.Mean() / 1e6, at(50), at(90), at(99), at(99.9), float64(h.Max()) / 1e6}
}

// summary is the report for other programs.
type summary struct {
	Requests int64            `json:"requests"`
	Seconds  float64          `json:"seconds"`
	Rate     float64          `json:"rate"`
	Statuses map[int]int64    `json:"statuses"`
	Errors   map[string]int64 `json:"errors,omitempty"`
	Warm     *distribution    `json:"warm,omitempty"`
	Cold     *distribution    `json:"cold,omitempty"`
	// Stages of the cold starts, from when the request came.
	Stages map[string]*distribution `json:"stages,omitempty"`
}

func (r *report) summary() summary {
	s := summary{Seconds: r.Took.Seconds(), Statuses: r.statuses, Errors: r.errors, Warm: distributionOf(r.warm), Cold: distributionOf(r.cold)}
	for _, n := range r.statuses {
		s.Requests += n
	}
	for _, n := range r.errors {
		s.Requests += n
	}
	if s.Seconds > 0 {
		s.Rate = float64(s.Requests) / s.Seconds
	}
	for name, h := range r.stages {
		if s.Stages == nil {
			s.Stages = map[string]*distribution{}
		}
		s.Stages[name] = distributionOf(h)
	}
	return s
}

func (r *report) print(out io.Writer) error {
	s := r.summary()
	fmt.Fprintf(out, "%s in %v, %.1f per second\n", howMany(s.Requests, "request", "requests"), r.Took.Round(time.Millisecond), s.Rate)
	for _, status := range slices.Sorted(maps.Keys(s.Statuses)) {
		fmt.Fprintf(out, "  %d with %d\n", s.Statuses[status], status)
	}
	for _, text := range slices.Sorted(maps.Keys(s.Errors)) {
		fmt.Fprintf(out, "  %d without a response: %s\n", s.Errors[text], text)
	}
	if s.Warm == nil && s.Cold == nil {
		return nil
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tcount\tmin\tp50\tp90\tp99\tp99.9\tmax\t")
	line := func(name string, d *distribution) {
		if d != nil {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, d.Count, short(d.Min), short(d.P50), short(d.P90), short(d.P99), short(d.P999), short(d.Max))
		}
	}
	line("warm", s.Warm)
	line("cold", s.Cold)
	for _, name := range r.order {
		line(name, s.Stages[name])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	h := r.warm
	if s.Warm == nil {
		h = r.cold
	}
	fmt.Fprintln(out)
	return bars(out, h)
}

// short is a time in seconds as people read it, with three digits.
func short(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 100*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

const barWidth = 40

// bars draws a histogram with a bar for each doubling of time.
func bars(out io.Writer, h *hdrhistogram.Histogram) error {
	counts := map[int]int64{}
	least, most := 64, 0
	var highest int64
	for _, bar := range h.Distribution() {
		if bar.Count == 0 {
			continue
		}
		n := 0
		for v := bar.To; v > 1; v >>= 1 {
			n++
		}
		counts[n] += bar.Count
		least, most, highest = min(least, n), max(most, n), max(highest, counts[n])
	}
	for n := least; n <= most; n++ {
		length := int((counts[n]*barWidth + highest - 1) / highest)
		if _, err := fmt.Fprintf(out, "  < %8s  %-*s %d\n", short(float64(int64(2)<<n)/1e6), barWidth, strings.Repeat("█", length), counts[n]); err != nil {
			return err
		}
	}
	return nil
}
