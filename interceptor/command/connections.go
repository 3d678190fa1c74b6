package command

import "math"

const (
	// spareFiles are for everything but the connections of clients and those to pods.
	spareFiles = 256
	// connectionMemory is more than a connection takes that is idle, and as much as one takes with TLS.
	connectionMemory = 16 << 10
)

// connectionsFor is how many connections clients may have of a process that may have so many files open and so much memory. Both
// may be without a limit.
func connectionsFor(files uint64, memory int64) int {
	most := uint64(math.MaxInt32)
	if files > 0 {
		most = min(most, max(files, 2*spareFiles)-spareFiles)
		most = max(most/2, 1)
	}
	if memory < math.MaxInt64 {
		most = min(most, uint64(max(memory/connectionMemory, 1)))
	}
	return int(most)
}
