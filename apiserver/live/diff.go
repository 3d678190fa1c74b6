package live

import (
	"context"
	"net/http"
	"strings"
)

// commandHeader names the command that kubectl runs, as KEP-859 has it: "kubectl diff".
const commandHeader = "Kubectl-Command"

type diffKey struct{}

// WithDiffs notes in the context of requests that kubectl diff makes them.
func WithDiffs(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get(commandHeader), " diff") {
			r = r.WithContext(context.WithValue(r.Context(), diffKey{}, true))
		}
		handler.ServeHTTP(w, r)
	})
}

// compares reports that kubectl diff makes the request. It shows what differs between two answers, a read and a dry run: requests
// that came in between are no difference that its user would make.
func compares(ctx context.Context) bool { return ctx.Value(diffKey{}) != nil }
