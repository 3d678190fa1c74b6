//go:build race

package proxy

// poolsForget is how many allocations a request may cost because the race detector has sync.Pool drop some of what is put into it.
const poolsForget = 2
