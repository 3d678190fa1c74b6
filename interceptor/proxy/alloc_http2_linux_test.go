package proxy

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"

	"github.com/kedahttp/kedahttp/interceptor/http1"
)

// requestByHTTP2 makes a function that does one request by HTTP/2, of which nothing allocates but the interceptor.
func requestByHTTP2(t testing.TB) func() {
	pod, w := answering(t), newWorld(t)
	w.app("shop")
	w.ready("shop", "", pod)
	w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
	conn, err := net.Dial("tcp", w.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, xhttp2.ClientPreface)
	require.NoError(t, err)
	f := xhttp2.NewFramer(conn, nil)
	require.NoError(t, f.WriteSettings())
	require.NoError(t, f.WriteSettingsAck())
	require.NoError(t, f.WriteWindowUpdate(0, 1<<30))

	// GET, http, and the path and the authority as literals that nobody has to remember: every request is the same but for its stream.
	block := []byte{0x82, 0x86, 0x04, byte(len("/api/items?id=5"))}
	block = append(append(block, "/api/items?id=5"...), 0x01, byte(len("shop.test")))
	block = append(block, "shop.test"...)
	request := append([]byte{0, 0, byte(len(block)), byte(xhttp2.FrameHeaders), byte(xhttp2.FlagHeadersEndHeaders | xhttp2.FlagHeadersEndStream), 0, 0, 0, 0}, block...)
	id, in := uint32(1), make([]byte, 16<<10)
	once := func() {
		binary.BigEndian.PutUint32(request[5:], id)
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := io.ReadFull(conn, in[:9]); err != nil {
				t.Fatal(err)
			}
			kind, flags, of := xhttp2.FrameType(in[3]), xhttp2.Flags(in[4]), binary.BigEndian.Uint32(in[5:9])
			body := in[9 : 9+int(in[1])<<8+int(in[2])]
			if _, err := io.ReadFull(conn, body); err != nil {
				t.Fatal(err)
			}
			if of != id {
				continue
			}
			if kind == xhttp2.FrameData && string(body) != "hello" || kind != xhttp2.FrameData && kind != xhttp2.FrameHeaders {
				t.Fatal(kind, string(body))
			}
			if flags.Has(xhttp2.FlagDataEndStream) {
				break
			}
		}
		id += 2
	}
	once()
	return once
}

// What is done of every request, by whichever version of HTTP it comes, costs no memory; what HTTP/2 itself takes, the benchmark tells.
func TestToRouteCountAndPickARequestByHTTP2AllocatesNothing(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.ready("shop", "", answering(t))
	w.eventually("there is a pod", func() bool { return w.backend("shop").Pods.Available() })
	x := &asking{}
	x.init(w.server, x, &http1.Client{Address: []byte("10.0.0.1"), Proto: "http"}, "HTTP/2.0")
	agent, ok := http1.NewField([]byte("user-agent"), []byte("test"))
	require.True(t, ok)
	fields, table := []http1.Field{agent}, w.routes.Table()
	method, path, authority := []byte("GET"), []byte("/api/items?id=5"), []byte("shop.test")
	once := func() {
		if err := x.request.Translate(method, path, authority, fields, 0); err != nil {
			t.Fatal(err)
		}
		x.identify()
		decoded, _ := x.request.DecodedPath()
		route, ok := table.Match(text(x.request.Host), text(decoded), &x.request)
		if !ok {
			t.Fatal("no route")
		}
		x.accept(route.Backend)
		x.activate()
		x.pod = route.Backend.Pick(nil)
		x.ticket.Forward()
		x.deactivate()
		x.release()
		x.ticket.Done()
		route.Tally.Done(200, "", time.Millisecond)
	}
	once()
	require.Zero(t, testing.AllocsPerRun(2000, once))
	w.is("shop", 0, 0)
}

func BenchmarkARequestByHTTP2(b *testing.B) {
	once := requestByHTTP2(b)
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}
