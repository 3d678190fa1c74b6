package admin

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func TestOnlyTheNetworksThatAreNamedAreAnswered(t *testing.T) {
	for from, want := range map[string]map[string]int{
		"10.1.2.3:4":          {"": 200, "10.0.0.0/8": 200, "10.9.9.9/8": 200, "127.0.0.0/8": 403, "fd00::/8": 403},
		"[::ffff:10.1.2.3]:4": {"10.0.0.0/8": 200, "127.0.0.0/8": 403},
		"[fd00::1]:4":         {"10.0.0.0/8": 403, "fd00::/8": 200},
	} {
		for network, code := range want {
			var all Metrics
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			all.AddFlags(flags)
			if network != "" {
				require.NoError(t, flags.Parse([]string{"--metrics-from=192.0.2.0/24," + network}))
			}
			r, w := httptest.NewRequest(http.MethodGet, "/metrics", nil), httptest.NewRecorder()
			r.RemoteAddr = from
			all.From.Only(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
			require.Equal(t, code, w.Code, "%s from %s", network, from)
		}
	}
	require.Error(t, new(Networks).Set("10.0.0.0"))
	require.Error(t, new(Networks).Set(""))
}
