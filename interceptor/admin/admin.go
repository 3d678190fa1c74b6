// Package admin is what those who run a part may ask it, and tell it, from inside of its pod, and nobody else.
package admin

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/component-base/logs"
	"k8s.io/klog/v2"
)

// FromInside lets only those requests pass that come from the pod.
func FromInside(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fromHere(r) {
			http.Error(w, "only from inside of the pod: kubectl port-forward its port, and ask localhost", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// fromHere reports whether a request comes from the pod itself, as those of kubectl port-forward do, which takes the right to it.
// The very address counts, for proxies inside of pods have others of the loopback's; and the host, for a browser can be led to
// ask any address by a name of somebody else's.
func fromHere(r *http.Request) bool {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	if a := remote.Addr().Unmap(); a != netip.AddrFrom4([4]byte{127, 0, 0, 1}) && a != netip.IPv6Loopback() {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	switch strings.Trim(host, "[]") {
	case "localhost", "127.0.0.1", "::1":
		return true
	}
	return false
}

// VerbosityPattern is where Verbosity is served, as the components of Kubernetes and the API server have it.
const VerbosityPattern = "PUT /debug/flags/v"

// most is the highest verbosity that holds no secret: from 8 on, Kubernetes' client library logs what it reads and writes, keys in Secrets
// as well.
const most = 7

// CheckVerbosity says why a part may not log as much as it was started to.
func CheckVerbosity(v int) error {
	if v > most {
		return fmt.Errorf("--v: %d: must be %d or less: beyond, what is read from the cluster is logged, keys in Secrets as well", v, most)
	}
	return nil
}

// Verbosity sets how much is logged (-v) to the number that is the request's body.
func Verbosity(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 16))
	if err != nil {
		http.Error(w, "the body cannot be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	v, err := strconv.Atoi(string(body))
	if err != nil || v < 0 || v > most {
		http.Error(w, fmt.Sprintf("the body is %q, and not a number from 0 to %d", body, most), http.StatusBadRequest)
		return
	}
	done, err := logs.GlogSetter(strconv.Itoa(v))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	klog.InfoS("Logging at another verbosity from now on", "v", v)
	fmt.Fprintln(w, done)
}
