// Package routing knows which app a request belongs to.
package routing

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Table finds the app of a request. It does not change once it is built, so that any number of requests read it without a
// lock; a new one takes its place.
type Table[T any] struct {
	exact map[string][]rule[T]
	// wildcard has the rules of *.suffix under suffix.
	wildcard map[string][]rule[T]
}

// rule is one route of one host. The rules of a host are in the order in which they are tried.
type rule[T any] struct {
	// prefix is the path prefix without its last slash: that of everything is empty.
	prefix  string
	headers []v1alpha1.HeaderMatch
	to      T
}

// Build makes the table of all apps; to says what a request of an app is routed to. A route leads to the app that owns it, and
// to no other that claims it.
func Build[T any](apps []*v1alpha1.HTTPApp, to func(*v1alpha1.HTTPApp) T) *Table[T] {
	t := &Table[T]{exact: map[string][]rule[T]{}, wildcard: map[string][]rule[T]{}}
	apps = slices.SortedFunc(slices.Values(apps), routes.Compare)
	owners := routes.Owners(apps)
	for _, app := range apps {
		if len(app.Spec.Routes) == 0 {
			continue
		}
		target := to(app)
		for _, route := range app.Spec.Routes {
			headers := canonical(route.Headers)
			for _, host := range route.Hosts {
				route.Hosts = []string{host}
				for _, key := range routes.Keys(&v1alpha1.HTTPApp{Spec: v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{route}}}) {
					if owners[key] != app {
						continue
					}
					r := rule[T]{prefix: key.PathPrefix, headers: headers, to: target}
					if suffix, ok := strings.CutPrefix(key.Host, "*."); ok {
						t.wildcard[suffix] = append(t.wildcard[suffix], r)
					} else {
						t.exact[key.Host] = append(t.exact[key.Host], r)
					}
				}
			}
		}
	}
	for _, hosts := range []map[string][]rule[T]{t.exact, t.wildcard} {
		for _, rules := range hosts {
			// Stable: what is equal stays in the order of age.
			slices.SortStableFunc(rules, func(a, b rule[T]) int {
				return cmp.Or(cmp.Compare(len(b.prefix), len(a.prefix)), cmp.Compare(len(b.headers), len(a.headers)))
			})
		}
	}
	return t
}

// canonical has the headers' names as requests have them, each header once.
func canonical(headers []v1alpha1.HeaderMatch) []v1alpha1.HeaderMatch {
	headers = slices.Clone(headers)
	for i := range headers {
		headers[i].Name = http.CanonicalHeaderKey(headers[i].Name)
	}
	slices.SortFunc(headers, func(a, b v1alpha1.HeaderMatch) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
	})
	return slices.Compact(headers)
}

// Match returns what a request is routed to: the first rule that fits, from the exact host over longer wildcards to shorter
// ones, there from longer path prefixes to shorter ones, there from more headers to fewer. A host whose rules do not fit
// leaves the request to the next wildcard.
func (t *Table[T]) Match(host, path string, header http.Header) (to T, ok bool) {
	host = Host(host)
	if to, ok = match(t.exact[host], path, header); ok || len(t.wildcard) == 0 {
		return to, ok
	}
	for {
		_, suffix, more := strings.Cut(host, ".")
		if !more {
			return to, false
		}
		if to, ok = match(t.wildcard[suffix], path, header); ok {
			return to, true
		}
		host = suffix
	}
}

func match[T any](rules []rule[T], path string, header http.Header) (to T, ok bool) {
rules:
	for i := range rules {
		r := &rules[i]
		if !strings.HasPrefix(path, r.prefix) || len(path) > len(r.prefix) && r.prefix != "" && path[len(r.prefix)] != '/' {
			continue
		}
		for _, h := range r.headers {
			if !slices.Contains(header[h.Name], h.Value) {
				continue rules
			}
		}
		return r.to, true
	}
	return to, false
}

// Host brings a Host header to the form in which DNS names are compared: in lower case, without a port and without the dot at
// the end.
func Host(host string) string {
	if strings.HasPrefix(host, "[") { // an IPv6 address
		if end := strings.IndexByte(host, ']'); end > 0 {
			return strings.ToLower(host[1:end])
		}
		return host
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host, ':') == i {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
