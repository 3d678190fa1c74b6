package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/klog/v2"
)

func put(body string, from string) *httptest.ResponseRecorder {
	mux := http.NewServeMux()
	mux.HandleFunc(VerbosityPattern, Verbosity)
	r := httptest.NewRequest(http.MethodPut, "/debug/flags/v", strings.NewReader(body))
	r.RemoteAddr, r.Host = from, "localhost:9901"
	w := httptest.NewRecorder()
	FromInside(mux).ServeHTTP(w, r)
	return w
}

func TestTheVerbosityChangesWhileTheProcessRuns(t *testing.T) {
	const here = "127.0.0.1:4711"
	t.Cleanup(func() { put("0", here) })
	require.False(t, klog.V(3).Enabled())
	require.Equal(t, http.StatusOK, put("3", here).Code)
	require.True(t, klog.V(3).Enabled())
	require.False(t, klog.V(4).Enabled())

	for _, wrong := range []string{"", "three", "-1", "8", "1\n", strings.Repeat("1", 1000)} {
		w := put(wrong, here)
		require.Equal(t, http.StatusBadRequest, w.Code, "%q", wrong)
		require.Contains(t, w.Body.String(), "from 0 to 7")
	}
	require.Equal(t, http.StatusForbidden, put("0", "10.1.2.3:4711").Code, "a stranger")
	require.True(t, klog.V(3).Enabled())

	require.Equal(t, http.StatusOK, put("0", here).Code)
	require.False(t, klog.V(3).Enabled())
}
