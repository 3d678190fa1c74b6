package plugin

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/completion"
)

// CalledAs returns the name that users call the plugin by, from the name of its executable: kubectl http, or kubectl
// keda-http where the plugin was installed under that name.
func CalledAs(executable string) string {
	name := strings.TrimSuffix(filepath.Base(executable), ".exe")
	plugin, ok := strings.CutPrefix(name, "kubectl-")
	if !ok {
		return name
	}
	// kubectl finds the command a-b in the executable kubectl-a_b.
	return "kubectl " + strings.ReplaceAll(plugin, "_", "-")
}

// The groups of commands, as the help shows them.
const (
	groupApps     = "apps"
	groupTraffic  = "traffic"
	groupPlatform = "platform"
)

const rootHelp = `Apps that are scaled by their HTTP requests, to zero and back.

Exit codes:
  0  done
  1  it failed, or the app is not healthy
  2  the command line says nothing that could be done
  3  it did not come about in time; it still may

Results are on stdout, progress and warnings on stderr.`

// NewCommand makes the whole command. calledAs is what its help calls it.
func NewCommand(calledAs string, streams genericiooptions.IOStreams) *cobra.Command {
	// What the API server warns of is said as kubectl does. What its libraries log comes again as an error, if it matters.
	rest.SetDefaultWarningHandler(rest.NewWarningWriter(streams.ErrOut, rest.WarningWriterOptions{Deduplicate: true}))
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag()
	flags.WrapConfigFn = atKubectlsPace
	return newCommand(newSession(calledAs, streams, flags), flags)
}

// atKubectlsPace lets thousands of apps be read page by page. Without a word, clients send five requests a second.
func atKubectlsPace(config *rest.Config) *rest.Config {
	config.QPS, config.Burst = 50, 300
	return config
}

func newCommand(s *session, flags *genericclioptions.ConfigFlags) *cobra.Command {
	root := &cobra.Command{
		Use:           strings.ReplaceAll(s.calledAs, " ", "-"),
		Short:         "Apps that are scaled by their HTTP requests, to zero and back",
		Long:          rootHelp,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: s.calledAs},
		SilenceErrors: true,
		SilenceUsage:  true,
		// Of suggestions: how many letters may be wrong.
		SuggestionsMinimumDistance: 2,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		message := "there is no command " + args[0]
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return usageError(errors.New(message + "; did you mean " + strings.Join(near, " or ") + "?"))
		}
		return usageError(errors.New(message + "; see " + s.calledAs + " --help"))
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(fmt.Errorf("%w; see %s --help", wrongFlag(err), cmd.CommandPath()))
	})
	root.SetUsageTemplate(usageTemplate)
	flags.AddFlags(root.PersistentFlags())
	completeConnection(root, s.factory)

	root.AddGroup(
		&cobra.Group{ID: groupApps, Title: "Apps:"},
		&cobra.Group{ID: groupTraffic, Title: "Requests:"},
		&cobra.Group{ID: groupPlatform, Title: "The cluster:"},
	)
	for group, commands := range map[string][]*cobra.Command{
		groupApps: {
			newDeployCommand(s), newListCommand(s), newStatusCommand(s), newScaleCommand(s), newWakeCommand(s), newSleepCommand(s),
			newPauseCommand(s), newResumeCommand(s), newSetCommand(s), newRestartCommand(s), newHistoryCommand(s), newRollbackCommand(s),
			newExportCommand(s), newImportCommand(s), newDeleteCommand(s),
		},
		groupTraffic: {
			newURLCommand(s), newOpenCommand(s), newCurlCommand(s), newPortForwardCommand(s), newLogsCommand(s), newTopCommand(s), newLoadCommand(s),
		},
		groupPlatform: {
			newInstallCommand(s), newUpgradeCommand(s), newUninstallCommand(s), newGenerateCommand(s), newDoctorCommand(s), newVersionCommand(s),
		},
	} {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(newCompletionCommand(s), newOptionsCommand())
	root.CompletionOptions.DisableDefaultCmd = true
	shortenDefaults(root)
	s.completeFlags(root, s.offers())
	return root
}

// shortenDefaults lets the help say 2m instead of 2m0s.
func shortenDefaults(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d, err := time.ParseDuration(f.DefValue); err == nil && f.Value.Type() == "duration" {
			f.DefValue = brief(d)
		}
	})
	for _, sub := range cmd.Commands() {
		shortenDefaults(sub)
	}
}

// usageTemplate is cobra's own, without the flags of the connection, which are many and the same everywhere.
var usageTemplate = func() string {
	text := strings.Replace(new(cobra.Command).UsageTemplate(), "{{if .HasAvailableLocalFlags}}", "{{if and .HasParent .HasAvailableLocalFlags}}", 1)
	from := strings.Index(text, "{{if .HasAvailableInheritedFlags}}")
	end := strings.Index(text[from:], "{{end}}") + from + len("{{end}}")
	return text[:from] + "\n\nThe flags of the connection are kubectl's: see \"{{.Root.CommandPath}} options\"." + text[end:]
}()

// completeConnection lets shells complete namespaces, contexts, clusters and users.
func completeConnection(root *cobra.Command, factory cmdutil.Factory) {
	completion.SetFactoryForCompletion(factory)
	for flag, candidates := range map[string]func(string) []string{
		"namespace": func(prefix string) []string { return completion.CompGetResource(factory, "namespace", prefix) },
		"context":   completion.ListContextsInConfig,
		"cluster":   completion.ListClustersInConfig,
		"user":      completion.ListUsersInConfig,
	} {
		err := root.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
			return candidates(prefix), cobra.ShellCompDirectiveNoFileComp
		})
		if err != nil {
			panic(err) // there is no such flag
		}
	}
}

// exactly says what is missing or too much, instead of only how many arguments there should be.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if cmd.ArgsLenAtDash() >= 0 {
			args = args[:cmd.ArgsLenAtDash()]
		}
		switch {
		case len(args) < len(names):
			return usageError(errors.New("which " + names[len(args)] + "? See " + cmd.CommandPath() + " --help"))
		case len(args) > len(names):
			return usageError(errors.New("too much: " + strings.Join(args[len(names):], " ") + "; see " + cmd.CommandPath() + " --help"))
		}
		return nil
	}
}

// atLeast is exactly, with more of the last one allowed.
func atLeast(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		return exactly(names...)(cmd, args[:min(len(args), len(names))])
	}
}
