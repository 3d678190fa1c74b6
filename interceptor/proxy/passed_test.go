package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/backend"
)

// How an app without spec.protocol speaks is known when its first pod is: requests that came before are sent so, and counted once.
func TestHowAPodIsAskedIsDecidedWhenThereIsOne(t *testing.T) {
	for what, appProtocol := range map[string]string{"HTTP/2": protocolH2C, "TLS": "https"} {
		for _, by := range []string{"HTTP/1.1", "HTTP/2", "HTTP/1.1 with TLS", "HTTP/2 with TLS"} {
			t.Run(what+" by "+by, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.app("shop")
				client, base := http.DefaultClient, "http://"+w.address
				switch by {
				case "HTTP/2":
					client = h2cClient(t)
				case "HTTP/1.1 with TLS":
					client, base = w.secure().over(t, 1), "https://shop.test"
				case "HTTP/2 with TLS":
					client, base = w.secure().over(t, 2), "https://shop.test"
				}
				const n = 4
				answers := make(chan answer, n)
				for i := range n {
					method, body := http.MethodGet, io.Reader(nil)
					if i%2 == 1 {
						method, body = http.MethodPost, strings.NewReader("hello")
					}
					r, err := http.NewRequest(method, base+"/", body)
					require.NoError(t, err)
					r.Host = "shop.test"
					go func() { answers <- doWith(client, r) }()
				}
				w.is("shop", n, 0)
				serve := func(rw http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					fmt.Fprint(rw, r.Method, " ", r.ProtoMajor, " ", r.TLS != nil, " ", string(body)) //nolint:errcheck // the test sees
				}
				pod := w.pod(serve)
				if appProtocol == "https" {
					pod = w.securePod(serve, 2)
				}
				w.ready("shop", appProtocol, at(pod))
				want := map[string]int{fmt.Sprint("GET 2 ", appProtocol == "https", " "): n / 2, fmt.Sprint("POST 2 ", appProtocol == "https", " hello"): n / 2}
				got := map[string]int{}
				for range n {
					a := await(t, answers)
					require.NoError(t, a.err)
					require.NotEmpty(t, a.header.Get("X-KedaHTTP-Cold-Start"))
					got[a.body]++
				}
				require.Equal(t, want, got)
				w.is("shop", 0, 0)
				w.eventually("all were told of", func() bool { return w.told.Load() == n })
				require.EqualValues(t, n, w.counts("shop").Read().Requests)

				// The next ones will be like these.
				known := w.backend("shop").Protocol()
				require.NotEqual(t, v1alpha1.ProtocolHTTP1, known)
				w.ready("shop", "")
				w.eventually("there is no pod", func() bool { return w.backend("shop").Pods.Ready() == 0 })
				require.Equal(t, known, w.backend("shop").Protocol())
			})
		}
	}
}

// Nothing is left in the counts of a request that nobody went on with.
func TestARequestThatNobodyGoesOnWithIsNotCountedAnyMore(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	answered := background(w.request("GET", "shop", "/", nil))
	w.is("shop", 1, 0)
	// net/http takes no more connections.
	require.NoError(t, w.server.handed.Close())
	w.ready("shop", protocolH2C, at(w.pod(hello)))
	requireBroken(t, await(t, answered))
	w.is("shop", 0, 0)
	w.eventually("it was told of", func() bool { return w.told.Load() == 1 })
}

// A request that is passed on has what is left of its time, not all of it anew.
func TestWhoGoesOnWithARequestHasWhatIsLeftOfItsTime(t *testing.T) {
	still := func() uint64 { return 0 }
	before := newTimeouts(backend.Timeouts{Request: time.Nanosecond}, true, func(error, bool) {}, still)
	_ = before.end()
	cut := make(chan error, 1)
	after := newTimeouts(backend.Timeouts{Request: time.Hour}, false, func(cause error, _ bool) { cut <- cause }, still)
	after.goOn(before)
	require.ErrorIs(t, await(t, cut), errHeldTimeout)
	_ = after.end()
}
