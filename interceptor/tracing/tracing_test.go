package tracing

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheEnvironmentIsReadAsOpenTelemetrySays(t *testing.T) {
	type env map[string]string
	for what, c := range map[string]struct {
		env   env
		named bool
		rate  int
		err   string
	}{
		"nothing":           {env{}, false, 0, ""},
		"an endpoint":       {env{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317"}, true, 0, ""},
		"one for traces":    {env{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a:4317", "OTEL_TRACES_SAMPLER": "always_on"}, true, 1_000_000, ""},
		"a ratio":           {env{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, false, 250_000, ""},
		"no ratio":          {env{"OTEL_TRACES_SAMPLER": "traceidratio"}, false, 1_000_000, ""},
		"never":             {env{"OTEL_TRACES_SAMPLER": "always_off"}, false, 0, ""},
		"a bad ratio":       {env{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"}, false, 0, "OTEL_TRACES_SAMPLER_ARG=NaN"},
		"another sampler":   {env{"OTEL_TRACES_SAMPLER": "jaeger_remote"}, false, 0, "jaeger_remote"},
		"disabled":          {env{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317"}, false, 0, ""},
		"no exporter":       {env{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317"}, false, 0, ""},
		"another protocol":  {env{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, false, 0, "only grpc"},
		"one protocol each": {env{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, false, 0, ""},
	} {
		t.Run(what, func(t *testing.T) {
			named, rate, err := FromEnvironment(func(name string) string { return c.env[name] })
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []any{c.named, c.rate}, []any{named, rate})
		})
	}
}

func TestARequestThatIsNotTracedCostsNothing(t *testing.T) {
	var none *Tracer
	seldom := &Tracer{}
	const sampled, other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	at := time.Now()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, s := range []*Span{
			none.Begin(sampled, true, at), seldom.Begin("", true, at), seldom.Begin("", false, at),
			seldom.Begin(sampled, false, at), seldom.Begin(other, true, at), seldom.Begin("nonsense", true, at),
		} {
			if s != nil {
				t.Error("it is traced")
			}
		}
	}))
}
