package command

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// mostConnections is far more than there are KEDA operators and kubelets.
	mostConnections = 1000
	// mostCalls is how many calls that are no streams there may be at a time. Each takes microseconds.
	mostCalls = 1000
)

// calls bounds those that go on: who asks need not be KEDA.
type calls struct {
	mostStreams    int64
	streams, short atomic.Int64
	refused        prometheus.Counter
}

func newCalls(mostStreams int) *calls {
	return &calls{mostStreams: int64(mostStreams), refused: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kedahttp_scaler_calls_refused_total",
		Help: "Calls that were refused because there were as many as there may be, of streams --max-streams.",
	})}
}

// begin takes one of so many places, if there is one.
func (c *calls) begin(now *atomic.Int64, most int64) error {
	if now.Add(1) <= most {
		return nil
	}
	now.Add(-1)
	c.refused.Inc()
	return status.Errorf(codes.ResourceExhausted, "there are %d calls of the kind already, as many as there may be", most)
}

func (c *calls) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := c.begin(&c.short, mostCalls); err != nil {
		return nil, err
	}
	defer c.short.Add(-1)
	return handler(ctx, req)
}

func (c *calls) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := c.begin(&c.streams, c.mostStreams); err != nil {
		return err
	}
	defer c.streams.Add(-1)
	return handler(srv, stream)
}
