package logging

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"k8s.io/klog/v2"
)

// How a process logs is decided once, so it is one of its own that does.
func TestLogsAreTextOrJSON(t *testing.T) {
	if format := os.Getenv("LOGGING_FORMAT"); format != "" {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		apply := AddFlags(flags)
		require.NoError(t, flags.Parse([]string{"--logging-format", format, "-v", "2"}))
		require.NoError(t, apply())
		klog.V(2).InfoS("Said", "app", klog.KRef("ns", "a"))
		klog.V(3).InfoS("Not said")
		klog.Flush()
		os.Exit(0)
	}
	said := func(format string) string {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestLogsAreTextOrJSON$")
		cmd.Env = append(os.Environ(), "LOGGING_FORMAT="+format)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	require.Regexp(t, `^I\d{4} .*\] "Said" app="ns/a"\n$`, said("text"))
	var line struct {
		Msg string
		V   int
		App struct{ Name, Namespace string }
	}
	require.NoError(t, json.Unmarshal([]byte(said("json")), &line), "one object, and no other line")
	require.Equal(t, "Said", line.Msg)
	require.Equal(t, 2, line.V)
	require.Equal(t, "a", line.App.Name)
}

func TestNoPartStartsThatWouldLogSecrets(t *testing.T) {
	for _, args := range [][]string{{"-v", "8"}, {"--vmodule", "request=9"}} {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		apply := AddFlags(flags)
		require.NoError(t, flags.Parse(args))
		require.ErrorContains(t, apply(), "must be 7 or less", "%v", args)
	}
}
