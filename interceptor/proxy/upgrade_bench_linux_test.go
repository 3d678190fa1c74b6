package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkEchoesOnUpgradedConnections tells, beside the time, what all ends together take of the processor: what is different between the
// ways is the interceptor's.
func BenchmarkEchoesOnUpgradedConnections(b *testing.B) {
	const connections = 32
	for how, head := range upgrading {
		if strings.HasSuffix(how, "TLS") {
			continue
		}
		b.Run(how, func(b *testing.B) {
			w := newWorld(b)
			w.app("a")
			w.ready("a", "", bytePod(b, func(conn net.Conn) {
				in := bufio.NewReader(conn)
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				_, _ = io.WriteString(conn, switching)
				p := make([]byte, 4096)
				for {
					n, err := conn.Read(p)
					if err != nil {
						return
					}
					if _, err := conn.Write(p[:n]); err != nil {
						return
					}
				}
			}))
			var all []net.Conn
			for range connections {
				conn, err := net.Dial("tcp", w.address)
				require.NoError(b, err)
				defer conn.Close() //nolint:errcheck // the benchmark is over
				_, err = io.WriteString(conn, head)
				require.NoError(b, err)
				in := bufio.NewReader(conn)
				res, err := http.ReadResponse(in, nil)
				require.NoError(b, err)
				require.Equal(b, http.StatusSwitchingProtocols, res.StatusCode)
				all = append(all, conn)
			}
			before := processor()
			b.ResetTimer()
			var wg sync.WaitGroup
			for _, conn := range all {
				wg.Go(func() {
					message, back := make([]byte, 64), make([]byte, 64)
					for range max(1, b.N/connections) {
						if _, err := conn.Write(message); err != nil {
							b.Error(err)
							return
						}
						if _, err := io.ReadFull(conn, back); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(processor()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processor is how many nanoseconds of it the process has had.
func processor() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
