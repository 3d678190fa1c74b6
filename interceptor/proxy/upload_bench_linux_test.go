package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkUploads tells, beside the time, what all ends together take of the processor.
func BenchmarkUploads(b *testing.B) {
	const connections, answer = 8, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	for _, size := range []int{1 << 10, 100 << 10, 10 << 20} {
		b.Run(fmt.Sprint(size>>10, " kB"), func(b *testing.B) {
			w := newWorld(b)
			w.app("a")
			w.ready("a", "", bytePod(b, func(conn net.Conn) {
				in := make([]byte, 64<<10)
				for left := 0; ; {
					n, err := conn.Read(in)
					if err != nil {
						return
					}
					if left == 0 {
						left = bytes.Index(in[:n], []byte("\r\n\r\n")) + 4 + size
					}
					if left -= n; left == 0 {
						_, _ = io.WriteString(conn, answer)
					}
				}
			}))
			w.eventually("there is a pod", func() bool { return w.backend("a").Pods.Available() })
			request := fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n", size)
			request = append(request, make([]byte, size)...)
			var all []net.Conn
			for range connections {
				conn, err := net.Dial("tcp", w.address)
				require.NoError(b, err)
				defer conn.Close() //nolint:errcheck // the benchmark is over
				all = append(all, conn)
			}
			before := processor()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for _, conn := range all {
				wg.Go(func() {
					back := make([]byte, 1024)
					for range max(1, b.N/connections) {
						if _, err := conn.Write(request); err != nil {
							b.Error(err)
							return
						}
						for n := 0; !bytes.HasSuffix(back[:n], []byte("hello")); {
							more, err := conn.Read(back[n:])
							if err != nil {
								b.Error(err)
								return
							}
							n += more
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(processor()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}
