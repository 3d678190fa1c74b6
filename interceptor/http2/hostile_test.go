package http2

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
)

// A peer that is told of a stream that nobody has looked at would not dare to send the request again elsewhere.
func TestAnErrorAfterTheGoodbyeNamesTheSameLastStream(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	p, c := serve(t, 10, func(*Stream) { <-hold })
	p.ask(1, true)
	require.Eventually(t, func() bool { return !c.Idle() }, patience, time.Millisecond)
	c.Leave()
	ping := await[*http2.PingFrame](p)
	require.NoError(t, p.WritePing(true, ping.Data))
	require.Equal(t, uint32(1), await[*http2.GoAwayFrame](p).LastStreamID)
	p.ask(3, true)
	require.NoError(t, p.WriteData(99, true, nil)) // of a stream that there is not
	g := await[*http2.GoAwayFrame](p)
	require.Equal(t, http2.ErrCodeProtocol, g.ErrCode)
	require.Equal(t, uint32(1), g.LastStreamID)
}
