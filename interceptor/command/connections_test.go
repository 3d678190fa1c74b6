package command

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheMostConnectionsFollowFromFilesAndMemory(t *testing.T) {
	for name, c := range map[string]struct {
		files  uint64
		memory int64
		most   int
	}{
		"few files":     {1024, math.MaxInt64, 384},
		"fewer files":   {64, math.MaxInt64, 128},
		"little memory": {1 << 20, 512 << 20, 32768},
		"no limit":      {0, math.MaxInt64, math.MaxInt32},
		"endless files": {math.MaxUint64, 2 << 30, 131072},
	} {
		require.Equal(t, c.most, connectionsFor(c.files, c.memory), name)
	}
}
