package report

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"time"
)

// Step is a part of a benchmark.
type Step struct {
	Name string
	Run  func(context.Context) error
	// Always says that other steps need it.
	Always bool
}

// Measure takes the steps whose names match the regular expression only, one after the other, and prints the figures.
func (r *Report) Measure(ctx context.Context, only string, steps ...Step) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	for _, step := range steps {
		if !step.Always && !wanted.MatchString(step.Name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", step.Name)
		started := time.Now()
		if err := step.Run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
		fmt.Fprintf(os.Stderr, "%s took %v\n", step.Name, time.Since(started).Round(time.Second))
	}
	return r.Print(os.Stdout)
}
