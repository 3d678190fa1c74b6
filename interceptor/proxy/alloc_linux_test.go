package proxy

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedahttp/kedahttp/interceptor/accesslog"
	"github.com/kedahttp/kedahttp/interceptor/tracing"
)

// answering is a pod that allocates nothing.
func answering(t testing.TB) (address string) {
	return bytePod(t, func(conn net.Conn) {
		in, out := make([]byte, 4096), []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
		for {
			if _, err := conn.Read(in); err != nil {
				return
			}
			if _, err := conn.Write(out); err != nil {
				return
			}
		}
	})
}

// exchangeOnce makes a function that does one request, and a pod that answers it; neither allocates.
func exchangeOnce(t testing.TB, change ...func(*Config)) func() {
	pod, w := answering(t), newWorld(t, change...)
	w.app("shop")
	w.ready("shop", "", pod)
	w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
	conn, err := net.Dial("tcp", w.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	request, answer := []byte("GET /api/items?id=5 HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n"), make([]byte, 4096)
	once := func() {
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		if n, err := io.ReadAtLeast(conn, answer, 1); err != nil || n < 16 || string(answer[9:12]) != "200" || string(answer[n-5:n]) != "hello" {
			t.Fatal(string(answer[:n]), err)
		}
	}
	once()
	return once
}

func TestARequestThatIsAnsweredInPlaceAllocatesNothing(t *testing.T) {
	once := exchangeOnce(t)
	// Whatever else goes on in the process is not one allocation a request.
	require.LessOrEqual(t, testing.AllocsPerRun(2000, once), float64(poolsForget))
}

// logAll has a line written for each request.
func logAll(t testing.TB) func(*Config) {
	log := accesslog.New(accesslog.Config{To: io.Discard})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go log.Run(ctx)
	return func(c *Config) { c.AccessLog = log }
}

// traceNone has requests looked at, whether they are to be traced.
func traceNone(t testing.TB) func(*Config) {
	tracer, err := tracing.New(t.Context(), tracing.Config{Endpoint: deadAddress(t)})
	require.NoError(t, err)
	return func(c *Config) { c.Tracer = tracer }
}

func TestWhatIsToldOfARequestThatIsNotTracedAllocatesNothing(t *testing.T) {
	once := exchangeOnce(t, tellMore, logAll(t), traceNone(t))
	require.LessOrEqual(t, testing.AllocsPerRun(2000, once), float64(poolsForget))
}

func BenchmarkARequestThatIsAnsweredInPlace(b *testing.B) {
	once := exchangeOnce(b)
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}

func BenchmarkARequestOfWhichAllIsTold(b *testing.B) {
	once := exchangeOnce(b, tellMore, logAll(b), traceNone(b))
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}
