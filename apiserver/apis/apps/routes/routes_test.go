package routes

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func app(name string, age int, routes ...v1alpha1.Route) *v1alpha1.HTTPApp {
	return &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.Unix(int64(1000-age), 0)},
		Spec:       v1alpha1.HTTPAppSpec{Routes: routes},
	}
}

func route(prefix string, hosts ...string) v1alpha1.Route {
	return v1alpha1.Route{Hosts: hosts, PathPrefix: prefix}
}

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "shop", Name: name}
}

func TestRoutesThatMeanTheSameAreTheSame(t *testing.T) {
	header := func(pairs ...string) v1alpha1.Route {
		r := route("/", "a.example.com")
		for i := 0; i < len(pairs); i += 2 {
			r.Headers = append(r.Headers, v1alpha1.HeaderMatch{Name: pairs[i], Value: pairs[i+1]})
		}
		return r
	}
	for name, c := range map[string]struct {
		a, b v1alpha1.Route
		same bool
	}{
		"case of the host":                          {route("/", "A.example.com"), route("/", "a.EXAMPLE.com"), true},
		"the dot at the end":                        {route("/", "a.example.com."), route("/", "a.example.com"), true},
		"no prefix is the prefix of everything":     {route("", "a.example.com"), route("/", "a.example.com"), true},
		"a slash at the prefix's end":               {route("/api/", "a.example.com"), route("/api", "a.example.com"), true},
		"another prefix":                            {route("/api", "a.example.com"), route("/", "a.example.com"), false},
		"a wildcard is not the host under it":       {route("/", "*.example.com"), route("/", "a.example.com"), false},
		"case of a header's name":                   {header("x-tenant", "a"), header("X-Tenant", "a"), true},
		"order of headers":                          {header("A", "1", "B", "2"), header("B", "2", "A", "1"), true},
		"case of a header's value":                  {header("A", "x"), header("A", "X"), false},
		"headers and none":                          {header("A", "x"), header(), false},
		"a value that looks like another header":    {header("A", "1", "B", "2"), header("A", "1B2"), false},
		"case of the path, which is case-sensitive": {route("/Api", "a.example.com"), route("/api", "a.example.com"), false},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := Keys(app("a", 1, c.a)), Keys(app("b", 1, c.b))
			if same := slices.Equal(a, b); same != c.same {
				t.Errorf("%v and %v: the same is %v", a, b, same)
			}
		})
	}
}

func TestAKeyReadsLikeARoute(t *testing.T) {
	r := route("/api", "a.example.com")
	r.Headers = []v1alpha1.HeaderMatch{{Name: "x-b", Value: "2"}, {Name: "x-a", Value: "1"}}
	if got, want := Keys(app("a", 1, r))[0].String(), "a.example.com/api with X-A: 1, X-B: 2"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if got, want := Keys(app("a", 1, route("/", "A.example.com")))[0].String(), "a.example.com/"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
}

func TestTheOlderAppOwnsARoute(t *testing.T) {
	shared := route("/", "a.example.com")
	older, younger := app("z", 2, shared), app("a", 1, shared, route("/", "b.example.com"))
	twin := app("b", 1, route("/", "b.example.com"))
	owners := ownersOf([]*v1alpha1.HTTPApp{younger, twin, older})
	if owner := owners[Keys(older)[0]]; owner != older {
		t.Errorf("%s owns what the older app claims", owner.Name)
	}
	if owner := owners[Keys(twin)[0]]; owner != younger {
		t.Errorf("of two of the same age %s owns, not the first by name", owner.Name)
	}
}

func TestALoserRecoversWhenTheOwnerGoes(t *testing.T) {
	x := NewIndex()
	shared := route("/", "a.example.com")
	x.Set(app("young", 1, shared))
	if affected := x.Set(app("old", 2, shared)); !slices.Equal(affected, []types.NamespacedName{named("young")}) {
		t.Errorf("the app that lost a route to an older one is not told: %v", affected)
	}
	if c := x.Conflicts(named("young")); len(c) != 1 || c[0].Owner != named("old") {
		t.Errorf("the conflicts are %v", c)
	}
	if x.Owns(named("young")) || !x.Owns(named("old")) {
		t.Error("the younger app owns the route, or the older does not")
	}
	if affected := x.Delete(named("old")); !slices.Equal(affected, []types.NamespacedName{named("young")}) {
		t.Errorf("the app that won is not told: %v", affected)
	}
	if c := x.Conflicts(named("young")); len(c) != 0 || !x.Owns(named("young")) {
		t.Errorf("the conflicts are still %v", c)
	}
}

func TestWhatIsTakenIsKnownBeforeTheAppIs(t *testing.T) {
	x := NewIndex()
	shared := route("/", "a.example.com")
	x.Set(app("old", 3, shared))
	x.Set(app("young", 1, shared, route("/", "b.example.com")))
	next := app("next", 2, shared, route("/", "b.example.com"), route("/", "c.example.com"))
	if taken := x.Taken(next); len(taken) != 1 || taken[0].Owner != named("old") || taken[0].Key.Host != "a.example.com" {
		t.Errorf("of a new app's routes these are taken: %v", taken)
	}
	if taken := x.Taken(app("old", 3, shared)); len(taken) != 0 {
		t.Errorf("an app is in its own way: %v", taken)
	}
}

func TestAHostBelongsToWhoeverHasMostOfIt(t *testing.T) {
	withHeader := route("/", "a.example.com")
	withHeader.Headers = []v1alpha1.HeaderMatch{{Name: "x", Value: "y"}}
	x := NewIndex()
	owner := func(host string) string {
		if a := x.HostOwner(host); a != nil {
			return a.Name
		}
		return ""
	}
	check := func(want map[string]string) {
		t.Helper()
		for host, name := range want {
			if got := owner(host); got != name {
				t.Errorf("%s belongs to %q, not to %q", host, got, name)
			}
		}
	}
	x.Set(app("deep", 9, route("/api", "a.example.com")))
	check(map[string]string{"a.example.com": "deep", "b.example.com": ""})
	x.Set(app("other", 8, route("/web", "a.example.com")))
	check(map[string]string{"a.example.com": "deep"})
	x.Set(app("older", 10, route("/web2", "a.example.com")))
	check(map[string]string{"a.example.com": "deep"})
	x.Set(app("oldest", 11, route("/aaa", "a.example.com")))
	if affected := x.Set(app("headers", 7, withHeader)); !slices.Contains(affected, named("oldest")) || len(affected) != 1 {
		t.Errorf("told are %v, not the app that lost the host", affected)
	}
	check(map[string]string{"a.example.com": "headers"})
	x.Set(app("wild", 6, route("/", "*.example.com")))
	x.Set(app("wilder", 12, route("/", "*.com")))
	check(map[string]string{"a.example.com": "headers", "b.example.com": "wild", "c.b.example.com": "wild", "example.com": "wilder", "com": ""})
	x.Set(app("root", 1, route("/", "a.example.com")))
	check(map[string]string{"a.example.com": "root"})
	x.Set(app("root", 1, route("/", "b.example.com")))
	if affected := x.Delete(named("headers")); !slices.Equal(affected, []types.NamespacedName{named("oldest")}) {
		t.Errorf("told are %v, not the app that got the host", affected)
	}
	check(map[string]string{"a.example.com": "oldest", "b.example.com": "root"})
	for _, name := range []string{"deep", "other", "older", "oldest", "wild", "wilder", "root"} {
		x.Delete(named(name))
	}
	check(map[string]string{"a.example.com": "", "b.example.com": ""})
	if len(x.hosts) > 0 {
		t.Errorf("of apps that are gone remains %v", x.hosts)
	}
}

// Whatever happens in whatever order: the index agrees with the rule applied to all apps at once, and tells every app
// whose conflicts changed.
func TestTheIndexAgreesWithTheRule(t *testing.T) {
	const names, hosts, steps = 12, 6, 4000
	random := rand.New(rand.NewPCG(1, 2))
	x := NewIndex()
	apps := map[types.NamespacedName]*v1alpha1.HTTPApp{}
	all := func() (list []*v1alpha1.HTTPApp) {
		for _, a := range apps {
			list = append(list, a)
		}
		return list
	}
	conflicts := func() map[types.NamespacedName][]Conflict {
		m := map[types.NamespacedName][]Conflict{}
		for name := range apps {
			m[name] = x.Conflicts(name)
		}
		return m
	}
	for step := range steps {
		before := conflicts()
		name := named(fmt.Sprint("app-", random.IntN(names)))
		var affected []types.NamespacedName
		if random.IntN(3) == 0 {
			affected = x.Delete(name)
			delete(apps, name)
		} else {
			var routes []v1alpha1.Route
			for range random.IntN(4) {
				routes = append(routes, route([]string{"", "/", "/api", "/api/"}[random.IntN(4)], fmt.Sprintf("h%d.example.com", random.IntN(hosts))))
			}
			apps[name] = app(name.Name, random.IntN(4), routes...)
			affected = x.Set(apps[name])
		}

		owners := ownersOf(all())
		for key, owner := range owners {
			for _, a := range apps {
				if slices.Contains(Keys(a), key) && Compare(a, owner) < 0 {
					t.Fatalf("step %d: %s owns %s, which the older %s claims", step, owner.Name, key, a.Name)
				}
			}
		}
		after := conflicts()
		for n, a := range apps {
			var want []Conflict
			for _, key := range Keys(a) {
				if owners[key] != a {
					want = append(want, Conflict{key, nameOf(owners[key])})
				}
			}
			if !slices.Equal(after[n], want) {
				t.Fatalf("step %d: %s has the conflicts %v, not %v", step, n, after[n], want)
			}
			if owns := x.Owns(n); owns != (len(want) < len(Keys(a))) {
				t.Fatalf("step %d: %s owning a route is %v", step, n, owns)
			}
			if n != name && !slices.Equal(before[n], after[n]) && !slices.Contains(affected, n) {
				t.Fatalf("step %d: %s went from %v to %v and was not told", step, n, before[n], after[n])
			}
		}
	}
}

func BenchmarkTenThousandAppsOneOfWhichChanges(b *testing.B) {
	x := NewIndex()
	for i := range 10_000 {
		x.Set(app(fmt.Sprint("app-", i), i%100, route("/", fmt.Sprintf("h%d.example.com", i))))
	}
	a := app("app-5000", 50, route("/", "h5000.example.com"))
	a.CreationTimestamp = metav1.NewTime(time.Unix(1, 0))
	for b.Loop() {
		x.Set(a)
	}
}

func BenchmarkWhatIsTakenOfOneAmongTenThousandApps(b *testing.B) {
	x := NewIndex()
	for i := range 10_000 {
		x.Set(app(fmt.Sprint("app-", i), i%100, route("/", fmt.Sprintf("h%d.example.com", i))))
	}
	a := app("new", 0, route("/", "h5000.example.com"))
	for b.Loop() {
		x.Taken(a)
	}
}

// ownersOf returns the owner of each route that any of the apps claims, by comparing all with all.
func ownersOf(apps []*v1alpha1.HTTPApp) map[Key]*v1alpha1.HTTPApp {
	owners := map[Key]*v1alpha1.HTTPApp{}
	for _, app := range apps {
		for _, key := range Keys(app) {
			if owner, taken := owners[key]; !taken || Compare(app, owner) < 0 {
				owners[key] = app
			}
		}
	}
	return owners
}
