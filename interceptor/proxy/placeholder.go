package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/kedahttp/kedahttp/interceptor/backend"
)

// comeBack is when one who got a placeholder is to ask again: about as long as a fast app takes to start.
const comeBack = 2 * time.Second

// placeholder is the answer to a request while the app has no pod; nil if the request waits: it asks for more than to be shown
// something, or nothing is configured. Who does not accept the media type of the placeholder, or would rather have JSON, is told
// as by any other refusal.
func placeholder(b *backend.Backend, method string, accept []string) *refusal {
	fixed := b.Settings().Placeholder
	if fixed == nil || method != http.MethodGet && method != http.MethodHead {
		return nil
	}
	r := &refusal{
		status: http.StatusServiceUnavailable, reason: reasonPlaceholder, app: b.Name, retryAfter: comeBack,
		message: fmt.Sprintf("app %s has no ready pod and is being woken; ask again", b.Name),
	}
	if accepts(accept, fixed.Media) && (isJSON(fixed.Media) || !prefersJSON(accept)) {
		r.status, r.fixed = fixed.Status, fixed
	}
	return r
}

// accepts reports whether a media type is acceptable (RFC 9110 section 12.5.1): the most specific range decides, and without any
// everything is.
func accepts(accept []string, media string) bool {
	kind, _, _ := strings.Cut(media, "/")
	some, best, weight := false, -1, 0.0
	for r, q := range ranges(accept) {
		some = true
		precise := -1
		switch r {
		case media:
			precise = 2
		case kind + "/*":
			precise = 1
		case "*/*":
			precise = 0
		}
		if precise > best {
			best, weight = precise, q
		}
	}
	return !some || weight > 0
}

// pageOf is the body: what the app's spec says, or a page that asks again by itself, which browsers do not do for Retry-After.
func pageOf(fixed *backend.Placeholder) []byte {
	if len(fixed.Body) > 0 || fixed.Media != "text/html" {
		return fixed.Body
	}
	return fmt.Appendf(nil, `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta http-equiv="refresh" content="%d"><title>Starting</title></head>
<body><p>The app is starting. This page asks again by itself.</p></body>
</html>
`, int(comeBack.Seconds()))
}
