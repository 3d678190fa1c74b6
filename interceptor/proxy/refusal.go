package proxy

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/coldstart"
	"github.com/kedahttp/kedahttp/interceptor/http1"
	"github.com/kedahttp/kedahttp/interceptor/routing"
)

// Reasons for an answer of the interceptor's own. They are labels of a metric: there are no others.
const (
	reasonMalformed      = "malformed"
	reasonNoRoute        = "no_route"
	reasonStarting       = "starting"
	reasonQueueFull      = "queue_full"
	reasonCrowded        = "interceptor_full"
	reasonQueueTimeout   = "queue_timeout"
	reasonFailing        = "app_failing"
	reasonAsleep         = "app_asleep"
	reasonGone           = "app_gone"
	reasonHeaderTimeout  = "response_header_timeout"
	reasonRequestTimeout = "request_timeout"
	reasonIdleTimeout    = "idle_timeout"
	reasonBackend        = "backend"
	reasonClientGone     = "client_gone"
	reasonPlaceholder    = "placeholder"
	reasonRedirect       = "redirect"
)

var reasons = []string{
	reasonMalformed, reasonNoRoute, reasonStarting, reasonQueueFull, reasonCrowded, reasonQueueTimeout, reasonFailing, reasonAsleep, reasonGone,
	reasonHeaderTimeout, reasonRequestTimeout, reasonIdleTimeout, reasonBackend, reasonClientGone, reasonPlaceholder, reasonRedirect,
}

// Reasons for trying a request again. They are labels of a metric, too.
const (
	retryConnect  = "connect"
	retryRepeated = "repeated"
)

// statusClientGone is nginx's code for a client that left before the answer; nobody ever receives it.
const statusClientGone = 499

// refusal is an answer of the interceptor's own. It is an error, so that it can end a round trip.
type refusal struct {
	status     int
	reason     string
	app        types.NamespacedName
	message    string
	retryAfter time.Duration
	cause      error
	// location is where a redirect leads to.
	location string
	// id is the request's, if it has one.
	id string
	// size is that of the body that was sent.
	size int
	// fixed is what is said instead of the message, if anything.
	fixed *backend.Placeholder
}

func (r *refusal) Error() string {
	if r.cause != nil {
		return r.message + ": " + r.cause.Error()
	}
	return r.message
}

func (r *refusal) Unwrap() error { return r.cause }

func starting() *refusal {
	return &refusal{
		status: http.StatusServiceUnavailable, reason: reasonStarting, retryAfter: time.Second,
		message: "this interceptor is starting and does not know its routes yet",
	}
}

func malformed(m *http1.Malformed) *refusal {
	return &refusal{status: m.Status, reason: reasonMalformed, message: m.Message}
}

func noRoute(host, path string) *refusal {
	return &refusal{
		status: http.StatusNotFound, reason: reasonNoRoute,
		message: fmt.Sprintf("no app has a route for host %q and path %q", routing.Host(host), path),
	}
}

// write answers with text, or with JSON when the client would rather have that.
func (r *refusal) write(w http.ResponseWriter, req *http.Request) {
	header, body := r.answer(req.Header.Values("Accept"))
	maps.Copy(w.Header(), header)
	w.WriteHeader(r.status)
	r.size, _ = w.Write(body) // the client may be gone
}

// appendTo appends the whole response of HTTP/1.1.
func (r *refusal) appendTo(dst []byte, accept string, ofHead, last bool, date []byte) []byte {
	header, body := r.answer([]string{accept})
	if !ofHead {
		r.size = len(body)
	}
	return appendResponse(dst, r.status, header, body, ofHead, last, date)
}

// appendResponse appends a whole response of HTTP/1.1. The header is complete but for what belongs to the connection.
func appendResponse(dst []byte, status int, header http.Header, body []byte, ofHead, last bool, date []byte) []byte {
	dst = fmt.Appendf(dst, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, http.StatusText(status), date)
	for _, name := range slices.Sorted(maps.Keys(header)) {
		dst = fmt.Appendf(dst, "%s: %s\r\n", name, header.Get(name))
	}
	if last {
		dst = append(dst, "Connection: close\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	if ofHead {
		return dst
	}
	return append(dst, body...)
}

func (r *refusal) answer(accept []string) (http.Header, []byte) {
	h := http.Header{}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(r.retryAfter.Seconds()))))
	}
	if r.location != "" {
		h.Set("Location", r.location)
	}
	if r.id != "" {
		h.Set(requestIDHeader, r.id)
	}
	if r.reason == reasonPlaceholder {
		h.Set(coldstart.Header, coldstart.Placeholder)
	}
	var body []byte
	switch {
	case r.status == http.StatusNoContent || r.status == http.StatusNotModified:
		return h, nil // RFC 9112 section 6.3: without a body, whatever is said of one
	case r.fixed != nil:
		h.Set("Content-Type", r.fixed.ContentType)
		body = pageOf(r.fixed)
	case prefersJSON(accept):
		h.Set("Content-Type", "application/json")
		body = r.json()
	default:
		h.Set("Content-Type", "text/plain; charset=utf-8")
		body = []byte(r.message + "\n")
		if r.id != "" {
			body = fmt.Appendf(body, "request %s\n", r.id)
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	return h, body
}

func (r *refusal) json() []byte {
	type app struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	said := struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
		App     *app   `json:"app,omitempty"`
		Request string `json:"requestId,omitempty"`
	}{Reason: r.reason, Message: r.message, Request: r.id}
	if r.app.Name != "" {
		said.App = &app{r.app.Namespace, r.app.Name}
	}
	body, err := json.Marshal(said)
	if err != nil {
		return []byte("{}") // strings can always be marshalled
	}
	return append(body, '\n')
}

// prefersJSON reports whether JSON is wanted more than text (RFC 9110 section 12.5.1), with the exception that */* alone is text.
func prefersJSON(accept []string) bool {
	var wantJSON, wantText float64
	for media, q := range ranges(accept) {
		switch {
		case isJSON(media):
			wantJSON = max(wantJSON, q)
		case media == "*/*" || strings.HasPrefix(media, "text/"):
			wantText = max(wantText, q)
		}
	}
	// application/json, */*;q=0.8 and the equal weights of application/json, text/plain, */* mean JSON.
	return wantJSON > 0 && wantJSON >= wantText
}

func isJSON(media string) bool {
	return media == "application/json" || strings.HasSuffix(media, "+json") && strings.HasPrefix(media, "application/")
}

// ranges are the media ranges of an Accept header, with their weights.
func ranges(accept []string) iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for _, part := range strings.Split(strings.Join(accept, ","), ",") {
			media, params, err := mime.ParseMediaType(strings.TrimSpace(part))
			if err != nil {
				continue
			}
			q := 1.0
			if v, err := strconv.ParseFloat(params["q"], 64); err == nil {
				q = v
			}
			if !yield(media, q) {
				return
			}
		}
	}
}
