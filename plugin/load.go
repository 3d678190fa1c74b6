package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// What a load is bounded by: it is to find out about an app, not to harm a cluster.
const (
	mostConcurrency = 1000
	mostRequests    = 1_000_000
	longestLoad     = 30 * time.Minute
	mostColdStarts  = 100
)

type loadOptions struct {
	*session
	oneApp
	path        string
	concurrency int
	requests    int
	duration    time.Duration
	rate        float64
	cold        bool
	timeout     time.Duration
	method      string
	direct      bool
	output      string
	system      string
}

func newLoadCommand(s *session) *cobra.Command {
	o := &loadOptions{session: s}
	cmd := &cobra.Command{
		Use:   "load NAME [PATH]",
		Short: "Load an app for a while, and tell how long its responses took",
		Long: "Load an app with a number of requests or for a time, and tell how long its responses took, warm and cold ones apart.\n\n" +
			"Without --rate each of -c callers sends its next request when it has its response. With --rate requests are sent at that pace\n" +
			"whether or not the app keeps up, and times count from when each was due.\n\n" +
			"With --cold the app is put to sleep before each of the --requests (5 unless said), which tells how long its cold starts take, stage by stage.\n\n" +
			"Requests go to an interceptor by a port-forward, which takes its time; with --direct to the app's URL. The exit code is 1 when a\n" +
			"request was not answered, or with a 5xx.\n\n" +
			"-n is the namespace here, as in all of kubectl: the number of requests is --requests.",
		Example: s.examples("load hello --requests 1000 -c 20", "load hello /slow -z 1m --rate 50", "load hello --cold --requests 10", "load hello -o json"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return exactly("NAME")(cmd, args)
			}
			return exactly("NAME", "PATH")(cmd, args)
		},
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	flags := cmd.Flags()
	flags.IntVarP(&o.concurrency, "concurrency", "c", 10, "How many requests at a time, at most.")
	flags.IntVar(&o.requests, "requests", 0, "How many requests; not -n, which is the namespace. Default: 200, or as many as fit into -z.")
	flags.DurationVarP(&o.duration, "duration", "z", 0, "For how long, at most 30m.")
	flags.Float64Var(&o.rate, "rate", 0, "How many requests per second, whether or not the app keeps up.")
	flags.BoolVar(&o.cold, "cold", false, "Measure cold starts: put the app to sleep before each request.")
	flags.DurationVar(&o.timeout, "timeout", 2*time.Minute, "How long to wait for a response.")
	flags.StringVarP(&o.method, "method", "X", http.MethodGet, "The method.")
	flags.BoolVar(&o.direct, "direct", false, "Ask the app's URL, without a port-forward.")
	addOutput(cmd, &o.output)
	addSystemFlag(cmd, &o.system)
	return cmd
}

func (o *loadOptions) complete(cmd *cobra.Command, args []string) error {
	o.name = args[0]
	if len(args) > 1 {
		o.path = args[1]
	}
	if o.requests == 0 && o.duration == 0 && !cmd.Flags().Changed("requests") {
		o.requests = 200
		if o.cold {
			o.requests = 5
		}
	}
	return nil
}

func (o *loadOptions) validate() error {
	switch {
	case o.path != "" && !strings.HasPrefix(o.path, "/"):
		return fmt.Errorf("%q is no path: it begins with /", o.path)
	case o.concurrency < 1 || o.concurrency > mostConcurrency:
		return fmt.Errorf("-c is %d; it goes from 1 to %d", o.concurrency, mostConcurrency)
	case o.requests < 0 || o.requests > mostRequests || o.requests == 0 && o.duration == 0:
		return fmt.Errorf("--requests is %d; it goes from 1 to %d", o.requests, mostRequests)
	case o.duration < 0 || o.duration > longestLoad:
		return fmt.Errorf("-z is %v; it goes up to %s", o.duration, brief(longestLoad))
	case o.rate < 0:
		return fmt.Errorf("--rate is %v; it is positive", o.rate)
	case o.cold && (o.rate > 0 || o.duration > 0):
		return errors.New("--cold takes --requests and neither --rate nor -z: one cold start after the other")
	case o.cold && o.requests > mostColdStarts:
		return fmt.Errorf("--requests is %d; of cold starts it goes up to %d", o.requests, mostColdStarts)
	case o.timeout <= 0:
		return errors.New("--timeout is to be positive")
	}
	return errors.Join(o.oneApp.validate(), validateOutput(o.output))
}

func (o *loadOptions) run(ctx context.Context) error {
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
	transport := &http.Transport{MaxIdleConnsPerHost: o.concurrency, DisableCompression: true}
	defer transport.CloseIdleConnections()
	if !o.direct {
		ways := &tunnels{open: func() (*tunnel, error) { return o.openTunnel(ctx, c, o.system, to.secure) }}
		if _, err := ways.current(); err != nil {
			return err
		}
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			t, err := ways.current()
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, t.address)
		}
	}
	ask := asker(&http.Client{
		Transport: transport, Timeout: o.timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, o.method, addressOf(to.url, o.path))

	r := newReport()
	began := o.now()
	if o.cold {
		err = o.coldStarts(ctx, c, app, ask, r)
	} else {
		err = o.drive(ctx, ask, r)
	}
	r.Took = o.now().Sub(began)
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if o.output != "" {
		err = printAs(o.Out, o.output, r.summary())
	} else {
		err = r.print(o.Out)
	}
	if err == nil && r.bad() {
		return exitError{code: ExitFailed}
	}
	return err
}

// answer is what became of one request.
type answer struct {
	status int
	cold   string
	err    error
}

// asker sends one request and reads its response to the end.
func asker(client *http.Client, method, url string) func(context.Context) answer {
	return func(ctx context.Context) answer {
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			return answer{err: err}
		}
		res, err := client.Do(req)
		if err != nil {
			return answer{err: err}
		}
		defer res.Body.Close() //nolint:errcheck // it was read to its end
		_, err = io.Copy(io.Discard, res.Body)
		return answer{res.StatusCode, res.Header.Get(coldStartHeader), err}
	}
}

// drive sends the requests and waits for the last response. When the time is over, what is under way is still waited for.
func (o *loadOptions) drive(ctx context.Context, ask func(context.Context) answer, r *report) error {
	due := make(chan time.Time)
	var callers sync.WaitGroup
	for range o.concurrency {
		callers.Go(func() {
			for at := range due {
				if at.IsZero() {
					at = o.now()
				}
				a := ask(ctx)
				if ctx.Err() == nil {
					r.add(a, o.now().Sub(at))
				}
			}
		})
	}
	defer callers.Wait()
	defer close(due)
	over := time.NewTimer(longestLoad)
	if o.duration > 0 {
		over.Reset(o.duration)
	}
	defer over.Stop()
	began := o.now()
	for i := 0; o.requests == 0 || i < o.requests; i++ {
		var at time.Time
		if o.rate > 0 {
			after := time.Duration(float64(i) / o.rate * float64(time.Second))
			if o.duration > 0 && after >= o.duration {
				return nil // it and the end come at the same moment, and the select below would take either
			}
			at = began.Add(after)
			select {
			case <-time.After(at.Sub(o.now())):
			case <-over.C:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case due <- at:
		case <-over.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// coldStarts puts the app to sleep and wakes it by a request, again and again.
func (o *loadOptions) coldStarts(ctx context.Context, c *clients, app *v1alpha1.HTTPApp, ask func(context.Context) answer, r *report) error {
	silent := &progress{out: io.Discard, now: o.now}
	progress := o.newProgress()
	for i := range o.requests {
		if _, err := c.scale(ctx, o.name, 0, cmdutil.DryRunNone); err != nil {
			return o.explainBounds(err)
		}
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		w := &waiting{session: o.session, clients: c, progress: silent, timeout: time.Minute}
		_, err := w.until(limited, app, "asleep", func(seen *v1alpha1.HTTPApp) (bool, string) {
			return seen.Status.Replicas == 0, "waiting for its replicas to go"
		})
		cancel()
		if err != nil {
			return err
		}
		began := o.now()
		a := ask(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		took := o.now().Sub(began)
		r.add(a, took)
		switch {
		case a.err != nil:
			progress.say("cold start %d of %d: %v", i+1, o.requests, a.err)
		default:
			progress.say("cold start %d of %d: %d after %v: %s", i+1, o.requests, a.status, took.Round(time.Millisecond), a.cold)
		}
	}
	return nil
}
