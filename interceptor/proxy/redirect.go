package proxy

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/interceptor/backend"
	"github.com/kedahttp/kedahttp/interceptor/routing"
)

// Certificates tells which apps are served with TLS.
type Certificates interface {
	Has(app types.NamespacedName) bool
}

// redirects reports whether requests for an app that come in plain text are sent to https. Without a certificate they are not: there
// would be nobody to answer, also not whoever is to see that a certificate may be issued (RFC 8555 section 8.3).
func (h *Handler) redirects(b *backend.Backend) bool {
	return b.Settings().Redirect && h.config.Certificates != nil && h.config.Certificates.Has(b.Name)
}

// secure reports whether the request came with TLS, to here or to a proxy in front that is trusted.
func (h *Handler) secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if !strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		return false
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && h.trusts(remote.Addr())
}

// redirect sends a client to where the same is with TLS. It repeats its request there, method and body included.
func (h *Handler) redirect(r *http.Request, app types.NamespacedName) *refusal {
	host := routing.Host(r.Host)
	if port := h.config.PublicTLSPort; port != 443 && port != 0 {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	location := "https://" + host + r.URL.EscapedPath()
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		location += "?" + r.URL.RawQuery
	}
	return &refusal{
		status: http.StatusPermanentRedirect, reason: reasonRedirect, app: app, location: location,
		message: fmt.Sprintf("app %s is served with TLS: ask %s", app, location),
	}
}
