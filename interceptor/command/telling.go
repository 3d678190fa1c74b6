package command

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/kedahttp/kedahttp/interceptor/proxy"
)

// telling is what apps, clients and whoever runs the interceptor are told of requests.
type telling struct {
	Forwarded, RequestIDs string

	requestIDs proxy.RequestIDs
}

func (t *telling) addFlags(f *pflag.FlagSet) {
	t.Forwarded, t.RequestIDs = "off", string(proxy.RequestIDsReturn)
	f.StringVar(&t.Forwarded, "forwarded", t.Forwarded, "Whether apps get Forwarded (RFC 7239) beside X-Forwarded-*: off, or append, to what --trusted-proxies say. What others say of it never reaches an app.")
	f.StringVar(&t.RequestIDs, "request-ids", t.RequestIDs, "What is done about X-Request-Id: off; forward, apps get the client's, or one that is made if there is none; return, clients get it too, unless the app tells them one.")
}

func (t *telling) complete() (err error) {
	if t.Forwarded != "off" && t.Forwarded != "append" {
		return fmt.Errorf("--forwarded: %q is not off or append", t.Forwarded)
	}
	if t.requestIDs, err = proxy.ParseRequestIDs(t.RequestIDs); err != nil {
		return fmt.Errorf("--request-ids: %w", err)
	}
	return nil
}

// configure has the data path tell.
func (t *telling) configure(c *proxy.Config) {
	c.Forwarded, c.RequestIDs = t.Forwarded == "append", t.requestIDs
}
