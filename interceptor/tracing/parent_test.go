package tracing

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestATraceParentIsReadAsTheStandardSays(t *testing.T) {
	const traceID, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for s, sampled := range map[string]bool{
		"00-" + traceID + "-" + span + "-01":      true,
		"00-" + traceID + "-" + span + "-00":      false,
		"00-" + traceID + "-" + span + "-03":      true,
		"00-" + traceID + "-" + span + "-fe":      false,
		"cc-" + traceID + "-" + span + "-01":      true,
		"cc-" + traceID + "-" + span + "-01-what": true,
	} {
		p, ok := ParseParent(s)
		require.True(t, ok, s)
		require.Equal(t, []any{traceID, span, sampled}, []any{p.Trace.String(), p.Span.String(), p.Sampled}, s)
	}
	for _, s := range []string{
		"", "00", "00-" + traceID + "-" + span, "00-" + traceID + "-" + span + "-0", "00-" + traceID + "-" + span + "-01-", "00-" + traceID + "-" + span + "-01-what",
		"cc-" + traceID + "-" + span + "-01what", "ff-" + traceID + "-" + span + "-01", "0x-" + traceID + "-" + span + "-01", "00_" + traceID + "-" + span + "-01",
		"00-00000000000000000000000000000000-" + span + "-01", "00-" + traceID + "-0000000000000000-01",
		"00-0AF7651916CD43DD8448EB211C80319C-" + span + "-01", "00-" + traceID + "-" + span + "-0g", "00-" + traceID + "-" + span + "\n01",
	} {
		_, ok := ParseParent(s)
		require.False(t, ok, s)
	}
}

func FuzzWhatIsReadIsWrittenAlike(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := ParseParent(s)
		if !ok {
			return
		}
		again, ok := ParseParent(string(p.appendTo(nil)))
		require.True(t, ok)
		require.Equal(t, p, again)
	})
}
