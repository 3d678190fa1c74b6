//go:build unix

package command

import "golang.org/x/sys/unix"

// openFiles is how many files the process may have open, which Go has raised as far as it may; 0: it is not known.
func openFiles() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}
