package http2

import (
	"bytes"
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

// Their clients cannot have known that nobody wants the rest of their bodies.
func TestTrailersOfManyStreamsThatWereAnsweredBeforeDoNotEndTheConnection(t *testing.T) {
	const streams = 200
	p, c := serve(t, streams, hello)
	for i := range uint32(streams) {
		p.ask(2*i+1, false)
		for resets := 0; resets == 0; {
			f, err := p.ReadFrame()
			require.NoError(t, err)
			if r, ok := f.(*http2.RSTStreamFrame); ok {
				require.Equal(t, http2.ErrCodeNo, r.ErrCode)
				resets++
			}
		}
	}
	require.Eventually(t, c.Idle, patience, time.Millisecond)
	for i := range uint32(streams) {
		require.NoError(t, p.WriteHeaders(http2.HeadersFrameParam{
			StreamID: 2*i + 1, BlockFragment: p.block("x-sum", "1"), EndStream: true, EndHeaders: true,
		}))
	}
	p.ask(2*streams+1, true)
	require.Equal(t, uint32(2*streams+1), await[*http2.DataFrame](p).StreamID)
}

// Each of them may cost as much as there are streams.
func TestVeryManySettingsEndTheConnection(t *testing.T) {
	p, _ := serve(t, 10, hello)
	var settings []http2.Setting
	for range mostSettings + 1 {
		settings = append(settings, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	}
	require.NoError(t, p.WriteSettings(settings[1:]...))
	p.ask(1, true)
	require.Equal(t, uint32(1), await[*http2.DataFrame](p).StreamID)
	require.NoError(t, p.WriteSettings(settings...))
	require.Equal(t, http2.ErrCodeProtocol, p.isTold())
}

// What is read of a long field is looked at anew with each part of it.
func TestALongHeaderInVeryManySmallPartsEndsTheConnection(t *testing.T) {
	p, _ := serve(t, 10, hello)
	block := bytes.Clone(p.block(append(get[:len(get):len(get)], "x-long", string(bytes.Repeat([]byte("~"), 900<<10)))...))
	const part = 100
	require.NoError(t, p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:part], EndStream: true}))
	go func() {
		for block = block[part:]; len(block) > part; block = block[part:] {
			if p.WriteContinuation(1, false, block[:part]) != nil {
				return
			}
		}
		_ = p.WriteContinuation(1, true, block)
	}()
	require.Equal(t, http2.ErrCodeEnhanceYourCalm, p.isTold())
}
