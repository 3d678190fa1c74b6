package proxy

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bothPaths are requests that begin alike and are answered in place and by net/http; %s is for more fields.
var bothPaths = map[string]string{
	"in place":    "GET /a?secret=1 HTTP/1.1\r\nHost: shop.test\r\n%s\r\n",
	"by net/http": "GET /a?secret=1 HTTP/1.1\r\nHost: shop.test\r\nExpect: 100-continue\r\n%s\r\n",
}

func trustLoopback(c *Config) {
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

func TestAppsAreToldWhoAskedByForwarded(t *testing.T) {
	const forged = "Forwarded: for=6.6.6.6;proto=https\r\nX-Forwarded-For: 6.6.6.6\r\n"
	const ours = "for=127.0.0.1;host=shop.test;proto=http"
	for path, request := range bothPaths {
		for what, c := range map[string]struct {
			change func(*Config)
			want   []string
		}{
			"not at all":           {func(*Config) {}, nil},
			"not by trusted ones":  {trustLoopback, nil},
			"nothing of strangers": {func(c *Config) { c.Forwarded = true }, []string{ours}},
			"all of trusted ones":  {func(c *Config) { trustLoopback(c); c.Forwarded = true }, []string{"for=6.6.6.6;proto=https, " + ours}},
		} {
			t.Run(path+" "+what, func(t *testing.T) {
				w := newWorld(t, c.change)
				w.app("shop")
				seen := make(chan *http.Request, 1)
				w.ready("shop", "", at(w.pod(func(_ http.ResponseWriter, r *http.Request) { seen <- r })))
				d := w.dial(t)
				d.say(fmt.Sprintf(request, forged))
				require.Equal(t, 200, d.hear("GET").status)
				require.Equal(t, c.want, await(t, seen).Header["Forwarded"])
			})
		}
	}
}

func TestRequestsHaveIDs(t *testing.T) {
	const hex = "^[0-9a-f]{32}$"
	for path, request := range bothPaths {
		t.Run(path, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.RequestIDs = RequestIDsReturn })
			w.app("shop")
			seen := make(chan []string, 1)
			w.ready("shop", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) {
				seen <- r.Header["X-Request-Id"]
				if own := r.Header.Get("X-Own"); own != "" {
					w.Header().Set("X-Request-Id", own)
				}
			})))
			d := w.dial(t)
			ask := func(fields string) (app, client string) {
				d.say(fmt.Sprintf(request, fields))
				a := d.hear("GET")
				require.Equal(t, 200, a.status)
				got := await(t, seen)
				require.Len(t, got, 1)
				require.Len(t, a.header["X-Request-Id"], 1)
				return got[0], a.header.Get("X-Request-Id")
			}
			app, client := ask("")
			require.Regexp(t, hex, app)
			require.Equal(t, app, client)
			another, _ := ask("")
			require.NotEqual(t, app, another)
			app, client = ask("X-Request-Id: mine/1\r\n")
			require.Equal(t, []string{"mine/1", "mine/1"}, []string{app, client})
			app, client = ask("X-Request-Id: mine\r\nX-Own: the-apps\r\n")
			require.Equal(t, []string{"mine", "the-apps"}, []string{app, client})
			for _, bad := range []string{"X-Request-Id: a\r\nX-Request-Id: b\r\n", "X-Request-Id: a b\r\n", "X-Request-Id: " + strings.Repeat("x", 129) + "\r\n", "X-Request-Id: \xff\r\n"} {
				app, client = ask(bad)
				require.Regexp(t, hex, app)
				require.Equal(t, app, client)
			}
		})
	}
}

func TestRequestIDsMayBeLeftToClientsAndApps(t *testing.T) {
	for ids, want := range map[RequestIDs][2]string{"": {"a b", ""}, RequestIDsOff: {"a b", ""}, RequestIDsForward: {"made", ""}, RequestIDsReturn: {"made", "made"}} {
		for path, request := range bothPaths {
			t.Run(path+" "+string(ids), func(t *testing.T) {
				w := newWorld(t, func(c *Config) { c.RequestIDs = ids })
				w.app("shop")
				seen := make(chan string, 1)
				w.ready("shop", "", at(w.pod(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Get("X-Request-Id") })))
				d := w.dial(t)
				d.say(fmt.Sprintf(request, "X-Request-Id: a b\r\n"))
				got := [2]string{1: d.hear("GET").header.Get("X-Request-Id")}
				got[0] = await(t, seen)
				for i := range got {
					if made.MatchString(got[i]) {
						got[i] = "made"
					}
				}
				require.Equal(t, want, got)
			})
		}
	}
}

func TestRefusalsTellTheRequestsID(t *testing.T) {
	for path, request := range bothPaths {
		t.Run(path, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.RequestIDs = RequestIDsForward })
			w.app("shop")
			w.ready("shop", "", bytePod(t, func(net.Conn) {}))
			for _, host := range []string{"nobody.test", "shop.test"} {
				d := w.dial(t)
				d.say(strings.Replace(fmt.Sprintf(request, "X-Request-Id: mine\r\n"), "shop.test", host, 1))
				a := d.hear("GET")
				require.GreaterOrEqual(t, a.status, 400)
				require.Equal(t, "mine", a.header.Get("X-Request-Id"))
				require.Contains(t, a.body, "request mine\n")
				d = w.dial(t)
				d.say(strings.Replace(fmt.Sprintf(request, "Accept: application/json\r\n"), "shop.test", host, 1))
				a = d.hear("GET")
				require.Contains(t, a.body, `"requestId":"`+a.header.Get("X-Request-Id")+`"`)
				require.Regexp(t, made, a.header.Get("X-Request-Id"))
			}
		})
	}
	w := newWorld(t, func(c *Config) { c.RequestIDs = RequestIDsForward })
	d := w.dial(t)
	d.say("GET / HTTP/1.2\r\nHost: a\r\n\r\n")
	require.Regexp(t, made, d.hear("GET").header.Get("X-Request-Id"), "one that cannot be understood has one, too")
}

// The client's id is a part of the head, which goes elsewhere while the request waits.
func TestARequestThatWaitsKeepsItsID(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RequestIDs = RequestIDsReturn })
	w.app("shop")
	const many = 50
	answers := map[string]<-chan answer{}
	for i := range many {
		id := fmt.Sprint("id-", i)
		r := w.request("GET", "shop", "/", nil)
		r.Header.Set("X-Request-Id", id)
		answers[id] = background(r)
	}
	w.is("shop", many, 0)
	w.ready("shop", "", at(w.pod(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header["X-Request-Id"]) }))) //nolint:errcheck // the test sees
	for id, c := range answers {
		a := await(t, c)
		require.Equal(t, "["+id+"]", a.body)
		require.Equal(t, id, a.header.Get("X-Request-Id"))
	}
}
