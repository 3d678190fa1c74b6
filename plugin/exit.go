package plugin

import "errors"

// The exit codes.
const (
	// ExitFailed is for what could not be done, and for an app that is not healthy.
	ExitFailed = 1
	// ExitUsage is for a command line that says nothing that could be done.
	ExitUsage = 2
	// ExitTimeout is for what did not come about in time; it may still.
	ExitTimeout = 3
)

// exitError is an error with an exit code of its own. Without an error inside there is nothing to print: it was said already.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e exitError) Unwrap() error { return e.err }

func usageError(err error) error {
	if err == nil {
		return nil
	}
	return exitError{ExitUsage, err}
}

func timeoutError(err error) error { return exitError{ExitTimeout, err} }

// ExitCode is what the process is to end with after an error, or after none.
func ExitCode(err error) int {
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	default:
		return ExitFailed
	}
}
