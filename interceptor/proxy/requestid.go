package proxy

import (
	"fmt"
	"net/http"

	"github.com/kedahttp/kedahttp/interceptor/http1"
)

// RequestIDs says what is done about X-Request-Id.
type RequestIDs string

const (
	// RequestIDsOff leaves it to clients and apps.
	RequestIDsOff RequestIDs = "off"
	// RequestIDsForward has apps told the client's, or one that is made when the client gives none or one that cannot be taken
	// over; refusals have it, too.
	RequestIDsForward RequestIDs = "forward"
	// RequestIDsReturn has clients told it, too, unless the app tells them one itself.
	RequestIDsReturn RequestIDs = "return"
)

// ParseRequestIDs reads a flag.
func ParseRequestIDs(s string) (RequestIDs, error) {
	switch ids := RequestIDs(s); ids {
	case RequestIDsOff, RequestIDsForward, RequestIDsReturn:
		return ids, nil
	}
	return "", fmt.Errorf("%q is not off, forward or return", s)
}

// on reports whether requests have ids; the zero value is off.
func (ids RequestIDs) on() bool { return ids == RequestIDsForward || ids == RequestIDsReturn }

const requestIDHeader = "X-Request-Id"

// requestID is the id of a request that net/http has read; empty when there are none.
func (h *Handler) requestID(header http.Header) string {
	if !h.config.RequestIDs.on() {
		return ""
	}
	if given := header[requestIDHeader]; len(given) == 1 && http1.ValidRequestID(given[0]) {
		return given[0]
	}
	return string(http1.AppendRequestID(nil))
}

// withRequestID adds the id to a header that is to stay as it is, if clients are told and it tells them none.
func (h *Handler) withRequestID(header http.Header, id string) http.Header {
	if h.config.RequestIDs != RequestIDsReturn || len(header[requestIDHeader]) > 0 {
		return header
	}
	header = header.Clone()
	header[requestIDHeader] = []string{id}
	return header
}
