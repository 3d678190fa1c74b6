// Package tracing has some requests traced: their spans go to an OpenTelemetry collector, and are the parents of what their apps do
// for them. What is not traced costs nothing.
package tracing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/klog/v2"
)

const perMillion = 1_000_000

// Config is what a Tracer needs. The environment that OpenTelemetry's specification names says the rest: where the collector is,
// if Endpoint does not, with which certificates and headers it is reached, and as what.
type Config struct {
	// Endpoint is a collector's HOST:PORT that speaks OTLP over gRPC in plain text.
	Endpoint string
	// SamplingRatePerMillion is how many requests are traced of those that nobody who is trusted has decided on.
	SamplingRatePerMillion int
}

// FromEnvironment reports whether the environment names a collector, and how many requests it wants traced.
func FromEnvironment(getenv func(string) string) (named bool, samplingRatePerMillion int, err error) {
	if getenv("OTEL_SDK_DISABLED") == "true" || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false, 0, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := getenv(name); p != "" {
			if p != "grpc" {
				return false, 0, fmt.Errorf("%s=%s: only grpc is spoken", name, p)
			}
			break
		}
	}
	named = getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != ""
	switch sampler := getenv("OTEL_TRACES_SAMPLER"); sampler {
	case "", "always_off", "parentbased_always_off":
	case "always_on", "parentbased_always_on":
		samplingRatePerMillion = perMillion
	case "traceidratio", "parentbased_traceidratio":
		ratio := 1.0
		if arg := getenv("OTEL_TRACES_SAMPLER_ARG"); arg != "" {
			if ratio, err = strconv.ParseFloat(arg, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
				return false, 0, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG=%s is not a number from 0 to 1", arg)
			}
		}
		samplingRatePerMillion = int(ratio * perMillion)
	default:
		return false, 0, fmt.Errorf("OTEL_TRACES_SAMPLER=%s is not known here", sampler)
	}
	return named, samplingRatePerMillion, nil
}

// Tracer traces requests. A nil one traces none.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	rate     uint32
}

// New makes a tracer. The collector need not be there yet.
//
// It is not the one of k8s.io/component-base, which speaks to collectors in plain text only and leaves it to whoever asks whether
// they are traced.
func New(ctx context.Context, config Config) (*Tracer, error) {
	var options []otlptracegrpc.Option
	if config.Endpoint != "" {
		options = append(options, otlptracegrpc.WithEndpoint(config.Endpoint), otlptracegrpc.WithInsecure())
	}
	exporter, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("exporting traces: %w", err)
	}
	host, _ := os.Hostname() // the pod's name
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "kedahttp-interceptor"), attribute.String("service.instance.id", host)),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("describing the traces' source: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { klog.ErrorS(err, "Spans are lost") }))
	// Who is traced is decided before a span is made.
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithBatcher(exporter), sdktrace.WithResource(about), sdktrace.WithRawSpanLimits(limits()))
	return &Tracer{
		provider: provider, tracer: provider.Tracer("github.com/kedahttp/kedahttp/interceptor"),
		rate: uint32(min(max(config.SamplingRatePerMillion, 0), perMillion)),
	}, nil
}

// limits cut what clients choose, such as a path, as the access log does.
func limits() sdktrace.SpanLimits {
	l := sdktrace.NewSpanLimits()
	if l.AttributeValueLengthLimit < 0 {
		l.AttributeValueLengthLimit = 2048
	}
	return l
}

// Close exports what is left.
func (t *Tracer) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// Begin begins the span of a request that came with a traceparent; nil if the request is not traced. A client that is trusted has
// decided that by its traceparent. Of all others, so many are traced as are to be: they may be part of traces, but cannot make us
// trace, which costs more than their requests.
func (t *Tracer) Begin(traceparent string, trusted bool, at time.Time) *Span {
	if t == nil {
		return nil
	}
	parent, ok := ParseParent(traceparent)
	switch {
	case ok && trusted:
		if !parent.Sampled {
			return nil
		}
	case rand.Uint32N(perMillion) >= t.rate:
		return nil
	}
	ctx := context.Background()
	if ok {
		ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: parent.Trace, SpanID: parent.Span, TraceFlags: trace.FlagsSampled, Remote: true,
		}))
	}
	_, span := t.tracer.Start(ctx, "HTTP", trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKindServer))
	own := span.SpanContext()
	s := &Span{span: span, NewTrace: !ok, TraceID: own.TraceID().String()}
	s.TraceParent = Parent{own.TraceID(), own.SpanID(), true}.appendTo(make([]byte, 0, length))
	return s
}
