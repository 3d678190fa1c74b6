//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// channel is a client of gRPC of an app.
func (u user) channel(app string) grpc_testing.TestServiceClient {
	how := insecure.NewCredentials()
	if u.tls != nil {
		how = credentials.NewTLS(u.tls.Clone())
	}
	c, err := grpc.NewClient("passthrough:///"+u.host(app), grpc.WithTransportCredentials(how),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return u.dialInterceptor(ctx, "", "") }), grpc.WithDisableRetry())
	if err != nil {
		u.Fatal(err)
	}
	u.Cleanup(func() { _ = c.Close() })
	return grpc_testing.NewTestServiceClient(c)
}

// trailers adds metadata to a call that comes back in its trailers.
type trailers struct{ metadata.MD }

func (t *trailers) ask(ctx context.Context) (context.Context, grpc.CallOption) {
	return metadata.AppendToOutgoingContext(ctx, "x-echo", "back"), grpc.Trailer(&t.MD)
}

func (t *trailers) check() error {
	if got := t.Get("x-echo"); len(got) != 1 || got[0] != "back" {
		return fmt.Errorf("the trailers are %v", t.MD)
	}
	return nil
}

// calls are the kinds of gRPC.
func (u user) calls(app string) kinds {
	c := u.channel(app)
	payload := &grpc_testing.Payload{Body: make([]byte, 1000)}
	outputs := func(n int, after time.Duration) *grpc_testing.StreamingOutputCallRequest {
		r := &grpc_testing.StreamingOutputCallRequest{}
		for range n {
			r.ResponseParameters = append(r.ResponseParameters, &grpc_testing.ResponseParameters{Size: 1000, IntervalUs: int32(after.Microseconds())})
		}
		return r
	}
	return kinds{
		"a unary call": func(ctx context.Context) error {
			var t trailers
			ctx, option := t.ask(ctx)
			r, err := c.UnaryCall(ctx, &grpc_testing.SimpleRequest{Payload: payload}, option)
			if err != nil {
				return err
			}
			if len(r.GetPayload().GetBody()) != 1000 {
				return errors.New("the payload is not as it was")
			}
			return t.check()
		},
		"a stream from the server": func(ctx context.Context) error {
			var t trailers
			ctx, option := t.ask(ctx)
			s, err := c.StreamingOutputCall(ctx, outputs(5, 20*time.Millisecond), option)
			if err != nil {
				return err
			}
			n := 0
			for ; err == nil; n++ {
				_, err = s.Recv()
			}
			if !errors.Is(err, io.EOF) || n != 6 {
				return fmt.Errorf("after %d messages: %w", n-1, err)
			}
			return t.check()
		},
		"a stream from the client": func(ctx context.Context) error {
			var t trailers
			ctx, option := t.ask(ctx)
			s, err := c.StreamingInputCall(ctx, option)
			if err != nil {
				return err
			}
			for range 5 {
				if err := s.Send(&grpc_testing.StreamingInputCallRequest{Payload: payload}); err != nil {
					_, err = s.CloseAndRecv()
					return err
				}
				<-time.After(20 * time.Millisecond) // as clients do
			}
			r, err := s.CloseAndRecv()
			if err != nil || r.GetAggregatedPayloadSize() != 5000 {
				return fmt.Errorf("%d bytes came: %w", r.GetAggregatedPayloadSize(), err)
			}
			return t.check()
		},
		"a stream both ways": func(ctx context.Context) error { return converse(ctx, c, 5, 20*time.Millisecond, nil) },
		"a deadline": func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			s, err := c.StreamingOutputCall(ctx, outputs(1, time.Minute))
			if err == nil {
				_, err = s.Recv()
			}
			if status.Code(err) != codes.DeadlineExceeded {
				return fmt.Errorf("a call that takes too long ends with %w", err)
			}
			return nil
		},
	}
}

// converse sends messages of which each is answered before the next.
func converse(ctx context.Context, c grpc_testing.TestServiceClient, messages int, pause time.Duration, each func(int)) error {
	var t trailers
	ctx, option := t.ask(ctx)
	s, err := c.FullDuplexCall(ctx, option)
	if err != nil {
		return err
	}
	for i := range messages {
		if err := s.Send(&grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: make([]byte, 1000)}}); err != nil {
			_, err = s.Recv()
			return fmt.Errorf("message %d: %w", i, err)
		}
		if _, err := s.Recv(); err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
		if each != nil {
			each(i)
		}
		<-time.After(pause)
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("at the end: %w", err)
	}
	return t.check()
}
