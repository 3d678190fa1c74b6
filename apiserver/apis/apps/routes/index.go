package routes

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Index keeps the owners of all routes while apps come, change and go. A change costs as much as the app has routes,
// however many apps there are. It is safe for concurrent use.
type Index struct {
	mu sync.Mutex
	// claims has the apps that claim a route, the owner first.
	claims map[Key][]*v1alpha1.HTTPApp
	keys   map[types.NamespacedName][]Key
	// hosts has the routes of a host that any app claims, the broadest first.
	hosts map[string][]Key
}

// NewIndex makes an index of no apps.
func NewIndex() *Index {
	return &Index{claims: map[Key][]*v1alpha1.HTTPApp{}, keys: map[types.NamespacedName][]Key{}, hosts: map[string][]Key{}}
}

// Conflict is a route that an app claims and does not own.
type Conflict struct {
	Key   Key
	Owner types.NamespacedName
}

// Set adds an app, or puts it in the place of what was known of it, and returns the other apps that thereby won or lost a
// route or a host, or lost it to another owner than before.
func (x *Index) Set(app *v1alpha1.HTTPApp) []types.NamespacedName {
	return x.replace(nameOf(app), app)
}

// Delete takes an app away, and returns the other apps whose routes that changed.
func (x *Index) Delete(app types.NamespacedName) []types.NamespacedName {
	return x.replace(app, nil)
}

func (x *Index) replace(name types.NamespacedName, app *v1alpha1.HTTPApp) []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	var keys []Key
	if app != nil {
		keys = Keys(app)
	}
	before := x.keys[name]
	owners := map[Key]types.NamespacedName{}
	hosts := map[string]types.NamespacedName{}
	for _, key := range append(slices.Clone(before), keys...) {
		hosts[key.Host] = x.hostOwnerName(key.Host)
		if claims := x.claims[key]; len(claims) > 0 {
			owners[key] = nameOf(claims[0])
		} else {
			owners[key] = types.NamespacedName{}
		}
	}

	for _, key := range before {
		claims := slices.DeleteFunc(x.claims[key], func(a *v1alpha1.HTTPApp) bool { return nameOf(a) == name })
		if len(claims) == 0 {
			delete(x.claims, key)
			x.dropFromHost(key)
		} else {
			x.claims[key] = claims
		}
	}
	for _, key := range keys {
		claims := x.claims[key]
		if len(claims) == 0 {
			x.addToHost(key)
		}
		at, _ := slices.BinarySearchFunc(claims, app, Compare)
		x.claims[key] = slices.Insert(claims, at, app)
	}
	if len(keys) == 0 {
		delete(x.keys, name)
	} else {
		x.keys[name] = keys
	}

	affected := map[types.NamespacedName]struct{}{}
	for key, owner := range owners {
		claims := x.claims[key]
		if len(claims) == 0 || nameOf(claims[0]) == owner {
			continue
		}
		for _, a := range claims {
			affected[nameOf(a)] = struct{}{}
		}
	}
	for host, owner := range hosts {
		if now := x.hostOwnerName(host); now != owner {
			affected[owner], affected[now] = struct{}{}, struct{}{}
		}
	}
	delete(affected, types.NamespacedName{}) // nobody's
	delete(affected, name)
	names := make([]types.NamespacedName, 0, len(affected))
	for a := range affected {
		names = append(names, a)
	}
	return names
}

// Conflicts returns the routes that an app claims and others own, in the order of its routes.
func (x *Index) Conflicts(app types.NamespacedName) []Conflict {
	x.mu.Lock()
	defer x.mu.Unlock()
	var conflicts []Conflict
	for _, key := range x.keys[app] {
		if owner := nameOf(x.claims[key][0]); owner != app {
			conflicts = append(conflicts, Conflict{key, owner})
		}
	}
	return conflicts
}

// Taken returns the routes of an app that an older one owns, in the order of the app's routes. The app need not be in the index, or
// can be there as it was before.
func (x *Index) Taken(app *v1alpha1.HTTPApp) []Conflict {
	x.mu.Lock()
	defer x.mu.Unlock()
	var taken []Conflict
	for _, key := range Keys(app) {
		if claims := x.claims[key]; len(claims) > 0 && nameOf(claims[0]) != nameOf(app) && Compare(claims[0], app) <= 0 {
			taken = append(taken, Conflict{key, nameOf(claims[0])})
		}
	}
	return taken
}

// Owns reports whether an app owns any route: without one, no request is its.
func (x *Index) Owns(app types.NamespacedName) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.ContainsFunc(x.keys[app], func(key Key) bool { return nameOf(x.claims[key][0]) == app })
}

// Owner returns the app that owns a route, nil when nobody claims it.
func (x *Index) Owner(key Key) *v1alpha1.HTTPApp {
	x.mu.Lock()
	defer x.mu.Unlock()
	if claims := x.claims[key]; len(claims) > 0 {
		return claims[0]
	}
	return nil
}

// HostOwner returns the app that a host belongs to as a whole, as for its certificate: where several apps have routes of one host, the
// owner of the broadest one, which is that of the shortest path prefix, then of the fewest headers, then that of the oldest app. A host
// that no app names belongs to the owner of the longest wildcard that it is in. It is nil when it is nobody's.
func (x *Index) HostOwner(host string) *v1alpha1.HTTPApp {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.hosts[host]) > 0 {
		return x.hostOwner(host)
	}
	for {
		_, suffix, more := strings.Cut(host, ".")
		if !more {
			return nil
		}
		if wildcard := "*." + suffix; len(x.hosts[wildcard]) > 0 {
			return x.hostOwner(wildcard)
		}
		host = suffix
	}
}

func (x *Index) hostOwner(host string) *v1alpha1.HTTPApp {
	var owner *v1alpha1.HTTPApp
	keys := x.hosts[host]
	for i, key := range keys {
		if i > 0 && broader(keys[0], key) < 0 {
			break
		}
		if first := x.claims[key][0]; owner == nil || Compare(first, owner) < 0 {
			owner = first
		}
	}
	return owner
}

func (x *Index) hostOwnerName(host string) (name types.NamespacedName) {
	if owner := x.hostOwner(host); owner != nil {
		name = nameOf(owner)
	}
	return name
}

// broader orders routes of one host by how much of it they are.
func broader(a, b Key) int {
	return cmp.Or(cmp.Compare(len(a.PathPrefix), len(b.PathPrefix)), cmp.Compare(strings.Count(a.headers, "\x01"), strings.Count(b.headers, "\x01")))
}

// order is broader's, and one of its own among those that are alike.
func order(a, b Key) int {
	return cmp.Or(broader(a, b), cmp.Compare(a.PathPrefix, b.PathPrefix), cmp.Compare(a.headers, b.headers))
}

func (x *Index) addToHost(key Key) {
	keys := x.hosts[key.Host]
	at, _ := slices.BinarySearchFunc(keys, key, order)
	x.hosts[key.Host] = slices.Insert(keys, at, key)
}

func (x *Index) dropFromHost(key Key) {
	keys := x.hosts[key.Host]
	if at, found := slices.BinarySearchFunc(keys, key, order); found {
		keys = slices.Delete(keys, at, at+1)
	}
	if len(keys) == 0 {
		delete(x.hosts, key.Host)
	} else {
		x.hosts[key.Host] = keys
	}
}

func nameOf(app *v1alpha1.HTTPApp) types.NamespacedName {
	return types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
}
