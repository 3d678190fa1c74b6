package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

type portForwardOptions struct {
	*session
	oneApp
	local   int
	listen  string
	output  string
	system  string
	started func(address string) // for tests
}

func newPortForwardCommand(s *session) *cobra.Command {
	o := &portForwardOptions{session: s}
	cmd := &cobra.Command{
		Use:   "port-forward NAME [LOCAL_PORT]",
		Short: "Reach an app at a port of this machine, through an interceptor",
		Long: "Reach an app at a port of this machine. Requests go through an interceptor, with the app's host, so that they wake the app and\n" +
			"count as all others do, and the app need not have a name in the DNS or an ingress. What kubectl port-forward does leads to a pod,\n" +
			"which an app at zero has not.\n\n" +
			"It takes the right to forward ports of the interceptors' pods. Without LOCAL_PORT a free one is chosen. The URL is on stdout.",
		Example: s.examples("port-forward hello 8080", "port-forward hello"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return exactly("NAME")(cmd, args)
			}
			return exactly("NAME", "LOCAL_PORT")(cmd, args)
		},
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	cmd.Flags().StringVar(&o.listen, "address", "127.0.0.1", "The address to listen on.")
	addOutput(cmd, &o.output)
	addSystemFlag(cmd, &o.system)
	return cmd
}

func (o *portForwardOptions) complete(_ *cobra.Command, args []string) (err error) {
	o.name = args[0]
	if len(args) > 1 {
		if o.local, err = strconv.Atoi(strings.TrimPrefix(args[1], ":")); err != nil || o.local < 0 || o.local > 65535 {
			return fmt.Errorf("%q is no port", args[1])
		}
	}
	return nil
}

func (o *portForwardOptions) validate() error {
	return errors.Join(o.oneApp.validate(), validateOutput(o.output))
}

func (o *portForwardOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	app, err := c.get(ctx, o.name)
	if err != nil {
		return err
	}
	to, err := destinationOf(app)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(o.listen, strconv.Itoa(o.local)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w\nChoose another LOCAL_PORT, or none: a free one is found then", err)
	}
	if err != nil {
		return err
	}
	tunnels := &tunnels{open: func() (*tunnel, error) { return o.openTunnel(ctx, c, o.system, false) }}
	if _, err := tunnels.current(); err != nil {
		listener.Close() //nolint:errcheck // nobody listens on it
		return err
	}
	server := &http.Server{Handler: toApp(to.url, tunnels, o.note)}
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go func() {
		<-ctx.Done()
		server.Close() //nolint:errcheck // it is over
	}()
	here := fmt.Sprintf("http://%s%s", listener.Addr(), to.url.Path)
	if o.output == "" {
		fmt.Fprintln(o.Out, here)
	} else if err := printAs(o.Out, o.output, map[string]string{"url": here, "app": to.url.String()}); err != nil {
		return errors.Join(err, server.Close(), listener.Close())
	}
	fmt.Fprintf(o.ErrOut, "requests go to %s as %s; Ctrl-C ends it\n", app.Name, to.url.Host)
	if o.started != nil {
		o.started(listener.Addr().String())
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (o *portForwardOptions) note(format string, args ...any) {
	fmt.Fprintf(o.ErrOut, format+"\n", args...)
}

// toApp passes requests on to an interceptor as requests for the app.
func toApp(app *url.URL, tunnels *tunnels, note func(string, ...any)) http.Handler {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		t, err := tunnels.current()
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, network, t.address)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", app.Host
			r.Out.Host = app.Host
			if app.Scheme == "https" {
				// An app may send those away who come without TLS. The interceptor believes it if it trusts the loopback.
				r.Out.Header.Set("X-Forwarded-Proto", "https")
			}
		},
		Transport:     &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 100, IdleConnTimeout: 30 * time.Second, DisableCompression: true},
		FlushInterval: -1, // what is streamed is passed on at once
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			note("%s %s: %v", r.Method, r.URL.Path, err)
			http.Error(w, "the interceptor cannot be reached: "+err.Error(), http.StatusBadGateway)
		},
	}
	return proxy
}
