// Package routes knows which app owns a route. One app in the cluster owns a (host, path prefix, headers): the oldest that
// names it.
package routes

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Key is what only one app can own, in the form in which two of them can be compared.
type Key struct {
	// Host is a DNS name or a wildcard, in lower case and without a dot at the end.
	Host string
	// PathPrefix is without its last slash: that of everything is empty.
	PathPrefix string
	headers    string
}

// String is how a user would write the route.
func (k Key) String() string {
	s := k.Host + cmp.Or(k.PathPrefix, "/")
	if k.headers == "" {
		return s
	}
	var pairs []string
	for pair := range strings.SplitSeq(strings.TrimSuffix(k.headers, "\x01"), "\x01") {
		pairs = append(pairs, strings.Replace(pair, "\x00", ": ", 1))
	}
	return s + " with " + strings.Join(pairs, ", ")
}

// Headers are the headers that a request of the route has, in an order that is the same for the same set of them.
func (k Key) Headers() []v1alpha1.HeaderMatch {
	var headers []v1alpha1.HeaderMatch
	for line := range strings.SplitSeq(k.headers, "\x01") {
		if name, value, ok := strings.Cut(line, "\x00"); ok {
			headers = append(headers, v1alpha1.HeaderMatch{Name: name, Value: value})
		}
	}
	return headers
}

// Keys returns what an app claims, each once, in the order of its routes.
func Keys(app *v1alpha1.HTTPApp) []Key {
	keys, _ := KeysOf(app)
	return keys
}

// KeysOf returns what an app claims, as Keys does, and of each the index of its route in the app's spec.
func KeysOf(app *v1alpha1.HTTPApp) (keys []Key, routes []int) {
	seen := map[Key]struct{}{}
	for i := range app.Spec.Routes {
		r := &app.Spec.Routes[i]
		prefix, headers := strings.TrimRight(r.PathPrefix, "/"), headersKey(r.Headers)
		for _, host := range r.Hosts {
			host = strings.ToLower(strings.TrimSuffix(host, "."))
			if host == "" {
				continue
			}
			k := Key{Host: host, PathPrefix: prefix, headers: headers}
			if _, dup := seen[k]; !dup {
				seen[k] = struct{}{}
				keys, routes = append(keys, k), append(routes, i)
			}
		}
	}
	return keys, routes
}

// headersKey is the same for the same set of headers, whatever their order and the case of their names.
func headersKey(headers []v1alpha1.HeaderMatch) string {
	if len(headers) == 0 {
		return ""
	}
	lines := make([]string, 0, len(headers))
	for _, h := range headers {
		lines = append(lines, http.CanonicalHeaderKey(h.Name)+"\x00"+h.Value+"\x01")
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "")
}

// Compare says which of two apps goes first: the one that was made first; of two made in the same second, which is as exact
// as a creationTimestamp is, the one whose namespace and name sort first.
func Compare(a, b *v1alpha1.HTTPApp) int {
	return cmp.Or(
		a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
	)
}
