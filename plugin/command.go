package plugin

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

// The exit codes.
const (
	// ExitFailed is for what could not be done, and for an app that is not healthy.
	ExitFailed = 1
	// ExitUsage is for a command line that says nothing that could be done.
	ExitUsage = 2
	// ExitTimeout is for what did not come about in time; it may still.
	ExitTimeout = 3
)

// exitError is an error with an exit code of its own. Without an error inside there is nothing to print: it was said already.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e exitError) Unwrap() error { return e.err }

func usageError(err error) error   { return exitError{ExitUsage, err} }
func timeoutError(err error) error { return exitError{ExitTimeout, err} }

// ExitCode is what the process is to end with after an error, or after none.
func ExitCode(err error) int {
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	default:
		return ExitFailed
	}
}

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

// NewCommand makes the whole command. calledAs is what its help calls it.
func NewCommand(calledAs string, streams genericiooptions.IOStreams) *cobra.Command {
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag()
	factory := cmdutil.NewFactory(flags)

	root := &cobra.Command{
		Use:   strings.ReplaceAll(calledAs, " ", "-"),
		Short: "Apps that are scaled by their HTTP requests, to zero and back",
		Long: "Apps that are scaled by their HTTP requests, to zero and back.\n\n" +
			"Exit codes: 0 done, 1 failed or not healthy, 2 wrong usage, 3 not in time.",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: calledAs},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError(errors.New("there is no command " + args[0] + "; see " + calledAs + " --help"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(errors.New(err.Error() + "; see " + cmd.CommandPath() + " --help"))
	})
	flags.AddFlags(root.PersistentFlags())
	root.AddCommand(
		newDeployCommand(factory, streams),
		newListCommand(factory, streams),
		newStatusCommand(factory, streams),
		newDeleteCommand(factory, streams),
		newVersionCommand(factory, streams),
	)
	return root
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
