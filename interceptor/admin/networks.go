package admin

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Networks are those of who is answered; without any, everybody is.
type Networks []netip.Prefix

var _ pflag.Value = (*Networks)(nil)

// Set implements pflag.Value.
func (n *Networks) Set(text string) error {
	for s := range strings.SplitSeq(text, ",") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return err
		}
		*n = append(*n, p.Masked())
	}
	return nil
}

// String implements pflag.Value.
func (n *Networks) String() string {
	var all []string
	for _, p := range *n {
		all = append(all, p.String())
	}
	return strings.Join(all, ",")
}

// Type implements pflag.Value.
func (*Networks) Type() string { return "networks" }

// Only lets only those requests pass that come from the networks.
func (n Networks) Only(h http.Handler) http.Handler {
	if len(n) == 0 {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		remote, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !slices.ContainsFunc(n, func(p netip.Prefix) bool { return p.Contains(remote.Addr().Unmap()) }) {
			http.Error(w, "this address is in none of --metrics-from", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}
