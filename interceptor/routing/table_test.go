package routing

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func app(name string, age time.Duration, routes ...v1alpha1.Route) *v1alpha1.HTTPApp {
	return &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e6, 0).Add(-age))},
		Spec:       v1alpha1.HTTPAppSpec{Routes: routes},
	}
}

func route(host, prefix string, headers ...v1alpha1.HeaderMatch) v1alpha1.Route {
	return v1alpha1.Route{Hosts: []string{host}, PathPrefix: prefix, Headers: headers}
}

// build is a table of apps by name.
func build(apps []*v1alpha1.HTTPApp) *Table[string] {
	t := NewTable[string]()
	for _, a := range apps {
		t.Set(a, slices.Repeat([]string{a.Name}, len(a.Spec.Routes)))
	}
	return t
}

func TestARequestGoesToTheMostSpecificRoute(t *testing.T) {
	beta := v1alpha1.HeaderMatch{Name: "x-version", Value: "beta"}
	table := build([]*v1alpha1.HTTPApp{
		app("any", 9*time.Hour, route("*.example.com", "/")),
		app("wild", 8*time.Hour, route("*.shop.example.com", "")),
		app("shop", 7*time.Hour, route("Shop.Example.com.", "/")),
		app("api", 6*time.Hour, route("shop.example.com", "/api/")),
		app("beta", 5*time.Hour, route("shop.example.com", "/api/v2", beta)),
		app("only-deep", 4*time.Hour, route("deep.example.com", "/deep")),
		app("none", 2*time.Hour),
		app("straße", 2*time.Hour, route("xn--strae-oqa.example.org", "/")),
		app("müller", 2*time.Hour, route("*.XN--mller-kva.example.org", "/")),
	})
	for what, c := range map[string]struct {
		host, path string
		header     http.Header
		want       string
	}{
		"the exact host":                         {"shop.example.com", "/", nil, "shop"},
		"in another case":                        {"SHOP.example.COM", "/", nil, "shop"},
		"with a port":                            {"shop.example.com:8080", "/", nil, "shop"},
		"with the dot of the root":               {"shop.example.com.", "/", nil, "shop"},
		"with the dot of the root and a port":    {"shop.example.com.:80", "/", nil, "shop"},
		"the longer path":                        {"shop.example.com", "/api/x", nil, "api"},
		"the path itself":                        {"shop.example.com", "/api", nil, "api"},
		"half a segment is none":                 {"shop.example.com", "/apis", nil, "shop"},
		"a header that fits":                     {"shop.example.com", "/api/v2/x", http.Header{"X-Version": {"a", "beta"}}, "beta"},
		"a header that does not hides nothing":   {"shop.example.com", "/api/v2/x", http.Header{"X-Version": {"alpha"}}, "api"},
		"the longer wildcard":                    {"a.shop.example.com", "/", nil, "wild"},
		"a wildcard of several labels":           {"a.b.shop.example.com", "/", nil, "wild"},
		"the shorter wildcard":                   {"cart.example.com", "/", nil, "any"},
		"a host whose paths do not fit":          {"deep.example.com", "/", nil, "any"},
		"the wildcard's own suffix is not in it": {"example.com", "/", nil, ""},
		"an IPv6 address":                        {"[2001:db8::1]:8080", "/", nil, ""},
		"another host":                           {"example.org", "/", nil, ""},
		"an A-label":                             {"xn--strae-oqa.example.org", "/", nil, "straße"},
		"an A-label in another case":             {"XN--STRAE-OQA.example.org.:80", "/", nil, "straße"},
		"an A-label in a wildcard":               {"shop.xn--mller-kva.example.org", "/", nil, "müller"},
		"an A-label below a wildcard":            {"xn--strae-oqa.shop.example.com", "/", nil, "wild"},
		"a U-label, which no client sends":       {"straße.example.org", "/", nil, ""},
		"no host":                                {"", "/", nil, ""},
		"the server itself":                      {"shop.example.com", "*", nil, "shop"},
	} {
		t.Run(what, func(t *testing.T) {
			got, ok := table.Match(c.host, c.path, HTTPHeader(c.header))
			require.Equal(t, c.want, got)
			require.Equal(t, c.want != "", ok)
		})
	}
}

func TestTheOlderAppKeepsARouteAndTheYoungerOneKeepsItsOthers(t *testing.T) {
	young := app("a-young", time.Hour, route("x.example.com", "/"), route("y.example.com", "/"))
	old := app("old", 2*time.Hour, route("X.example.com", ""))
	for _, apps := range [][]*v1alpha1.HTTPApp{{young, old}, {old, young}} {
		table := build(apps)
		got, _ := table.Match("x.example.com", "/", nil)
		require.Equal(t, "old", got)
		got, _ = table.Match("y.example.com", "/", nil)
		require.Equal(t, "a-young", got)
	}
}

func TestOfTwoAppsOfTheSameSecondTheNameDecides(t *testing.T) {
	a, b := app("a", 0, route("x.example.com", "/")), app("b", 0, route("x.example.com", "/"))
	for _, apps := range [][]*v1alpha1.HTTPApp{{a, b}, {b, a}} {
		got, _ := build(apps).Match("x.example.com", "/", nil)
		require.Equal(t, "a", got)
	}
}

// plain is what a table should answer, found by looking at every route of every app.
type plain []*v1alpha1.HTTPApp

func (apps plain) match(host, path string, header http.Header) string {
	type found struct {
		app                 *v1alpha1.HTTPApp
		route               int
		host, path, headers int
	}
	var all []found
	for _, a := range apps {
		for i, r := range a.Spec.Routes {
			key := routes.Keys(&v1alpha1.HTTPApp{Spec: v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{r}}})[0]
			if slices.ContainsFunc(apps, func(other *v1alpha1.HTTPApp) bool {
				return slices.Contains(routes.Keys(other), key) && routes.Compare(other, a) < 0
			}) {
				continue
			}
			exact := key.Host == host
			suffix, wild := strings.CutPrefix(key.Host, "*")
			fits := exact || wild && strings.HasSuffix(host, suffix)
			fits = fits && (key.PathPrefix == "" || path == key.PathPrefix || strings.HasPrefix(path, key.PathPrefix+"/"))
			for _, h := range r.Headers {
				fits = fits && slices.Contains(header.Values(h.Name), h.Value)
			}
			if fits {
				f := found{a, i, len(key.Host), len(key.PathPrefix), len(key.Headers())}
				if exact {
					f.host = 1000
				}
				all = append(all, f)
			}
		}
	}
	if len(all) == 0 {
		return ""
	}
	first := slices.MinFunc(all, func(a, b found) int {
		return cmp.Or(b.host-a.host, b.path-a.path, b.headers-a.headers, routes.Compare(a.app, b.app), a.route-b.route)
	})
	return fmt.Sprint(first.app.Name, "#", first.route)
}

func TestATableThatChangedIsAsOneMadeAnew(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	hosts := []string{"a.com", "b.a.com", "c.b.a.com", "*.a.com", "*.b.a.com", "*.com"}
	prefixes := []string{"", "/", "/x", "/x/", "/x/y", "/x/y/z", "/xy", "/y"}
	randomRoute := func() v1alpha1.Route {
		r := route(pick(hosts...), pick(prefixes...))
		for _, name := range []string{"A", "B"} {
			if random.IntN(4) == 0 {
				r.Headers = append(r.Headers, v1alpha1.HeaderMatch{Name: name, Value: pick("1", "2")})
			}
		}
		return r
	}
	table := NewTable[string]()
	present := map[string]*v1alpha1.HTTPApp{}
	for step := range 3000 {
		name := fmt.Sprint("app-", random.IntN(8))
		if random.IntN(4) == 0 {
			delete(present, name)
			table.Delete(types.NamespacedName{Namespace: "default", Name: name})
		} else {
			a := app(name, time.Duration(random.IntN(3))*time.Hour)
			for range random.IntN(4) {
				a.Spec.Routes = append(a.Spec.Routes, randomRoute())
			}
			present[name] = a
			var to []string
			for i := range a.Spec.Routes {
				to = append(to, fmt.Sprint(name, "#", i))
			}
			table.Set(a, to)
		}
		all := plain(slices.Collect(maps.Values(present)))
		for range 5 {
			host, path := pick("a.com", "b.a.com", "c.b.a.com", "d.c.b.a.com", "x.com", "y.org"), pick("/", "/x", "/x/", "/x/y/z/w", "/x/y", "/xy", "/xyz", "/x//y", "//", "", "*")
			header := http.Header{}
			for _, name := range []string{"A", "B"} {
				if random.IntN(2) == 0 {
					header.Set(name, pick("1", "2"))
				}
			}
			got, _ := table.Match(host, path, HTTPHeader(header))
			if want := all.match(host, path, header); got != want {
				t.Fatalf("seed %d, step %d: %s%s with %v goes to %q, not to %q", seed, step, host, path, header, got, want)
			}
		}
	}
	for name := range present {
		table.Delete(types.NamespacedName{Namespace: "default", Name: name})
	}
	if len(table.claimed) > 0 || len(table.apps) > 0 || !table.exact.empty() || !table.wildcard.empty() {
		t.Errorf("a table of no apps has %v", table.claimed)
	}
}

// many is a table of so many apps of one host each, and one of them.
func many(n int) (*Table[string], *v1alpha1.HTTPApp) {
	table := NewTable[string]()
	var a *v1alpha1.HTTPApp
	for i := range n {
		a = app(fmt.Sprint("app-", i), 0, route(fmt.Sprintf("app-%d.example.com", i), "/"))
		table.Set(a, []string{a.Name})
	}
	return table, a
}

func TestToRouteARequestNothingIsAllocated(t *testing.T) {
	table, _ := many(100)
	table.Set(app("wild", 0, route("*.example.com", "/x", v1alpha1.HeaderMatch{Name: "A", Value: "1"})), []string{"wild"})
	header := http.Header{"A": {"1"}}
	for host, want := range map[string]string{"app-7.example.com:8080": "app-7", "else.example.com": "wild", "else.org": ""} {
		got := ""
		if n := testing.AllocsPerRun(100, func() { got, _ = table.Match(host, "/x/y", HTTPHeader(header)) }); n > 0 || got != want {
			t.Errorf("%s goes to %q with %v allocations", host, got, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n, " apps"), func(b *testing.B) {
			table, a := many(n)
			host := a.Spec.Routes[0].Hosts[0]
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := table.Match(host, "/cart/items", nil); !ok {
					b.Fatal("no match")
				}
			}
		})
	}
}

func BenchmarkUpdateOfOneAppAmong10000(b *testing.B) {
	table, a := many(10_000)
	for i := 0; b.Loop(); i++ {
		a = app(a.Name, 0, route(fmt.Sprintf("app-%d-%d.example.com", i, i), "/"))
		table.Set(a, []string{a.Name})
	}
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.b:80", "[::1]:80", "[", "::", ".", ":", "a.:1", "A."} {
		f.Add(s)
	}
	table := build([]*v1alpha1.HTTPApp{app("a", 0, route("*.b", "/"))})
	f.Fuzz(func(_ *testing.T, s string) { table.Match(s, s, nil) })
}
