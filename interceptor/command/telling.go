package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/interceptor/accesslog"
	"github.com/kedahttp/kedahttp/interceptor/proxy"
	"github.com/kedahttp/kedahttp/interceptor/tracing"
)

// telling is what apps, clients and whoever runs the interceptor are told of requests.
type telling struct {
	Forwarded, RequestIDs string
	AccessLog             string
	AccessLogSample       uint32
	AccessLogSlow         time.Duration
	TracingEndpoint       string
	TracingRate           int

	requestIDs proxy.RequestIDs
	// log is nil when there is none.
	log *accesslog.Log
	// tracing is nil when no request is traced.
	tracing *tracing.Config
	tracer  *tracing.Tracer
}

func (t *telling) addFlags(f *pflag.FlagSet) {
	t.Forwarded, t.RequestIDs = "off", string(proxy.RequestIDsReturn)
	t.AccessLog, t.AccessLogSample, t.AccessLogSlow = "off", 100, 2*time.Second
	f.StringVar(&t.AccessLog, "access-log", t.AccessLog, "Which requests have a line of JSON on stdout: off, none; sampled, one in --access-log-sample, and all that the interceptor refuses, cannot have answered, or that are slow; full, all. Lines are dropped, and counted, when they are not taken fast enough.")
	f.Uint32Var(&t.AccessLogSample, "access-log-sample", t.AccessLogSample, "With --access-log=sampled: one in how many requests has a line.")
	f.DurationVar(&t.AccessLogSlow, "access-log-slow", t.AccessLogSlow, "With --access-log=sampled: from what duration on a request is slow; 0: none is.")
	t.TracingRate = -1
	f.StringVar(&t.TracingEndpoint, "tracing-endpoint", t.TracingEndpoint, "The HOST:PORT of an OpenTelemetry collector that gets spans by OTLP over gRPC in plain text. Default: what OTEL_EXPORTER_OTLP_ENDPOINT and its like say, which know TLS, too; without any, no request is traced.")
	f.IntVar(&t.TracingRate, "tracing-sampling-rate-per-million", t.TracingRate, "How many requests of a million are traced. Those of --trusted-proxies that have a traceparent are traced as it says. Default: what OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say, else 0.")
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
	if err := t.completeTracing(os.Getenv); err != nil {
		return err
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

func (t *telling) completeTracing(getenv func(string) string) error {
	if t.TracingRate > 1_000_000 {
		return errors.New("--tracing-sampling-rate-per-million cannot be above 1000000")
	}
	named, rate, err := tracing.FromEnvironment(getenv)
	if err != nil {
		return err
	}
	if t.TracingRate >= 0 {
		rate = t.TracingRate
	}
	if named || t.TracingEndpoint != "" {
		t.tracing = &tracing.Config{Endpoint: t.TracingEndpoint, SamplingRatePerMillion: rate}
	}
	return nil
}

// configure has the data path tell.
func (t *telling) configure(c *proxy.Config, r prometheus.Registerer) (err error) {
	if t.tracing != nil {
		if t.tracer, err = tracing.New(context.Background(), *t.tracing); err != nil {
			return err
		}
		c.Tracer = t.tracer
	}
	c.Forwarded, c.RequestIDs, c.AccessLog = t.Forwarded == "append", t.requestIDs, t.log
	if t.log != nil {
		registerLog(r, t.log)
	}
	return nil
}

// tell tells until the returned function is called, which tells what is left.
func (t *telling) tell() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	if t.log != nil {
		wg.Go(func() { t.log.Run(ctx) })
	}
	return func() {
		cancel()
		wg.Wait()
		if t.tracer != nil {
			ctx, cancel := context.WithTimeout(context.Background(), exportTimeout)
			defer cancel()
			if err := t.tracer.Close(ctx); err != nil {
				klog.ErrorS(err, "Spans are lost")
			}
		}
	}
}

// exportTimeout is how long the collector may take for what is left at the end.
const exportTimeout = 5 * time.Second
