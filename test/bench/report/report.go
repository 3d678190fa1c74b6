// Package report prints the figures of a benchmark as a table, and writes them as lines of JSON. Each figure is ours beside a
// reference that was measured in the same run.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// Figure is one thing that was measured.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Reference is what ReferenceValue was measured with, or that ReferenceValue is the goal. Ratio is Value / ReferenceValue.
	Reference      string  `json:"reference"`
	ReferenceValue float64 `json:"referenceValue"`
	Ratio          float64 `json:"ratio"`
	// Goal is what Ratio should be at most (where less is better) or at least.
	Goal string `json:"goal,omitempty"`
	// Reached says whether it is; nil where there is no goal.
	Reached *bool `json:"reached,omitempty"`
}

// Report collects figures.
type Report struct {
	figures []Figure
	out     *os.File
}

// Create makes a report whose lines go to a file, beginning anew.
func Create(path string) (*Report, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	out, err := os.Create(path)
	return &Report{out: out}, err
}

// AtMost adds a figure whose ratio to the reference should be at most so much; 0 is no goal.
func (r *Report) AtMost(goal float64, name, unit string, value float64, reference string, referenceValue float64) error {
	f := Figure{Name: name, Value: value, Unit: unit, Reference: reference, ReferenceValue: referenceValue, Ratio: value / referenceValue}
	if goal > 0 {
		reached := f.Ratio <= goal
		f.Goal, f.Reached = fmt.Sprintf("<= %g", goal), &reached
	}
	return r.add(f)
}

// None adds how often something happened that is not to happen, of so many times.
func (r *Report) None(name, unit string, times float64, reference string, of float64) error {
	reached := times == 0
	return r.add(Figure{Name: name, Value: times, Unit: unit, Reference: reference, ReferenceValue: of, Ratio: times / of, Goal: "0", Reached: &reached})
}

// AtLeast adds a figure whose ratio to the reference should be at least so much; 0 is no goal.
func (r *Report) AtLeast(goal float64, name, unit string, value float64, reference string, referenceValue float64) error {
	f := Figure{Name: name, Value: value, Unit: unit, Reference: reference, ReferenceValue: referenceValue, Ratio: value / referenceValue}
	if goal > 0 {
		reached := f.Ratio >= goal
		f.Goal, f.Reached = fmt.Sprintf(">= %.3g", goal), &reached
	}
	return r.add(f)
}

func (r *Report) add(f Figure) error {
	r.figures = append(r.figures, f)
	line, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	fmt.Fprintf(os.Stderr, "  %s: %.4g %s, %s %.4g: %.2f\n", f.Name, f.Value, f.Unit, f.Reference, f.ReferenceValue, f.Ratio)
	_, err = r.out.Write(append(line, '\n'))
	return err
}

// Print writes the table.
func (r *Report) Print(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "FIGURE\tOURS\tUNIT\tREFERENCE\tITS VALUE\tRATIO\tGOAL\t")
	for _, f := range r.figures {
		verdict := ""
		if f.Reached != nil && !*f.Reached {
			verdict = "missed"
		}
		fmt.Fprintf(w, "%s\t%.4g\t%s\t%s\t%.4g\t%.2f\t%s\t%s\n", f.Name, f.Value, f.Unit, f.Reference, f.ReferenceValue, f.Ratio, f.Goal, verdict)
	}
	return w.Flush()
}

// Close closes the file.
func (r *Report) Close() error { return r.out.Close() }

// Times are how long something took, each time.
type Times []time.Duration

// Quantile returns the time that a share of all did not exceed, in milliseconds.
func (t Times) Quantile(share float64) float64 {
	if len(t) == 0 {
		return 0
	}
	s := slices.Clone(t)
	slices.Sort(s)
	i := max(int(math.Ceil(share*float64(len(s))))-1, 0)
	return float64(s[i]) / float64(time.Millisecond)
}
