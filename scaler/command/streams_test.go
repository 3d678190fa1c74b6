package command

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials/insecure"
)

// What --max-streams says that a stream takes is measured here: with the client's side of it, which takes about as much.
func TestAStreamTakesLittleMemory(t *testing.T) {
	const streams = 1000
	s := serve(t, func(o *Options) { o.MaxStreams = streams })
	client := externalscaler.NewExternalScalerClient(dial(t, s.address, insecure.NewCredentials()))
	inUse := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc + m.StackInuse)
	}
	before := inUse()
	for i := range streams {
		stream, err := client.StreamMetricSpec(t.Context(), &externalscaler.ScaledObjectRef{
			Name: "so", Namespace: "default", ScalerMetadata: map[string]string{"httpApp": fmt.Sprint("shop-", i)},
		})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
	}
	each := (inUse() - before) / streams / 1e3
	t.Logf("%.1f kB for both sides of a stream", each)
	require.Less(t, each, 40.0)
}
