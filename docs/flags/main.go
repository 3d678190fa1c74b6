// Command flags writes the page of the flags of the servers, from the commands that define them.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	logsapi "k8s.io/component-base/logs/api/v1"

	apiserver "github.com/kedahttp/kedahttp/apiserver/server"
	interceptor "github.com/kedahttp/kedahttp/interceptor/command"
	scaler "github.com/kedahttp/kedahttp/scaler/command"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: flags FILE")
		os.Exit(2)
	}
	var page bytes.Buffer
	err := write(&page)
	if err == nil {
		err = os.WriteFile(os.Args[1], page.Bytes(), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const introduction = `# Flags of the servers

Made by ` + "`make generate`" + ` from what the programs define. With Helm they go into ` + "`apiserver.extraArgs`, `interceptor.extraArgs` and `scaler.extraArgs`" + `; what has
a value of its own there is in [values.yaml](../artifacts/chart/values.yaml). The plugin's flags are in [kubectl-http.md](kubectl-http.md).
`

func write(out io.Writer) error {
	fmt.Fprint(out, introduction)
	for _, cmd := range []*cobra.Command{interceptor.New(), scaler.New(), apiserver.NewCommand()} {
		fmt.Fprintf(out, "\n## %s\n\n%s.\n\n| flag | default | |\n| --- | --- | --- |\n", cmd.Name(), cmd.Short)
		var stock []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			switch {
			case f.Hidden || f.Deprecated != "":
			case cmd.Name() == "apiserver" && libraries()[f.Name]:
				stock = append(stock, "`--"+f.Name+"`")
			default:
				fmt.Fprintf(out, "| `--%s` | %s | %s |\n", f.Name, initial(f), cell(f.Usage))
			}
		})
		if len(stock) > 0 {
			fmt.Fprintf(out, "\nThe others are those of every API server that is made with Kubernetes' library, which `apiserver --help` describes: %s.\n", strings.Join(stock, ", "))
		}
	}
	return nil
}

// libraries are the flags that Kubernetes' libraries bring along.
func libraries() map[string]bool {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	genericoptions.NewRecommendedOptions("", nil).AddFlags(flags)
	utilfeature.DefaultMutableFeatureGate.AddFlag(flags)
	logsapi.AddFlags(logsapi.NewLoggingConfiguration(), flags)
	names := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) { names[f.Name] = true })
	return names
}

// initial is a flag's value when nothing is said.
func initial(f *pflag.Flag) string {
	if f.DefValue == "" || f.DefValue == "[]" {
		return ""
	}
	return "`" + f.DefValue + "`"
}

func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
