// Package routing knows which app a request belongs to.
package routing

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Table finds the app of a request. Any number of requests read it without a lock while apps come, change and go. A change
// costs as much as the app has routes, however many apps there are, and requests see it route by route.
type Table[T any] struct {
	exact hosts[T]
	// wildcard has the routes of *.suffix under suffix.
	wildcard hosts[T]

	// What follows is of those who change the table.
	mu    sync.Mutex
	index *routes.Index
	apps  map[types.NamespacedName]entry[T]
	// claimed has the routes that any app claims, by the place where they are looked for.
	claimed map[place][]routes.Key
}

type entry[T any] struct {
	keys []routes.Key
	// to is where each of the keys leads.
	to []T
}

type place struct{ host, prefix string }

// NewTable makes a table of no apps.
func NewTable[T any]() *Table[T] {
	return &Table[T]{
		exact: newHosts[T](), wildcard: newHosts[T](),
		index: routes.NewIndex(), apps: map[types.NamespacedName]entry[T]{}, claimed: map[place][]routes.Key{},
	}
}

// Set adds an app, or puts it in the place of what was known of it; the requests of each of its routes
// are routed to what is given for it, in the order of the spec. A route leads to the app that owns it, and to no other that claims it.
func (t *Table[T]) Set(app *v1alpha1.HTTPApp, to []T) {
	name := types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.apps[name].keys
	after, of := routes.KeysOf(app)
	e := entry[T]{keys: after}
	for _, route := range of {
		e.to = append(e.to, to[route])
	}
	t.index.Set(app)
	t.apps[name] = e
	t.refresh(before, after)
}

// Delete takes an app away.
func (t *Table[T]) Delete(name types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.apps[name].keys
	t.index.Delete(name)
	delete(t.apps, name)
	t.refresh(before, nil)
}

// refresh makes the rules anew where an app's routes were and are.
func (t *Table[T]) refresh(before, after []routes.Key) {
	places := map[place]struct{}{}
	for _, key := range before {
		at := place{key.Host, key.PathPrefix}
		places[at] = struct{}{}
		if t.index.Owner(key) == nil {
			t.claimed[at] = slices.DeleteFunc(t.claimed[at], func(k routes.Key) bool { return k == key })
		}
	}
	for _, key := range after {
		at := place{key.Host, key.PathPrefix}
		places[at] = struct{}{}
		if !slices.Contains(t.claimed[at], key) {
			t.claimed[at] = append(t.claimed[at], key)
		}
	}
	for at := range places {
		rules := t.rules(t.claimed[at])
		if len(rules) == 0 {
			delete(t.claimed, at)
		}
		if suffix, ok := strings.CutPrefix(at.host, "*."); ok {
			t.wildcard.set(suffix, at.prefix, rules)
		} else {
			t.exact.set(at.host, at.prefix, rules)
		}
	}
}

// rules are those of routes of one place, in the order in which they are tried: more headers first, then older apps, then as the
// app has them.
func (t *Table[T]) rules(keys []routes.Key) []rule[T] {
	type owned struct {
		rule  rule[T]
		owner *v1alpha1.HTTPApp
		at    int
	}
	var all []owned
	for _, key := range keys {
		owner := t.index.Owner(key)
		e := t.apps[types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}]
		at := slices.Index(e.keys, key)
		all = append(all, owned{rule[T]{key.Headers(), e.to[at]}, owner, at})
	}
	slices.SortFunc(all, func(a, b owned) int {
		return cmp.Or(cmp.Compare(len(b.rule.headers), len(a.rule.headers)), routes.Compare(a.owner, b.owner), cmp.Compare(a.at, b.at))
	})
	var rules []rule[T]
	for _, o := range all {
		rules = append(rules, o.rule)
	}
	return rules
}

// Header is the fields of a request's header; nil is none.
type Header interface {
	// Has reports whether any field of a name, which is in canonical form, has a value.
	Has(name, value string) bool
}

// HTTPHeader is a header of net/http.
type HTTPHeader http.Header

// Has implements Header.
func (h HTTPHeader) Has(name, value string) bool { return slices.Contains(h[name], value) }

// Match returns what a request is routed to: the first rule that fits, from the exact host over longer wildcards to shorter
// ones, there from longer path prefixes to shorter ones, there from more headers to fewer. A host whose rules do not fit
// leaves the request to the next wildcard.
func (t *Table[T]) Match(host, path string, header Header) (to T, ok bool) {
	host = Host(host)
	if to, ok = t.exact.match(host, path, header); ok || t.wildcard.empty() {
		return to, ok
	}
	for {
		_, suffix, more := strings.Cut(host, ".")
		if !more {
			return to, false
		}
		if to, ok = t.wildcard.match(suffix, path, header); ok {
			return to, true
		}
		host = suffix
	}
}

// HostOwner returns the app that a host belongs to as a whole: see routes.Index.
func (t *Table[T]) HostOwner(host string) (app types.NamespacedName, ok bool) {
	owner := t.index.HostOwner(Host(host))
	if owner == nil {
		return app, false
	}
	return types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}, true
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
