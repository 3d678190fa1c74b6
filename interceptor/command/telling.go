package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/kedahttp/kedahttp/interceptor/accesslog"
	"github.com/kedahttp/kedahttp/interceptor/proxy"
)

// telling is what apps, clients and whoever runs the interceptor are told of requests.
type telling struct {
	Forwarded, RequestIDs string
	AccessLog             string
	AccessLogSample       uint32
	AccessLogSlow         time.Duration

	requestIDs proxy.RequestIDs
	// log is nil when there is none.
	log *accesslog.Log
}

func (t *telling) addFlags(f *pflag.FlagSet) {
	t.Forwarded, t.RequestIDs = "off", string(proxy.RequestIDsReturn)
	t.AccessLog, t.AccessLogSample, t.AccessLogSlow = "off", 100, 2*time.Second
	f.StringVar(&t.AccessLog, "access-log", t.AccessLog, "Which requests have a line of JSON on stdout: off, none; sampled, one in --access-log-sample, and all that the interceptor refuses, cannot have answered, or that are slow; full, all. Lines are dropped, and counted, when they are not taken fast enough.")
	f.Uint32Var(&t.AccessLogSample, "access-log-sample", t.AccessLogSample, "With --access-log=sampled: one in how many requests has a line.")
	f.DurationVar(&t.AccessLogSlow, "access-log-slow", t.AccessLogSlow, "With --access-log=sampled: from what duration on a request is slow; 0: none is.")
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
	if t.AccessLogSample == 0 || t.AccessLogSlow < 0 {
		return errors.New("--access-log-sample has to be positive, and --access-log-slow cannot be negative")
	}
	config := accesslog.Config{To: os.Stdout, OneIn: 1}
	switch t.AccessLog {
	case "off":
		return nil
	case "sampled":
		config.OneIn, config.Slow = t.AccessLogSample, t.AccessLogSlow
	case "full":
	default:
		return fmt.Errorf("--access-log: %q is not off, sampled or full", t.AccessLog)
	}
	t.log = accesslog.New(config)
	return nil
}

// configure has the data path tell.
func (t *telling) configure(c *proxy.Config, r prometheus.Registerer) {
	c.Forwarded, c.RequestIDs, c.AccessLog = t.Forwarded == "append", t.requestIDs, t.log
	if t.log != nil {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "kedahttp_interceptor_access_log_dropped_total",
			Help: "Lines of the access log that were dropped because they were not taken fast enough.",
		}, func() float64 { return float64(t.log.Dropped()) }))
	}
}

// tell tells until the returned function is called, which tells what is left.
func (t *telling) tell() (end func()) {
	if t.log == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.log.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}
