package command

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cachetesting "k8s.io/client-go/tools/cache/testing"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/interceptor/queue"
	"github.com/kedahttp/kedahttp/interceptor/queue/wire"
)

// interceptor is one that tells its counts, and how it is found.
func interceptor(t *testing.T) (*queue.Counters, *cachetesting.FakeControllerSource) {
	counters := queue.NewCounters(clock.RealClock{})
	publisher := queue.NewPublisher(counters, clock.RealClock{})
	server := grpc.NewServer()
	wire.RegisterCountsServer(server, publisher)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	go publisher.Run(ctx)
	go server.Serve(listener) //nolint:errcheck // it ends when the test does
	t.Cleanup(func() { cancel(); server.Stop() })
	host, portText, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	port, err := strconv.ParseInt(portText, 10, 32)
	require.NoError(t, err)
	source := cachetesting.NewFakeControllerSource()
	source.Add(&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "counts"}, AddressType: discoveryv1.AddressTypeIPv4,
		Ports:     []discoveryv1.EndpointPort{{Name: ptr.To("counts"), Port: ptr.To(int32(port)), Protocol: ptr.To(corev1.ProtocolTCP)}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{host}}},
	})
	return counters, source
}

func TestKEDAsAnswersStayRightWhenOneOfTwoScalersIsKilled(t *testing.T) {
	counters, source := interceptor(t)
	app := counters.App(types.NamespacedName{Namespace: "default", Name: "shop"}, "uid")
	requests := make([]queue.Ticket, 6)
	for i := range requests {
		requests[i].Accept(app)
		requests[i].Forward()
	}
	one, other := serveCounts(t, source, func(*Options) {}), serveCounts(t, source, func(*Options) {})
	ref := &externalscaler.ScaledObjectRef{Name: "so", Namespace: "default", ScalerMetadata: map[string]string{"httpApp": "shop"}}
	metric := func(client externalscaler.ExternalScalerClient, wait ...grpc.CallOption) (float64, error) {
		res, err := client.GetMetrics(within(t), &externalscaler.GetMetricsRequest{ScaledObjectRef: ref, MetricName: "http-concurrency"}, wait...)
		if err != nil {
			return 0, err
		}
		return res.GetMetricValues()[0].GetMetricValueFloat(), nil
	}
	for _, s := range []*serving{one, other} {
		client := externalscaler.NewExternalScalerClient(dial(t, s.address, insecure.NewCredentials()))
		require.Eventually(t, func() bool { v, err := metric(client); return err == nil && v == 6 }, patience, 10*time.Millisecond, "both know of the requests")
	}

	// KEDA has one connection, to a Service of both.
	service := manual.NewBuilderWithScheme("service")
	service.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: one.address}, {Addr: other.address}}})
	conn, err := grpc.NewClient("service:///scaler", grpc.WithResolvers(service), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	keda := externalscaler.NewExternalScalerClient(conn)
	active := func() externalscaler.ExternalScaler_StreamIsActiveClient {
		stream, err := keda.StreamIsActive(within(t), ref, grpc.WaitForReady(true))
		require.NoError(t, err)
		res, err := stream.Recv()
		require.NoError(t, err)
		require.True(t, res.GetResult())
		return stream
	}
	stream := active()
	v, err := metric(keda)
	require.NoError(t, err)
	require.Equal(t, 6.0, v)

	one.kill()
	_, err = stream.Recv()
	require.Error(t, err, "the stream was to the one that is gone")
	v, err = metric(keda, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.Equal(t, 6.0, v, "as right as before")
	is, err := keda.IsActive(within(t), ref)
	require.NoError(t, err)
	require.True(t, is.GetResult())

	// What happens after that is told as well, and pushed.
	stream = active()
	for i := range requests {
		requests[i].Done()
	}
	require.Eventually(t, func() bool {
		is, err := keda.IsActive(within(t), ref)
		return err == nil && !is.GetResult()
	}, patience, 10*time.Millisecond, "all requests are over")
	var late queue.Ticket
	late.Accept(app)
	res, err := stream.Recv()
	require.NoError(t, err)
	require.True(t, res.GetResult(), "a request waits")
	late.Done()
}
