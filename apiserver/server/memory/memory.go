// Package memory has the garbage collector keep a process within the memory that is reserved for it, as long as that does any good.
package memory

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// room is the part of what the collector has to look through that it may at least let be garbage before it runs again: with less it
// would run without end. It is what GOGC=15 says.
const room = 0.15

// Keep has Go's memory limit, which is GOMEMLIMIT, be as much more than that as what lives needs: the runtime's own is for good, and a
// process that needs more than it spends half of its time on looking for garbage that is not there. With a limit of 0 there is none.
// Keep is for once in a process.
func Keep() {
	switch reserved := debug.SetMemoryLimit(-1); reserved {
	case math.MaxInt64:
	case 0:
		debug.SetMemoryLimit(math.MaxInt64)
	default:
		(&keeper{reserved: reserved, limit: reserved}).watch()
	}
}

// keeper keeps the limit of the process. It is one goroutine's at a time.
type keeper struct{ reserved, limit int64 }

// watch sets the limit anew when the collector has run.
func (k *keeper) watch() {
	runtime.AddCleanup(&struct{ *keeper }{k}, func(k *keeper) {
		k.adjust()
		k.watch()
	}, k)
}

func (k *keeper) adjust() {
	const step = 1 << 20 // to change it stops the world
	if limit := max(k.reserved, (needed()+step-1)/step*step); limit != k.limit {
		k.limit = limit
		debug.SetMemoryLimit(limit)
	}
}

// needed is the least limit, in bytes, that leaves room.
func needed() int64 {
	all := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(all)
	value := func(i int) float64 { return float64(all[i].Value.Uint64()) }
	beside, stacks, live := value(0)-value(1)-value(2)-value(3), value(4), value(5)
	return int64(beside + live + room*(live+stacks))
}
