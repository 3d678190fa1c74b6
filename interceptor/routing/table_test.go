package routing

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

func name(a *v1alpha1.HTTPApp) string { return a.Name }

func TestARequestGoesToTheMostSpecificRoute(t *testing.T) {
	beta := v1alpha1.HeaderMatch{Name: "x-version", Value: "beta"}
	table := Build([]*v1alpha1.HTTPApp{
		app("any", 9*time.Hour, route("*.example.com", "/")),
		app("wild", 8*time.Hour, route("*.shop.example.com", "")),
		app("shop", 7*time.Hour, route("Shop.Example.com.", "/")),
		app("api", 6*time.Hour, route("shop.example.com", "/api/")),
		app("beta", 5*time.Hour, route("shop.example.com", "/api/v2", beta)),
		app("only-deep", 4*time.Hour, route("deep.example.com", "/deep")),
		app("none", 2*time.Hour),
	}, name)
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
		"no host":                                {"", "/", nil, ""},
		"the server itself":                      {"shop.example.com", "*", nil, "shop"},
	} {
		t.Run(what, func(t *testing.T) {
			got, ok := table.Match(c.host, c.path, c.header)
			require.Equal(t, c.want, got)
			require.Equal(t, c.want != "", ok)
		})
	}
}

func TestTheOlderAppKeepsARouteAndTheYoungerOneKeepsItsOthers(t *testing.T) {
	young := app("a-young", time.Hour, route("x.example.com", "/"), route("y.example.com", "/"))
	old := app("old", 2*time.Hour, route("X.example.com", ""))
	for _, apps := range [][]*v1alpha1.HTTPApp{{young, old}, {old, young}} {
		table := Build(apps, name)
		got, _ := table.Match("x.example.com", "/", nil)
		require.Equal(t, "old", got)
		got, _ = table.Match("y.example.com", "/", nil)
		require.Equal(t, "a-young", got)
	}
}

func TestOfTwoAppsOfTheSameSecondTheNameDecides(t *testing.T) {
	a, b := app("a", 0, route("x.example.com", "/")), app("b", 0, route("x.example.com", "/"))
	for _, apps := range [][]*v1alpha1.HTTPApp{{a, b}, {b, a}} {
		got, _ := Build(apps, name).Match("x.example.com", "/", nil)
		require.Equal(t, "a", got)
	}
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.b:80", "[::1]:80", "[", "::", ".", ":", "a.:1", "A."} {
		f.Add(s)
	}
	table := Build([]*v1alpha1.HTTPApp{app("a", 0, route("*.b", "/"))}, name)
	f.Fuzz(func(_ *testing.T, s string) { table.Match(s, s, nil) })
}
