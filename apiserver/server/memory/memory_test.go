package memory

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What lives gets room beyond what is reserved, for as long as it lives.
func TestTheLimitFollowsWhatLives(t *testing.T) {
	const reserved, more = 32 << 20, 128 << 20
	t.Cleanup(func() { debug.SetMemoryLimit(math.MaxInt64) })
	debug.SetMemoryLimit(reserved)
	Keep()
	eventually := func(holds func(limit int64) bool) {
		require.Eventually(t, func() bool {
			runtime.GC()
			return holds(debug.SetMemoryLimit(-1))
		}, time.Minute, 10*time.Millisecond)
	}
	eventually(func(limit int64) bool { return limit == reserved })

	living := make([]byte, more)
	eventually(func(limit int64) bool {
		return float64(limit) > more*(1+room) && float64(limit) < more*(1+room)+2*reserved
	})
	runtime.KeepAlive(living)

	eventually(func(limit int64) bool { return limit == reserved })
}

func TestALimitOfZeroIsNone(t *testing.T) {
	t.Cleanup(func() { debug.SetMemoryLimit(math.MaxInt64) })
	debug.SetMemoryLimit(0)
	Keep()
	require.EqualValues(t, math.MaxInt64, debug.SetMemoryLimit(-1))
}
