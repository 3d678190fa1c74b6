package backend

import (
	"net/http"
	"strconv"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Route is what a route of the table leads to.
type Route struct {
	*Backend
	// Static is the response to all its requests; nil: the app's pods answer.
	Static *Static
}

// Static is a fixed response.
type Static struct {
	Status int
	// Header is complete but for Date and Connection. It is not to be changed.
	Header http.Header
	Body   []byte
}

// routesOf returns where each of the app's routes leads.
func routesOf(app *v1alpha1.HTTPApp, b *Backend) []*Route {
	plain := &Route{Backend: b}
	routes := make([]*Route, len(app.Spec.Routes))
	for i := range routes {
		routes[i] = plain
		if s := app.Spec.Routes[i].Static; s != nil {
			routes[i] = &Route{Backend: b, Static: staticOf(s)}
		}
	}
	return routes
}

func staticOf(from *v1alpha1.StaticResponse) *Static {
	s := &Static{Status: int(from.StatusCode), Header: http.Header{}, Body: []byte(from.Body)}
	if s.Status < 200 || s.Status > 599 {
		s.Status = http.StatusOK
	}
	s.Header.Set("Content-Type", "text/plain; charset=utf-8")
	for _, h := range from.Headers {
		s.Header.Set(h.Name, h.Value)
	}
	if s.Status == http.StatusNoContent || s.Status == http.StatusNotModified {
		// RFC 9112 section 6.3: without a body, whatever is said of one.
		s.Header.Del("Content-Type")
		s.Body = nil
		return s
	}
	s.Header.Set("Content-Length", strconv.Itoa(len(s.Body)))
	return s
}
