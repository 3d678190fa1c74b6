package proxy

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOfALongBodyOnlyTheBeginningIsKept(t *testing.T) {
	for received, most := range map[bool]int{true: mostResent, false: mostUnreceived} {
		var s sent
		kept := 0
		for !s.lost {
			kept = len(s.b)
			s.add(make([]byte, 4<<10), mostUnreceived, func() bool { return received })
			require.LessOrEqual(t, len(s.b), most)
		}
		require.Equal(t, most, kept, "whether anything was received is %t", received)
		require.Zero(t, cap(s.b), "nothing is kept of what cannot be sent again")
	}
}
