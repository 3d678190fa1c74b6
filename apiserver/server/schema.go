package server

import (
	"net/http"
	"strings"
)

// withPresentSchema answers a request for an older OpenAPI v3 document with the present one, where the library would redirect:
// for a minute after this server was upgraded the host still names the old one to clients, and it refuses to pass a
// redirect on, so that kubectl explain would fail.
func withPresentSchema(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/openapi/v3/") || !r.URL.Query().Has("hash") {
			handler.ServeHTTP(w, r)
			return
		}
		held := &heldRedirect{ResponseWriter: w}
		handler.ServeHTTP(held, r)
		if !held.redirected {
			return
		}
		clear(w.Header())
		r = r.Clone(r.Context())
		query := r.URL.Query()
		// Without it, clients are not told that they may keep the answer for ever.
		query.Del("hash")
		r.URL.RawQuery = query.Encode()
		handler.ServeHTTP(w, r)
	})
}

// heldRedirect is a response that is not written if it is a redirect.
type heldRedirect struct {
	http.ResponseWriter
	redirected bool
}

// WriteHeader implements http.ResponseWriter.
func (h *heldRedirect) WriteHeader(code int) {
	if h.redirected = code == http.StatusMovedPermanently; !h.redirected {
		h.ResponseWriter.WriteHeader(code)
	}
}

// Write implements http.ResponseWriter.
func (h *heldRedirect) Write(p []byte) (int, error) {
	if h.redirected {
		return len(p), nil
	}
	return h.ResponseWriter.Write(p)
}
